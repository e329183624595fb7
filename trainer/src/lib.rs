//! Trains, evaluates and exports AESA-Net.
//!
//! ```text
//! corpus folder, tables --> listing --> dataset --> model (beats + head) --> loss (+ buffer) --> train --> metrics
//!                                       fbank from the engine                                     |
//!                                                                                                 v
//!                                                       run folder: best.safetensors --> aesa-export: model.onnx
//!
//! model --> evaluate --> scores --> report (metrics, bootstrap, ceiling) --> tables, scatter
//! truth, predictions of others ---^
//!
//! runs --> mean: a run of their own;  teacher's run --> distill --> train: a smaller model; study: many heads on one encoder --> study_table
//! ```
#![forbid(unsafe_code)]

pub mod adam;
mod attention;
pub mod augment;
pub mod beats;
pub mod bootstrap;
pub mod buffer;
pub mod cache;
pub mod ceiling;
pub mod checkpoint;
pub mod chunking;
pub mod config;
pub mod dataset;
pub mod distill;
pub mod dropout;
pub mod environment;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod inputs;
pub mod layers;
pub mod listing;
pub mod loss;
pub mod mean;
pub mod metrics;
pub mod model;
mod order;
pub mod padding;
pub mod pickle;
pub mod precision;
pub mod predict;
pub mod predictions;
pub mod prefetch;
pub mod progress;
pub mod report;
pub mod resume;
pub mod run;
pub mod scatter;
pub mod study;
pub mod study_table;
pub mod tables;
pub mod tensorboard;
pub mod train;
pub mod truth;
mod upload;
pub mod weights;
