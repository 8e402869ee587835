//! Values that several writers may touch: a version in front, then what the value is and what it has seen.
//!
//! The version is 16 decimal digits, larger with every write, and begins with the clock's microseconds, so
//! that a value that has expired and comes back is newer than any copy of its former life.

use std::collections::BTreeMap;

use endcap_features::{EventFacts, LoginLinks, SESSION_GAP_MS, UserState};
use endcap_proto::{EventTime, VisitorKey};
use serde::{Deserialize, Serialize};

use crate::store::codec::{behead, head};

/// Digits of a version.
const DIGITS: usize = 16;

/// A value as it was read.
#[derive(Debug, Clone)]
pub(super) struct Versioned<V> {
    pub(super) version: u64,
    pub(super) entry: V,
}

/// Something that lies behind a version.
pub(super) trait Stored: Sized {
    fn encode(&self, bytes: &mut Vec<u8>);
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

/// For each partition that has told a value something: the offset after the last of it. One, but where a topic
/// was given more partitions, or the value is an account's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Seen(Vec<(i32, i64)>);

/// What is known of a visitor.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shopper {
    pub(super) state: UserState,
    pub(super) seen: Seen,
}

/// What a visitor without consent did in one session.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Session {
    pub(super) state: UserState,
    pub(super) seen: Seen,
    /// Its oldest event.
    first: EventTime,
}

/// A user's devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Account {
    pub(super) user: u64,
    pub(super) links: LoginLinks,
    /// Of each linked device, what is known of it.
    pub(super) devices: BTreeMap<VisitorKey, Device>,
}

/// A device's state as an account holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Device {
    pub(super) seen: Seen,
    /// [`UserState::encode`]'s bytes.
    pub(super) state: Vec<u8>,
}

// === impl Versioned ===

impl<V: Stored> Versioned<V> {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (digits, rest) = bytes.split_at_checked(DIGITS).ok_or("it is cut off")?;
        let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let version = version.ok_or("it does not begin with a version")?;
        Ok(Self { version, entry: V::decode(rest)? })
    }
}

/// The version of what follows `before`.
pub(super) fn next_version(before: Option<u64>) -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros() as u64);
    before.map_or(now, |before| now.max(before + 1))
}

/// A version as it stands in front of a value.
pub(super) fn digits(version: u64) -> Vec<u8> {
    format!("{version:0DIGITS$}").into_bytes()
}

/// A value with its version in front.
pub(super) fn encode(version: u64, entry: &impl Stored) -> Vec<u8> {
    let mut bytes = digits(version);
    entry.encode(&mut bytes);
    bytes
}

// === impl Seen ===

impl Seen {
    pub(super) fn iter(&self) -> impl Iterator<Item = &(i32, i64)> {
        self.0.iter()
    }

    /// Whether it has heard what lies before `next`.
    pub(super) fn has(&self, partition: i32, next: i64) -> bool {
        self.0.iter().any(|&(of, seen)| of == partition && seen >= next)
    }

    pub(super) fn note(&mut self, partition: i32, next: i64) {
        match self.0.iter_mut().find(|(of, _)| *of == partition) {
            Some((_, seen)) => *seen = next.max(*seen),
            None => self.0.push((partition, next)),
        }
    }

    /// Whether some partition is further here than there.
    fn is_ahead_of(&self, other: &Self) -> bool {
        self.0.iter().any(|&(partition, next)| !other.has(partition, next))
    }
}

// === impl Session ===

impl Session {
    /// Its newest event.
    pub(super) fn last(&self) -> EventTime {
        self.state.last_seen().unwrap_or_default()
    }

    pub(super) fn apply(&mut self, event: &impl EventFacts) {
        let time = event.time();
        if self.state.is_empty() || time.millis_since(self.last()) > SESSION_GAP_MS {
            (self.state, self.first) = (UserState::default(), time);
        } else if self.first.millis_since(time) > SESSION_GAP_MS {
            return; // a straggler of the session before, which has ended
        }
        self.state.apply(event);
        self.first = self.first.min(time);
    }
}

// === impl Account ===

impl Account {
    /// A device has acted, logged in as this user at the times of `logins`.
    pub(super) fn note(&mut self, visitor: VisitorKey, logins: &[EventTime], device: &Device) {
        for &time in logins {
            self.links.link(visitor, time);
        }
        let newer = self.devices.get(&visitor).is_none_or(|held| !held.seen.is_ahead_of(&device.seen));
        if newer {
            self.devices.insert(visitor, device.clone());
        }
        let links = &self.links;
        let linked = |visitor: &VisitorKey| links.visitors().iter().any(|(linked, _)| linked == visitor);
        self.devices.retain(|visitor, _| linked(visitor));
    }

