//! Measurements: what each part does in a second, beside what else could do it, on the same machine in the same run.
//!
//! - `endcap-bench NAME` ([`training`], [`retrieval`], [`live`], [`recommend`]) prints a table and writes
//!   `target/bench/NAME.json`, a [`report::Report`]. Where a machine is shared, only ratios mean something: ours and the
//!   peer take turns, and medians are compared.
//! - `endcap-quality ROW` ([`quality`]) makes a row of the quality table again from the raw files.
//! - `endcap-load` sends requests to a running service, [open-loop](open_loop).
//! - `cargo bench -p endcap-benches` runs the criterion benches over the same fixtures: [`vectors`], [`events`], [`shop`].
//!
//! Everything drawn is drawn from a seed.

#![forbid(unsafe_code)]

pub mod broker;
pub mod evaluation;
pub mod events;
pub mod live;
pub mod measure;
pub mod open_loop;
pub mod quality;
pub mod recommend;
pub mod report;
pub mod retrieval;
pub mod service;
pub mod shop;
pub mod training;
pub mod vectors;
