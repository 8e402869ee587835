//! How to reach Valkey or Redis.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// How to reach Valkey or Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValkeyConfig {
    /// `host:port`; of a cluster several of its nodes, with commas between them.
    pub addresses: String,
    /// They are nodes of a cluster.
    pub cluster: bool,
    /// What every key begins with: one for each shop and topic.
    pub prefix: String,
    /// How long a shopper is kept after the last event, in hours.
    pub ttl_hours: u64,
    /// How long one question may take before the server counts as away, in milliseconds.
    pub timeout_ms: u64,
    /// How often the item counters' changes are fetched, in milliseconds.
    pub poll_interval_ms: u64,
    /// Encrypt, and check the server's certificate.
    pub tls: bool,
    /// The authority that signed the server's certificate, in PEM; the system's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A certificate of our own, in PEM, where the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Who we are; the server's default user when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Where the password lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// The configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state.valkey.{field}: {rule}")]
pub struct ValkeyConfigError {
    /// The field.
    pub field: String,
    /// What it must be.
    pub rule: String,
}

impl ValkeyConfigError {
    pub(super) fn new(field: &str, rule: impl Into<String>) -> Self {
        Self { field: field.to_owned(), rule: rule.into() }
    }
}

impl Default for ValkeyConfig {
    fn default() -> Self {
        Self {
            addresses: "localhost:6379".to_owned(),
            cluster: false,
            prefix: "endcap:".to_owned(),
            ttl_hours: 24 * 180,
            timeout_ms: 1000,
            poll_interval_ms: 200,
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            username: None,
            password: None,
        }
    }
}

impl ValkeyConfig {
    /// Checks every field that can be checked without a server.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn validate(&self) -> Result<(), ValkeyConfigError> {
        let refuse = |field, rule: &str| Err(ValkeyConfigError::new(field, rule));
        self.nodes()?;
        if self.prefix.contains(['{', '}', '*', '?', '[', ']', '\\']) {
            return refuse("prefix", "must hold none of { } * ? [ ] \\: they mean something in a key");
        }
        for (field, value) in [
            ("ttl_hours", self.ttl_hours),
            ("timeout_ms", self.timeout_ms),
            ("poll_interval_ms", self.poll_interval_ms),
        ] {
            if value == 0 {
                return refuse(field, "must be at least 1");
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return refuse("certificate_file", "and key_file go together");
        }
        if !self.tls && (self.ca_file.is_some() || self.certificate_file.is_some()) {
            return refuse("tls", "must be true where certificates are named");
        }
        Ok(())
    }

    /// Host and port of each node.
    pub(super) fn nodes(&self) -> Result<Vec<(String, u16)>, ValkeyConfigError> {
        let node = |address: &str| {
            let (host, port) = address.trim().rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
        };
        let nodes: Option<Vec<_>> = self.addresses.split(',').map(node).collect();
        let nodes = nodes.ok_or_else(|| {
            ValkeyConfigError::new("addresses", "must be host:port, or several with commas between them")
        })?;
        if nodes.len() > 1 && !self.cluster {
            let rule = "names several servers, which only a cluster has: set state.valkey.cluster = true";
            return Err(ValkeyConfigError::new("addresses", rule));
        }
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_out_of_range_are_refused_by_name() {
        let refused = |edit: fn(&mut ValkeyConfig)| {
            let mut config = ValkeyConfig::default();
            edit(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(ValkeyConfig::default().validate(), Ok(()));
        assert!(
            refused(|c| c.addresses = "a".into()).starts_with("state.valkey.addresses: must be host:port")
        );
        assert!(refused(|c| c.addresses = "a:1,b:2".into()).contains("state.valkey.cluster = true"));
        assert!(refused(|c| c.prefix = "{shop}".into()).starts_with("state.valkey.prefix"));
        assert!(refused(|c| c.ttl_hours = 0).starts_with("state.valkey.ttl_hours"));
        assert!(refused(|c| c.ca_file = Some("ca.pem".into())).starts_with("state.valkey.tls"));
        assert!(refused(|c| (c.tls, c.key_file) = (true, Some("k".into()))).contains("go together"));
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let config = ValkeyConfig { addresses: "[::1]:6379".into(), ..ValkeyConfig::default() };
        assert_eq!(config.nodes().unwrap(), [("::1".to_owned(), 6379)]);
    }
}
