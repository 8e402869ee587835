//! Criterion benches with shared fixtures, and the open-loop load generator.
#![forbid(unsafe_code)]

pub mod measure;
pub mod report;
pub mod retrieval;
pub mod vectors;
