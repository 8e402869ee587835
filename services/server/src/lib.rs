//! The edges: gRPC, HTTP/JSON, health, metrics, limits, shutdown.
