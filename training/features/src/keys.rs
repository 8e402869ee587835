//! Maps and sets over stable 64-bit keys.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

/// Hashes a key by itself: stable keys are XXH3 hashes already, so hashing them again buys nothing.
/// Only for keys that come from [`endcap_proto`]'s `…Key` types and other 64-bit hashes.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by the key types, which hash as one `u64`; kept correct for anything else.
        for &byte in bytes {
            self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A map from stable keys.
pub type KeyMap<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// A set of stable keys.
pub type KeySet<K> = HashSet<K, BuildHasherDefault<KeyHasher>>;