    /// Forgets what a device did before an instant, and the device itself where it was last logged in before; whether
    /// that changed anything.
    pub(super) fn forget(&mut self, visitor: VisitorKey, before: EventTime) -> Result<bool, String> {
        let link = self.links.visitors().iter().find(|(linked, _)| *linked == visitor);
        if link.is_some_and(|(_, time)| *time < before) {
            self.links.unlink(visitor);
            self.devices.remove(&visitor);
            return Ok(true);
        }
        let Some(device) = self.devices.get_mut(&visitor) else { return Ok(false) };
        let mut state = UserState::decode(&device.state).map_err(text)?;
        state.forget_before(before);
        let left = state.encode();
        let changed = left != device.state;
        device.state = left;
        Ok(changed)
    }
}

// === impl Stored ===

impl Stored for Shopper {
    fn encode(&self, bytes: &mut Vec<u8>) {
        head(&self.seen, bytes);
        bytes.extend(self.state.encode());
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (seen, state) = behead(bytes)?;
        Ok(Self { state: UserState::decode(state).map_err(text)?, seen })
    }
}

impl Stored for Session {
    fn encode(&self, bytes: &mut Vec<u8>) {
        head(&(&self.seen, self.first.as_millis()), bytes);
        bytes.extend(self.state.encode());
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let ((seen, first), state) = behead::<(Seen, i64)>(bytes)?;
        let first = EventTime::clamped(first);
        Ok(Self { state: UserState::decode(state).map_err(text)?, seen, first })
    }
}

impl Stored for Account {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let links = self.links.encode();
        head(&(self.user, links.len(), self.devices.len()), bytes);
        bytes.extend(links);
        for (visitor, device) in &self.devices {
            head(&(visitor.0, &device.seen, device.state.len()), bytes);
            bytes.extend_from_slice(&device.state);
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let ((user, links, count), rest) = behead::<(u64, usize, usize)>(bytes)?;
        let (links, mut rest) = rest.split_at_checked(links).ok_or("its links are cut off")?;
        let links = LoginLinks::decode(links).map_err(text)?;
        if count > LoginLinks::MAX {
            return Err(format!("it has {count} devices, the most is {}", LoginLinks::MAX));
        }
        let mut devices = BTreeMap::new();
        for _ in 0..count {
            let ((visitor, seen, length), after) = behead::<(u64, Seen, usize)>(rest)?;
            let (state, after) = after.split_at_checked(length).ok_or("a device is cut off")?;
            devices.insert(VisitorKey(visitor), Device { seen, state: state.to_vec() });
            rest = after;
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes too many", rest.len()));
        }
        Ok(Self { user, links, devices })
    }
}

fn text(error: endcap_features::StateError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen() -> impl Strategy<Value = Seen> {
        proptest::collection::vec((0i32..4, 0i64..1000), 0..4).prop_map(|of| {
            let mut seen = Seen::default();
            of.into_iter().for_each(|(partition, next)| seen.note(partition, next));
            seen
        })
    }

    proptest! {
        #[test]
        fn an_account_survives_the_round_trip(
            user: u64,
            version in 0u64..9_000_000_000_000_000,
            devices in proptest::collection::vec((0u64..40, 0i64..1_000_000, seen()), 0..30),
        ) {
            let mut account = Account { user, ..Account::default() };
            for (visitor, time, seen) in devices {
                let device = Device { seen, state: vec![visitor as u8; visitor as usize] };
                account.note(VisitorKey(visitor), &[EventTime::clamped(time)], &device);
            }
            prop_assert!(account.devices.len() <= LoginLinks::MAX);
            let read = Versioned::<Account>::decode(&encode(version, &account)).unwrap();
            prop_assert_eq!((read.version, read.entry), (version, account));
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = [b"0000000000000001".as_slice(), &bytes].concat();
            let _ = Versioned::<Shopper>::decode(&bytes);
            let _ = Versioned::<Session>::decode(&bytes);
            let _ = Versioned::<Account>::decode(&bytes);
            bytes.truncate(10);
            prop_assert!(Versioned::<Shopper>::decode(&bytes).is_err());
        }
    }

    #[test]
    fn an_older_state_of_a_device_never_replaces_a_newer_one() {
        let device = |next| {
            let mut seen = Seen::default();
            seen.note(3, next);
            Device { seen, state: vec![next as u8] }
        };
        let mut account = Account::default();
        let visitor = VisitorKey(1);
        account.note(visitor, &[EventTime::clamped(5)], &device(10));
        account.note(visitor, &[], &device(7));
        assert_eq!(account.devices[&visitor].state, [10]);
        account.note(visitor, &[], &device(12));
        assert_eq!(account.devices[&visitor].state, [12]);
    }
}
