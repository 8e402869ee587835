//! One server or a cluster behind one way of asking: commands side by side, answers in order.

use std::{sync::LazyLock, time::Duration};

use futures::future::join_all;
use redis::{
    Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisError,
    RedisResult, Script, ServerErrorKind, TlsCertificates, TlsMode, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
};

use super::{ValkeyConfig, ValkeyConfigError};

/// Connects in the background, and again after a loss. Clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

/// A script to be run on some keys, which on a cluster must lie in one slot.
pub(super) struct Call {
    pub(super) script: &'static LazyLock<Script>,
    pub(super) body: &'static str,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Vec<u8>>,
}

/// Keys of one call to a single server.
const KEYS_PER_CALL: usize = 256;

impl Connection {
    pub(super) fn open(config: &ValkeyConfig) -> Result<Self, ValkeyConfigError> {
        let wrong = |error: RedisError| ValkeyConfigError::new("addresses", error.to_string());
        let password = config.password.as_ref().map(|secret| secret.read("password")).transpose();
        let password = password.map_err(|error| {
            let reason = match error {
                crate::ConfigError::Secret { reason, .. } => reason,
                other => other.to_string(),
            };
            ValkeyConfigError::new("password", reason)
        })?;
        let certificates = certificates(config)?;
        let timeout = Duration::from_millis(config.timeout_ms);
        let nodes = config.nodes()?;
        if config.cluster {
            let address = |(host, port): (String, u16)| address(host, port, config.tls);
            let mut builder = ClusterClient::builder(nodes.into_iter().map(address))
                .retries(3)
                .connection_timeout(timeout)
                .response_timeout(timeout)
                .overall_response_timeout(Some(timeout * 2));
            if let Some(username) = &config.username {
                builder = builder.username(username);
            }
            if let Some(password) = password {
                builder = builder.password(password);
            }
            if config.tls {
                builder = builder.tls(TlsMode::Secure).certs(certificates);
            }
            let client = builder.build().map_err(wrong)?;
            return Ok(Self::Cluster(client.get_pending_async_connection_with_config(ClusterConfig::new())));
        }
        let Some((host, port)) = nodes.into_iter().next() else {
            return Err(ValkeyConfigError::new("addresses", "must name a server"));
        };
        let info = address(host, port, config.tls).into_connection_info().map_err(wrong)?;
        let mut settings = info.redis_settings().clone();
        if let Some(username) = &config.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let info = info.set_redis_settings(settings);
        let client = if config.tls { Client::build_with_tls(info, certificates) } else { Client::open(info) };
        let patience = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500));
        let manager = client.and_then(|client| ConnectionManager::new_lazy_with_config(client, patience));
        manager.map(Self::Single).map_err(wrong)
    }

    /// Sends commands side by side; their answers in order. An error of the connection is one of all.
    pub(super) async fn all(&self, commands: Vec<Cmd>) -> RedisResult<Vec<RedisResult<Value>>> {
        match self {
            Self::Single(connection) => {
                let mut pipeline = redis::Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.ignore_errors().query_async(&mut connection.clone()).await
            }
            Self::Cluster(connection) => {
                let asked = commands.into_iter().map(|command| {
                    let mut connection = connection.clone();
                    async move { command.query_async(&mut connection).await }
                });
                Ok(join_all(asked).await)
            }
        }
    }

    /// How many keys one call may have, whatever their slots.
    pub(super) fn keys_per_call(&self) -> usize {
        match self {
            Self::Single(_) => KEYS_PER_CALL,
            Self::Cluster(_) => 1,
        }
    }

    /// Runs scripts side by side; their answers in order. A server that does not know a script is told it.
    pub(super) async fn run(&self, calls: &[Call]) -> RedisResult<Vec<Value>> {
        let answers = self.all(calls.iter().map(|call| call.command(false)).collect()).await?;
        let unknown = |answer: &RedisResult<Value>| {
            answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
        };
        let again: Vec<usize> = (0..answers.len()).filter(|&i| unknown(&answers[i])).collect();
        let whole = again.iter().map(|&i| calls[i].command(true)).collect();
        let mut whole = if again.is_empty() { Vec::new() } else { self.all(whole).await? }.into_iter();
        answers
            .into_iter()
            .map(|answer| if unknown(&answer) { whole.next().unwrap_or(answer) } else { answer })
            .collect()
    }
}

impl Call {
    fn command(&self, whole: bool) -> Cmd {
        let mut command = match whole {
            true => redis::cmd("EVAL").arg(self.body).to_owned(),
            false => redis::cmd("EVALSHA").arg(self.script.get_hash()).to_owned(),
        };
        command.arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}

fn address(host: String, port: u16, tls: bool) -> ConnectionAddr {
    match tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn certificates(config: &ValkeyConfig) -> Result<TlsCertificates, ValkeyConfigError> {
    let read = |field: &str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            ValkeyConfigError::new(field, format!("cannot read {}: {error}", path.display()))
        })
    };
    let root_cert = config.ca_file.as_deref().map(|path| read("ca_file", path)).transpose()?;
    let client_tls = match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read("certificate_file", certificate)?,
            client_key: read("key_file", key)?,
        }),
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}
