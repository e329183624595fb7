//! Perceptual audio scores on the device.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod fbank;
#[cfg(feature = "alloc")]
pub mod encoder;
#[cfg(feature = "alloc")]
pub mod model;
pub mod score;
