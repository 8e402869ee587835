//! Criterion benches with shared fixtures, and the open-loop load generator.
