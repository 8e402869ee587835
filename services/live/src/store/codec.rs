//! The entries of the store and their bytes: a short head of our own, then `endcap-features`' format.
//!
//! The head is postcard (varints). The formats behind it carry versions of their own.

use endcap_features::{ItemCounters, LoginLinks, StateError, UserState};
use endcap_proto::EventTime;
use serde::{Serialize, de::DeserializeOwned};

use super::hot::Entry;

/// The point of the log after the newest event that touched an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    pub(super) partition: i32,
    /// The offset after that event.
    pub(super) next: i64,
}

/// What is known of a visitor.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Shopper {
    pub(super) state: UserState,
    pub(super) stamp: Stamp,
}

/// What a visitor without consent did in one session.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Session {
    pub(super) state: UserState,
    pub(super) stamp: Stamp,
    /// Its oldest event.
    pub(super) first: EventTime,
}

/// The visitors that a user was seen as.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Links(pub(super) LoginLinks);

/// What all shoppers did with an item.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Counters(pub(super) ItemCounters);

impl Session {
    /// Its newest event.
    pub(super) fn last(&self) -> EventTime {
        self.state.last_seen().unwrap_or_default()
    }
}

impl Entry for Shopper {
    fn encode(&self, bytes: &mut Vec<u8>) {
        head(&(self.stamp.partition, self.stamp.next), bytes);
        bytes.extend(self.state.encode());
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let ((partition, next), state) = behead(bytes)?;
        Ok(Self { state: UserState::decode(state).map_err(text)?, stamp: Stamp { partition, next } })
    }
}

impl Entry for Session {
    fn encode(&self, bytes: &mut Vec<u8>) {
        head(&(self.stamp.partition, self.stamp.next, self.first.as_millis()), bytes);
        bytes.extend(self.state.encode());
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let ((partition, next, first), state) = behead(bytes)?;
        let state = UserState::decode(state).map_err(text)?;
        Ok(Self { state, stamp: Stamp { partition, next }, first: EventTime::clamped(first) })
    }
}

impl Entry for Links {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.encode());
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        LoginLinks::decode(bytes).map(Self).map_err(text)
    }
}

impl Entry for Counters {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.encode());
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        ItemCounters::decode(bytes).map(Self).map_err(text)
    }
}

/// Appends integers as postcard.
pub(crate) fn head(value: &impl Serialize, bytes: &mut Vec<u8>) {
    // Integers into a vector cannot fail; a head that is not there is found when it is read.
    if let Ok(extended) = postcard::to_extend(value, std::mem::take(bytes)) {
        *bytes = extended;
    }
}

/// Takes integers off the front.
pub(crate) fn behead<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    postcard::take_from_bytes(bytes).map_err(|error| error.to_string())
}

fn text(error: StateError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_shopper_survives_the_round_trip(partition in 0i32..1000, next in 0i64..i64::MAX) {
            let shopper = Shopper { state: UserState::default(), stamp: Stamp { partition, next } };
            let mut bytes = Vec::new();
            shopper.encode(&mut bytes);
            prop_assert_eq!(Shopper::decode(&bytes), Ok(shopper));
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Shopper::decode(&bytes);
            let _ = Session::decode(&bytes);
            let _ = Links::decode(&bytes);
            let _ = Counters::decode(&bytes);
        }
    }
}
