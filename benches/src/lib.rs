//! Criterion benches with shared fixtures, and the open-loop load generator.
#![forbid(unsafe_code)]

pub mod broker;
pub mod events;
pub mod live;
pub mod measure;
pub mod open_loop;
pub mod recommend;
pub mod report;
pub mod retrieval;
pub mod service;
pub mod shop;
pub mod training;
pub mod vectors;
