//! Holds nothing: the benchmarks are in `benches/`, their results in `record/`.
#![forbid(unsafe_code)]
