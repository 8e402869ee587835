//! The configuration of the edges.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Where and how the service listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address of gRPC and HTTP, one port for both; port 0 takes a free one.
    pub address: SocketAddr,
    /// Listen off loopback although nothing is encrypted and nobody is asked who they are.
    pub insecure: bool,
    /// What one process takes on.
    pub limits: LimitsConfig,
    /// On shutdown: milliseconds to say NOT_SERVING, and go on answering, before the port is closed, so that
    /// load balancers have gone elsewhere by then.
    pub drain_notice_ms: u64,
    /// On shutdown: most milliseconds to wait for answers in flight once the port is closed.
    pub drain_timeout_ms: u64,
}

/// What one process takes on. What exceeds a limit is refused at once, with `RESOURCE_EXHAUSTED`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests in flight over all connections; one more is refused, never queued. A batch of a stream of events
    /// counts as one, and waits.
    pub in_flight: usize,
    /// Connections; one more waits to be accepted.
    pub connections: usize,
    /// Streams in flight on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Bytes of a request's message.
    pub message_bytes: usize,
    /// Milliseconds for a request that names no deadline of its own (`grpc-timeout`). A stream of events has none.
    pub deadline_ms: u64,
    /// Milliseconds for a client to send the headers of a request over HTTP/1.
    pub header_timeout_ms: u64,
}

/// A value of the configuration is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server.{key}: {rule}")]
pub struct InvalidConfig {
    /// Path of the key below `server`.
    pub key: &'static str,
    /// What it must be, and what it is.
    pub rule: String,
}

// === impl ServerConfig ===

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8500)),
            insecure: false,
            limits: LimitsConfig::default(),
            drain_notice_ms: 250,
            drain_timeout_ms: 10_000,
        }
    }
}

impl ServerConfig {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// Names the key and its rule.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let limits = &self.limits;
        within("drain_notice_ms", self.drain_notice_ms, 0, 60_000)?;
        within("drain_timeout_ms", self.drain_timeout_ms, 0, 600_000)?;
        within("limits.in_flight", limits.in_flight as u64, 1, 100_000)?;
        within("limits.connections", limits.connections as u64, 1, 1_000_000)?;
        within("limits.streams_per_connection", limits.streams_per_connection.into(), 1, 100_000)?;
        within("limits.message_bytes", limits.message_bytes as u64, 1 << 10, 1 << 30)?;
        within("limits.deadline_ms", limits.deadline_ms, 1, 3_600_000)?;
        within("limits.header_timeout_ms", limits.header_timeout_ms, 1, 3_600_000)
    }
}

// === impl LimitsConfig ===

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            in_flight: 64,
            connections: 4_096,
            streams_per_connection: 256,
            message_bytes: 4 << 20,
            deadline_ms: 1_000,
            header_timeout_ms: 10_000,
        }
    }
}

fn within(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), InvalidConfig> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(InvalidConfig { key, rule: format!("must lie within {least} and {most}, is {value}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_on_loopback() {
        let config = ServerConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.address.ip().is_loopback());
    }

    #[test]
    fn errors_name_the_key() {
        let mut config = ServerConfig::default();
        config.limits.in_flight = 0;
        let message = config.validate().unwrap_err().to_string();
        assert_eq!(message, "server.limits.in_flight: must lie within 1 and 100000, is 0");
    }
}
