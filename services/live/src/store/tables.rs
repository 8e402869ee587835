//! The tables of the state, in the order in which a snapshot holds them.

use super::table::Table;

/// All that is kept by key.
pub(super) struct Tables {
    /// By visitor.
    pub(super) shoppers: Table,
    /// By visitor and session.
    pub(super) sessions: Table,
    /// By user.
    pub(super) links: Table,
    /// By item.
    pub(super) counters: Table,
}

impl Tables {
    pub(super) fn new() -> Self {
        // So many that a shard is copied within a fraction of a millisecond, and that readers of hundreds
        // of items do not meet the writer.
        Self {
            shoppers: Table::new(1024),
            sessions: Table::new(64),
            links: Table::new(256),
            counters: Table::new(4096),
        }
    }

    pub(super) fn all(&self) -> [&Table; 4] {
        [&self.shoppers, &self.sessions, &self.links, &self.counters]
    }
}
