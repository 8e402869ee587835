//! The key of the erasures, and how a shopper is named under it.
//!
//! ```text
//! record   key    BLAKE3, keyed, of kind and stable key: 64 hexadecimal digits
//!          value  {"before_ms": 1764129600000, "shopper": "…", "key_id": "1f2e3d4c"}
//!                                               └─ kind and stable key, sealed: 18 hexadecimal digits
//! ```
//!
//! The record's key is a keyed hash, so that compaction keeps the newest of a shopper and the topic names nobody.
//! The same hash is the nonce under which the stable key is sealed (a synthetic IV: RFC 5297's construction, with keyed
//! BLAKE3 as both functions), so that who has the key can tell the state whom to forget without trying every
//! shopper that it holds; the hash of what was opened must be the record's key again.
//! `key_id` tells a record of another key from one that was damaged.

use std::path::PathBuf;

use endcap_clickstream::Shopper;
use endcap_proto::{EventTime, UserKey, VisitorKey};
use serde::{Deserialize, Serialize};

use super::Erasure;
use crate::{Message, Record, Secret, decode::CONTENT_TYPE};

/// `[erasures]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErasureConfig {
    /// Where the key lies under which shoppers are named in the topic: 64 hexadecimal digits, the same for all parts
    /// of one shop. Without it nobody can be erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
}

/// The key under which shoppers are named in the topic `erasures`. It prints as nothing but its name.
#[derive(Clone, PartialEq, Eq)]
pub struct ErasureKey {
    naming: [u8; 32],
    sealing: [u8; 32],
    id: String,
}

/// The key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("erasures.key: {reason}")]
pub struct ErasureKeyError {
    /// Why not.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct Value {
    before_ms: i64,
    shopper: String,
    key_id: String,
}

/// Kind, then the stable key.
const NAME: usize = 9;

// === impl ErasureConfig ===

impl ErasureConfig {
    /// Reads the key, where one is named.
    ///
    /// # Errors
    /// When it is not where it should be, or is no key.
    pub fn read(&self) -> Result<Option<ErasureKey>, ErasureKeyError> {
        let read = |secret: &Secret| match secret.read("key") {
            Ok(text) => ErasureKey::parse(&text),
            Err(crate::ConfigError::Secret { reason, .. }) => Err(ErasureKeyError { reason }),
            Err(error) => Err(ErasureKeyError { reason: error.to_string() }),
        };
        self.key.as_ref().map(read).transpose()
    }

    /// A key that lies in a file.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self { key: Some(Secret::File(path.into())) }
    }
}

// === impl ErasureKey ===

impl ErasureKey {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// When it is something else; says nothing of what it is.
    pub fn parse(text: &str) -> Result<Self, ErasureKeyError> {
        let key: Option<[u8; 32]> = unhex(text.trim());
        let key = key.ok_or_else(|| ErasureKeyError {
            reason: "must be 64 hexadecimal digits: openssl rand -hex 32 makes one".to_owned(),
        })?;
        let id = blake3::derive_key("endcap erasures 1: which key", &key);
        Ok(Self {
            naming: blake3::derive_key("endcap erasures 1: names", &key),
            sealing: blake3::derive_key("endcap erasures 1: seals", &key),
            id: hex(&id[..4]),
        })
    }

    /// The message that says so to the topic.
    pub(super) fn seal(&self, topic: &std::sync::Arc<str>, Erasure { shopper, before }: Erasure) -> Message {
        let name = name_of(shopper);
        let hash = blake3::keyed_hash(&self.naming, &name);
        let sealed = self.masked(name, hash.as_bytes());
        let value = Value { before_ms: before.as_millis(), shopper: hex(&sealed), key_id: self.id.clone() };
        // Text and integers cannot fail.
        let value = serde_json::to_vec(&value).unwrap_or_default();
        Message::new(topic.clone(), hex(hash.as_bytes()), value).header(CONTENT_TYPE, "application/json")
    }

    /// What a record says.
    pub(super) fn open(&self, record: &Record<'_>) -> Result<Erasure, String> {
        let bytes = record.value.unwrap_or_default();
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| format!("it is no erasure: {error}; {MEND}"))?;
        if value.key_id != self.id {
            return Err(format!(
                "it was sealed with another key (key_id {:?}, that of erasures.key is {:?}): set erasures.key to the \
                 one that was used when the shopper was erased",
                value.key_id, self.id
            ));
        }
        let damaged = || format!("it is damaged: its key and its value are not of one shopper; {MEND}");
        let text = record.key.and_then(|key| std::str::from_utf8(key).ok());
        let hash: [u8; 32] = text.and_then(unhex).ok_or_else(damaged)?;
        let sealed: [u8; NAME] = unhex(&value.shopper).ok_or_else(damaged)?;
        let name = self.masked(sealed, &hash);
        if *blake3::keyed_hash(&self.naming, &name).as_bytes() != hash {
            return Err(damaged());
        }
        let shopper = shopper_of(name).ok_or_else(damaged)?;
        let before = EventTime::from_millis(value.before_ms);
        Ok(Erasure {
            shopper,
            before: before.ok_or_else(|| format!("before_ms lies after the year 9999; {MEND}"))?,
        })
    }

    /// Seals, and opens.
    fn masked(&self, mut name: [u8; NAME], hash: &[u8; 32]) -> [u8; NAME] {
        let mask = blake3::keyed_hash(&self.sealing, hash);
        name.iter_mut().zip(mask.as_bytes()).for_each(|(byte, mask)| *byte ^= mask);
        name
    }
}

