//! Which embeddings are added to an entry of a history.

use crate::{Encoder, TowersConfig, parameters::EVENT_TYPES};

/// Rows of the context table, where event types come first, then gaps, then positions. The mean-pool encoder knows no
/// order, so it has the first alone.
#[derive(Clone, Copy)]
pub(crate) struct ContextRows {
    rows: [u32; 3],
    count: usize,
}

impl ContextRows {
    /// Rows of the table.
    pub(crate) fn count(config: &TowersConfig) -> usize {
        EVENT_TYPES + endcap_features::GAP_BUCKETS + config.length + 1
    }

    /// Of the row before the first entry.
    #[inline(always)]
    pub(crate) fn start(config: &TowersConfig) -> Self {
        let count = if config.encoder == Encoder::MeanPool { 1 } else { 2 };
        Self { rows: [0, Self::position(0), 0], count }
    }

    /// Of an entry, whose place in its history counts from 1.
    #[inline(always)]
    pub(crate) fn entry(config: &TowersConfig, event_type: u8, gap: u8, position: u32) -> Self {
        let event_type = u32::from(event_type).min(EVENT_TYPES as u32 - 1);
        let gap = EVENT_TYPES as u32 + u32::from(gap).min(endcap_features::GAP_BUCKETS as u32 - 1);
        let count = if config.encoder == Encoder::MeanPool { 1 } else { 3 };
        Self { rows: [event_type, gap, Self::position(position)], count }
    }

    /// The rows.
    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.rows[..self.count]
    }

    #[inline(always)]
    fn position(position: u32) -> u32 {
        (EVENT_TYPES + endcap_features::GAP_BUCKETS) as u32 + position
    }
}
