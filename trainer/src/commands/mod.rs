//! One file per command.

pub(crate) mod distill;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod features;
pub(crate) mod mean;
pub(crate) mod study;
pub(crate) mod synth;
pub(crate) mod train;
