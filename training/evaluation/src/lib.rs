//! Metrics, protocols, comparisons with intervals.