const MEND: &str =
    "write a record with the same key and no value to take it away, then erase the shopper again";

fn name_of(shopper: Shopper) -> [u8; NAME] {
    let (kind, key) = match shopper {
        Shopper::Visitor(key) => (1, key.0),
        Shopper::User(key) => (2, key.0),
    };
    let mut name = [kind; NAME];
    name[1..].copy_from_slice(&key.to_le_bytes());
    name
}

fn shopper_of([kind, key @ ..]: [u8; NAME]) -> Option<Shopper> {
    let key = u64::from_le_bytes(key);
    match kind {
        1 => Some(Shopper::Visitor(VisitorKey(key))),
        2 => Some(Shopper::User(UserKey(key))),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl std::fmt::Debug for ErasureKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErasureKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(digit: char) -> ErasureKey {
        ErasureKey::parse(&digit.to_string().repeat(64)).unwrap()
    }

    fn record<'a>(message: &'a Message) -> Record<'a> {
        Record {
            partition: 0,
            offset: 0,
            timestamp: None,
            key: Some(&message.key),
            value: message.value.as_deref(),
            headers: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn who_has_the_key_reads_what_was_sealed(key_bits: u64, user: bool, before in 0..EventTime::MAX.as_millis()) {
            let shopper =
                if user { Shopper::User(UserKey(key_bits)) } else { Shopper::Visitor(VisitorKey(key_bits)) };
            let erasure = Erasure { shopper, before: EventTime::clamped(before) };
            let message = key('a').seal(&"erasures".into(), erasure);
            prop_assert_eq!(key('a').open(&record(&message)), Ok(erasure));
            // Nothing of the stable key stands there in the clear.
            let value = String::from_utf8(message.value.clone().unwrap()).unwrap();
            let stable = hex(&key_bits.to_le_bytes());
            prop_assert!(key_bits < 1 << 32 || !value.contains(&stable));
            // The same shopper has the same record's key, whatever the instant; under another key another one.
            let again = key('a').seal(&"erasures".into(), Erasure { before: EventTime::MIN, ..erasure });
            prop_assert_eq!(&again.key, &message.key);
            let other = key('b').seal(&"erasures".into(), erasure);
            prop_assert_ne!(other.key, message.key);
        }

        #[test]
        fn a_changed_record_is_refused(at in 0usize..200, bit in 0u8..7) {
            let erasure = Erasure { shopper: Shopper::User(UserKey(77)), before: EventTime::clamped(1_700_000_000_000) };
            let mut message = key('a').seal(&"erasures".into(), erasure);
            let length = message.key.len();
            let value = message.value.as_mut().unwrap();
            match at.checked_sub(length) {
                None => message.key[at] ^= 1 << bit,
                Some(at) => { let at = at % value.len(); value[at] ^= 1 << bit }
            }
            // The instant alone is not under the seal; a digit in capitals is the same digit.
            if let Ok(opened) = key('a').open(&record(&message)) {
                prop_assert_eq!(opened.shopper, erasure.shopper);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(name in proptest::collection::vec(any::<u8>(), 0..70), value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let message = Message::new("erasures", name, value);
            prop_assert!(key('a').open(&record(&message)).is_err());
        }
    }

    #[test]
    fn a_record_of_another_key_says_so() {
        let erasure = Erasure { shopper: Shopper::User(UserKey(7)), before: EventTime::clamped(5) };
        let message = key('a').seal(&"erasures".into(), erasure);
        let error = key('b').open(&record(&message)).unwrap_err();
        assert!(error.contains("another key") && error.contains("erasures.key"), "{error}");
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_is_never_shown() {
        for wrong in ["", "abc", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            let error = ErasureKey::parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with("erasures.key:") && error.contains("openssl"), "{error}");
        }
        let shown = format!("{:?}", key('a'));
        assert!(!shown.contains("aaaa"), "{shown}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("{}\n", "A".repeat(64))).unwrap();
        assert_eq!(ErasureConfig::in_file(&path).read(), Ok(Some(key('a'))));
        assert_eq!(ErasureConfig::default().read(), Ok(None));
        let error = ErasureConfig::in_file(dir.path().join("none")).read().unwrap_err().to_string();
        assert!(error.starts_with("erasures.key:") && error.contains("none"), "{error}");
    }
}
