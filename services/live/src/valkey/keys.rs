//! What the keys are called. The part in braces decides the slot of a cluster.
//!
//! ```text
//! PREFIX{v0123456789abcdef}s        a visitor
//! PREFIX{v0123456789abcdef}x…       a session of a visitor without consent
//! PREFIX{v0123456789abcdef}a        the account of this visitor, as of its devices' newest events; a copy
//! PREFIX{v0123456789abcdef}u        the accounts that this visitor has logged in to
//! PREFIX{u0123456789abcdef}         an account: its devices
//! PREFIX{u0123456789abcdef}v        the visitors that have ever logged in to it
//! PREFIX{p7}at  c  w…  l            a partition: offset, counters, ids of events, the counters' changes
//! PREFIX{mark}  {partitions}        version and topic; the partitions there are
//! ```

use endcap_proto::{UserKey, VisitorKey};
use redis::Cmd;

/// The keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn key(&self, rest: std::fmt::Arguments<'_>) -> Vec<u8> {
        format!("{}{rest}", self.prefix).into_bytes()
    }

    pub(super) fn shopper(&self, visitor: VisitorKey) -> Vec<u8> {
        self.key(format_args!("{{v{:016x}}}s", visitor.0))
    }

    pub(super) fn session(&self, visitor: VisitorKey, session: u64) -> Vec<u8> {
        self.key(format_args!("{{v{:016x}}}x{session:016x}", visitor.0))
    }

    pub(super) fn copy(&self, visitor: VisitorKey) -> Vec<u8> {
        self.key(format_args!("{{v{:016x}}}a", visitor.0))
    }

    pub(super) fn account(&self, user: UserKey) -> Vec<u8> {
        self.key(format_args!("{{u{:016x}}}", user.0))
    }

    pub(super) fn users(&self, visitor: VisitorKey) -> Vec<u8> {
        self.key(format_args!("{{v{:016x}}}u", visitor.0))
    }

    pub(super) fn devices(&self, user: UserKey) -> Vec<u8> {
        self.key(format_args!("{{u{:016x}}}v", user.0))
    }

    pub(super) fn at(&self, partition: i32) -> Vec<u8> {
        self.key(format_args!("{{p{partition}}}at"))
    }

    pub(super) fn counters(&self, partition: i32) -> Vec<u8> {
        self.key(format_args!("{{p{partition}}}c"))
    }

    pub(super) fn window(&self, partition: i32, generation: u64) -> Vec<u8> {
        self.key(format_args!("{{p{partition}}}w{generation}"))
    }

    pub(super) fn changes(&self, partition: i32) -> Vec<u8> {
        self.key(format_args!("{{p{partition}}}l"))
    }

    pub(super) fn mark(&self) -> Vec<u8> {
        self.key(format_args!("{{mark}}"))
    }

    pub(super) fn partitions(&self) -> Vec<u8> {
        self.key(format_args!("{{partitions}}"))
    }

    /// Patterns of all keys of visitors, and of accounts.
    pub(super) fn all_of_visitors(&self) -> Vec<u8> {
        self.key(format_args!("{{v*}}*"))
    }

    pub(super) fn all_of_users(&self) -> Vec<u8> {
        self.key(format_args!("{{u*}}*"))
    }

    /// A pattern of all keys.
    pub(super) fn everything(&self) -> Vec<u8> {
        self.key(format_args!("{{*"))
    }

    /// What of a key comes behind the prefix.
    pub(super) fn behind(&self, key: &[u8]) -> Vec<u8> {
        key.get(self.prefix.len()..).unwrap_or_default().to_vec()
    }

    pub(super) fn with_prefix(&self, behind: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), behind].concat()
    }

    pub(super) fn is_shopper(&self, key: &[u8]) -> bool {
        self.behind(key).starts_with(b"{v") && key.ends_with(b"}s")
    }

    pub(super) fn is_account(&self, key: &[u8]) -> bool {
        self.behind(key).starts_with(b"{u") && key.ends_with(b"}")
    }

    /// Accounts of a visitor, or visitors of an account.
    pub(super) fn is_set(&self, key: &[u8]) -> bool {
        key.ends_with(b"}u") || key.ends_with(b"}v")
    }

    /// The number in the braces of a visitor's key; 0 where there is none.
    pub(super) fn number(&self, key: &[u8]) -> u64 {
        let digits = key.get(self.prefix.len() + 2..self.prefix.len() + 18);
        digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .unwrap_or_default()
    }
}

pub(super) fn get(key: &[u8]) -> Cmd {
    redis::cmd("GET").arg(key).to_owned()
}

pub(super) fn mget(keys: &[Vec<u8>]) -> Cmd {
    redis::cmd("MGET").arg(keys).to_owned()
}
