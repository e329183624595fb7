//! Placeholder during set-up.
mod config;
pub use config::{EncoderConfig, HeadConfig, ModelConfig};
