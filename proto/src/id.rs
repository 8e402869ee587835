//! Identifiers: what the shop calls things (`ItemId` …), and their stable 64-bit keys (`ItemKey` …).
//!
//! A key is the XXH3-64 hash (seed 0) of the id's UTF-8 bytes. State and models store keys, never
//! rows of an embedding table, so that a new bundle does not orphan a history. Two ids of one
//! catalogue with one key are found when the catalogue is imported.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::FieldError;

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 512;

fn check(field: &str, id: &str) -> Result<(), FieldError> {
    let rule = if id.is_empty() {
        "must not be empty".to_owned()
    } else if id.len() > MAX_ID_BYTES {
        format!("must be at most {MAX_ID_BYTES} bytes, is {}", id.len())
    } else if id.chars().any(char::is_control) {
        format!("must not hold control characters: {id:?}")
    } else {
        return Ok(());
    };
    Err(FieldError::new(field, rule))
}

/// Whether [`check`] has nothing against it.
pub(crate) fn is_valid_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    // All of them are looked at, so that it is done in a few wide steps.
    let plain = bytes.iter().fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte));
    (1..=MAX_ID_BYTES).contains(&bytes.len()) && (plain || !id.chars().any(char::is_control))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident, $key:ident, $field:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $id(Arc<str>);

        impl $id {
            /// Checks that the id is 1 to [`MAX_ID_BYTES`] bytes without control characters.
            ///
            /// # Errors
            /// Names the field and the rule.
            pub fn new(id: impl AsRef<str>) -> Result<Self, FieldError> {
                check($field, id.as_ref())?;
                Ok(Self(Arc::from(id.as_ref())))
            }

            /// The id as the shop wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The stable 64-bit key.
            pub fn key(&self) -> $key {
                $key::of(&self.0)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl AsRef<str> for $id {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        #[doc = concat!("Stable 64-bit key of a [`", stringify!($id), "`].")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $key(pub u64);

        impl $key {
            /// XXH3-64 of the id's bytes.
            pub fn of(id: &str) -> Self {
                Self(XxHash3_64::oneshot(id.as_bytes()))
            }
        }
    )*};
}

ids! {
    /// A product.
    ItemId, ItemKey, "item_id";
    /// A browser or device; stable across login.
    VisitorId, VisitorKey, "visitor_id";
    /// An account.
    UserId, UserKey, "user_id";
    /// An event, named by the client that saw it.
    EventId, EventKey, "event_id";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_xxh3_64_and_never_change() {
        // Reference values of xxHash's own `xxhsum -H3`: the empty input and "a".
        assert_eq!(ItemKey::of("").0, 0x2d06_8005_38d3_94c2);
        assert_eq!(ItemKey::of("a").0, 0xe6c6_32b6_1e96_4e1f);
    }

    #[test]
    fn ids_out_of_bounds_are_refused_by_rule() {
        assert_eq!(ItemId::new("").unwrap_err().to_string(), "item_id: must not be empty");
        assert!(VisitorId::new("x".repeat(513)).unwrap_err().rule.contains("at most 512"));
        assert!(EventId::new("a\nb").unwrap_err().rule.contains("control"));
        assert!(ItemId::new("Größe 42 / rot").is_ok());
    }
}
