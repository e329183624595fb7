//! Rated and synthetic corpora for training aesa models.
//!
//! - [`labels`]: ratings as the AudioMOS 2025 challenge publishes them (CSV of means, JSONL of all ratings).
//! - [`manifest`]: a corpus folder's `train.csv`, `validation.csv`, `test.csv` and `ladders.csv`.
//! - [`table`]: rated clips, as the above, or CSV and Parquet with columns of our own; [`roots`]: where their audio lies.
//! - [`synth`]: makes such a folder from any folders of audio, with proxy labels.
#![forbid(unsafe_code)]

pub mod labels;
pub mod manifest;
mod parquet_cells;
pub mod roots;
pub mod synth;
pub mod table;
