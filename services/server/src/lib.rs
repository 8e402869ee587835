//! The edges: gRPC, HTTP/JSON, health, metrics, limits, shutdown.
//!
//! [`Options`] → [`Service::run`] → [`Handle`] → [`Error`]. Both protocols share one port, one set of methods, one
//! mapping of errors and one limiter. What the methods work on comes through traits that the binary fills:
//! [`EventWriter`], [`ItemWriter`], [`Eraser`], [`BundleAdmin`], [`StreamStatus`].

#![forbid(unsafe_code)]

mod api;
mod config;
mod error;
mod grpc;
mod http;
mod json;
mod limits;
mod metrics;
mod ports;
mod service;

pub use config::{InvalidConfig, LimitsConfig, ServerConfig};
pub use error::{ApiError, Code};
pub use ports::{
    AdminError, BundleAdmin, EraseError, Eraser, EventWriter, ItemWriter, SharedStateReport, ShopperId,
    StreamReport, StreamStatus, WriteError,
};
pub use service::{Error, Handle, Options, Service};
