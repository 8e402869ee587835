//! The attribution token: what joins a later click to the slate it came from.
//!
//! ```text
//! base64url( 1 │ postcard(slate id, placement, bundle, arms, time) │ first 16 bytes of BLAKE3-keyed(all before) )
//! ```
//!
//! A client cannot make one up; it can only send back what it was given.

use std::{collections::BTreeMap, fmt, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const FORMAT: u8 = 1;
const MAC_BYTES: usize = 16;

/// What a slate is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// The slate.
    pub slate: Uuid,
    /// Where it was shown.
    pub placement: String,
    /// The bundle that made it.
    pub bundle: String,
    /// Experiment to arm.
    pub arms: BTreeMap<String, String>,
    /// When it was served.
    pub time: EventTime,
}

/// The key that signs tokens. It prints as nothing but its name.
#[derive(Clone)]
pub struct AttributionKey([u8; 32]);

/// Not a token that this key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an attribution token of this service")]
pub struct InvalidToken;

/// The key's file does not hold a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}; it must hold 64 hexadecimal digits, as `openssl rand -hex 32` prints them")]
pub struct InvalidKey {
    /// The file.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

// === impl AttributionKey ===

impl AttributionKey {
    /// A key of its own for these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// When the file cannot be read or holds anything else.
    pub fn read(path: &Path) -> Result<Self, InvalidKey> {
        let invalid = |reason: String| InvalidKey { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
        match blake3::Hash::from_hex(text.trim()) {
            Ok(key) => Ok(Self(*key.as_bytes())),
            Err(_) => Err(invalid(format!("holds {} characters that are no key", text.trim().len()))),
        }
    }

    /// The token of a slate.
    pub fn sign(&self, attribution: &Attribution) -> String {
        let mut bytes = vec![FORMAT];
        // Writing to a Vec cannot fail: none of the types refuses to be serialised.
        bytes = postcard::to_extend(attribution, bytes).unwrap_or_default();
        let mac = self.mac(&bytes);
        bytes.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token says, if this key signed it.
    ///
    /// # Errors
    /// [`InvalidToken`] for anything else.
    pub fn verify(&self, token: &str) -> Result<Attribution, InvalidToken> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidToken)?;
        let signed = bytes.len().checked_sub(MAC_BYTES).ok_or(InvalidToken)?;
        let (signed, mac) = bytes.split_at(signed);
        let expected = self.mac(signed);
        // Every byte is compared, so that the time taken tells nothing.
        let differs = mac.iter().zip(expected).fold(0, |differs, (a, b)| differs | (a ^ b));
        match signed.split_first() {
            Some((&FORMAT, payload)) if differs == 0 => {
                postcard::from_bytes(payload).map_err(|_| InvalidToken)
            }
            _ => Err(InvalidToken),
        }
    }

    fn mac(&self, bytes: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&blake3::keyed_hash(&self.0, bytes).as_bytes()[..MAC_BYTES]);
        mac
    }
}

impl fmt::Debug for AttributionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttributionKey")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribution() -> Attribution {
        Attribution {
            slate: Uuid::from_u128(7),
            placement: "home".into(),
            bundle: "20261124T101500Z-1f3a9c02".into(),
            arms: BTreeMap::from([("ranker".into(), "b".into())]),
            time: EventTime::clamped(1_700_000_000_123),
        }
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let key = AttributionKey::new([3; 32]);
        assert_eq!(key.verify(&key.sign(&attribution())), Ok(attribution()));
        assert_eq!(AttributionKey::new([4; 32]).verify(&key.sign(&attribution())), Err(InvalidToken));
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(byte in 0usize..90, bit in 0u32..8) {
            let key = AttributionKey::new([3; 32]);
            let mut bytes = URL_SAFE_NO_PAD.decode(key.sign(&attribution())).unwrap();
            let byte = byte % bytes.len();
            bytes[byte] ^= 1 << bit;
            prop_assert_eq!(key.verify(&URL_SAFE_NO_PAD.encode(bytes)), Err(InvalidToken));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,200}") {
            prop_assert_eq!(AttributionKey::new([3; 32]).verify(&text), Err(InvalidToken));
        }
    }

    #[test]
    fn a_key_file_holds_64_hexadecimal_digits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("{}\n", "0a".repeat(32))).unwrap();
        assert_eq!(AttributionKey::read(&path).unwrap().0, [10; 32]);
        std::fs::write(&path, "secret").unwrap();
        assert!(AttributionKey::read(&path).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
