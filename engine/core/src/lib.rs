//! Perceptual audio scores on the device.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "alloc")]
pub mod encoder;
pub mod fbank;
#[cfg(feature = "alloc")]
pub mod model;
#[cfg(feature = "std")]
pub mod resample;
pub mod score;
