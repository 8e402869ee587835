//! The state that the configuration names: in this process, or in Valkey.

use std::sync::Arc;

use endcap_live::{StateBackend, StateStore, ValkeyCounts, ValkeyStore};
use endcap_recommend::StateReader;
use endcap_server::SharedStateReport;

use crate::config::{Backend, Config};

/// A state for as long as the service runs.
#[derive(Clone)]
pub enum State {
    Embedded(StateStore),
    Valkey(ValkeyStore),
}

impl State {
    /// Opens it, and its writer.
    ///
    /// # Errors
    /// When a folder cannot be used or a secret cannot be read. A server that is away is no error.
    pub fn open(config: &Config) -> anyhow::Result<(Self, Box<dyn StateBackend>)> {
        let (topic, state) = (&config.kafka.topics.events, &config.state);
        Ok(match state.backend {
            Backend::Embedded => {
                let (store, writer) = StateStore::open(&state.path, topic, &state.store)?;
                (Self::Embedded(store), Box::new(writer))
            }
            Backend::Valkey => {
                let (store, writer) = ValkeyStore::open(&state.valkey, topic, &state.store)?;
                (Self::Valkey(store), Box::new(writer))
            }
        })
    }

    /// Who reads it.
    pub fn reader(&self) -> Arc<dyn StateReader> {
        match self {
            Self::Embedded(store) => Arc::new(store.clone()),
            Self::Valkey(store) => Arc::new(store.clone()),
        }
    }

    /// What it is called in a receipt.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "the embedded state of this service",
            Self::Valkey(_) => "the shared state (another replica may have been first, and have counted)",
        }
    }

    /// Shoppers in this process' memory; none where each is read from a server.
    pub fn visitors(&self) -> u64 {
        match self {
            Self::Embedded(store) => store.shoppers_in_memory() as u64,
            Self::Valkey(_) => 0,
        }
    }

    /// What was asked of the servers of a state that replicas share.
    pub fn shared(&self) -> Option<SharedStateReport> {
        match self {
            Self::Embedded(_) => None,
            Self::Valkey(store) => {
                let ValkeyCounts { round_trips, commits, conflicts } = store.counts();
                Some(SharedStateReport { round_trips, commits, conflicts })
            }
        }
    }

    /// What stands between this process and its state.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Embedded(_) => None,
            Self::Valkey(store) => store.trouble(),
        }
    }
}
