//! A set of 64-bit keys whose places are known beforehand, so that they can be prefetched.

use super::{index::home_of, prefetch::prefetch};

/// Keys that are hashes.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The key, or 0 where there is none.
    buckets: Vec<u64>,
    /// Those in the buckets.
    keys: usize,
    /// The key 0 is there, too.
    zero: bool,
}

/// Buckets that a set begins with.
const FEWEST: usize = 16;
/// Keys that rise as their homes do lie closer together than this, in buckets.
const CLOSE: usize = 1024;

impl Keys {
    /// A set of keys that each come once, in the order of another set's buckets as [`Self::iter`] has them. Their homes
    /// rise, but for keys that had found theirs taken: most go behind the one before, unsearched.
    pub(crate) fn in_order(keys: impl ExactSizeIterator<Item = u64>) -> Self {
        let mut set = Self::default();
        set.reserve(keys.len());
        // All buckets from the last key's home to `next` are taken.
        let (mut last, mut next) = (0, 0);
        for key in keys {
            let home = home_of(key, set.buckets.len());
            let at = home.max(next);
            if key != 0 && (last..next + CLOSE).contains(&home) && set.buckets.get(at) == Some(&0) {
                set.buckets[at] = key;
                set.keys += 1;
                (last, next) = (home, at + 1);
            } else {
                set.insert(key);
            }
        }
        set
    }

    /// Puts a key there; whether it is new.
    #[inline]
    pub(crate) fn insert(&mut self, key: u64) -> bool {
        if key == 0 {
            return !std::mem::replace(&mut self.zero, true);
        }
        self.reserve(1);
        let at = self.find(key);
        let is_new = self.buckets[at] == 0;
        self.buckets[at] = key;
        self.keys += usize::from(is_new);
        is_new
    }

    /// Whether a key is there.
    #[inline]
    pub(crate) fn contains(&self, key: u64) -> bool {
        if key == 0 { self.zero } else { !self.buckets.is_empty() && self.buckets[self.find(key)] != 0 }
    }

    /// Has the place of a key on its way that will be asked for.
    #[inline]
    pub(crate) fn expect(&self, key: u64) {
        prefetch(self.buckets.as_ptr().wrapping_add(home_of(key, self.buckets.len())));
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<u64>()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys + usize::from(self.zero)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        let zero = self.zero.then_some(0);
        zero.into_iter().chain(self.buckets.iter().copied().filter(|&key| key != 0))
    }

    /// The bucket of a key that is not 0, or the vacant one where it belongs.
    #[inline]
    fn find(&self, key: u64) -> usize {
        let mut at = home_of(key, self.buckets.len());
        while self.buckets[at] != key && self.buckets[at] != 0 {
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
        at
    }

    /// Makes room for so many more.
    #[inline]
    fn reserve(&mut self, more: usize) {
        let keys = self.keys + more;
        if keys * 4 > self.buckets.len() * 3 {
            self.grow(keys + keys / 3 + 1);
        }
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        let more = (self.buckets.len() * 2).max(FEWEST).max(least);
        for key in std::mem::replace(&mut self.buckets, vec![0; more]).into_iter().filter(|&key| key != 0) {
            let at = self.find(key);
            self.buckets[at] = key;
        }
    }
}

impl Extend<u64> for Keys {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, keys: I) {
        let keys = keys.into_iter();
        // Keys may come in the order of another set's buckets: a set that grew meanwhile would have them all at its
        // beginning, one behind the other.
        self.reserve(keys.size_hint().0);
        for key in keys {
            self.insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_in_the_order_of_another_one_is_the_same() {
        for count in [0, 1, 40, 3_000, 100_000u64] {
            // Many share a home, and the last buckets are crowded, so that some go on at the first.
            let key = |number: u64| match number % 3 {
                0 if number < 3_000 => number << 32 | 0xffff_ff00,
                _ => number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            };
            let mut keys = Keys::default();
            for number in 0..count {
                keys.insert(key(number));
            }
            let copy = Keys::in_order(keys.iter().collect::<Vec<_>>().into_iter());
            assert_eq!(copy.len(), keys.len());
            assert!(keys.iter().all(|key| copy.contains(key)) && copy.iter().all(|key| keys.contains(key)));
        }
    }

    #[test]
    fn a_set_takes_in_another_ones_keys_as_fast_as_any() {
        let mut keys = Keys::default();
        for number in 1..300_000u64 {
            keys.insert(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        let mut copy = Keys::default();
        copy.extend(keys.iter().collect::<Vec<_>>());
        assert!(keys.iter().all(|key| copy.contains(key)) && copy.len() == keys.len());
        // Room for all was made at once; growing on the way, it would be of a doubling's size.
        assert!(copy.buckets.len() < copy.len() * 3 / 2, "{} buckets", copy.buckets.len());
    }

    proptest! {
        #[test]
        fn keys_are_a_set(numbers in proptest::collection::vec(0..200u64, 0..400), crowded: bool) {
            let (mut keys, mut set) = (Keys::default(), BTreeSet::new());
            for number in numbers {
                let key = if crowded { number << 32 } else { number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
                prop_assert_eq!(keys.contains(key), set.contains(&key));
                prop_assert_eq!(keys.insert(key), set.insert(key));
                prop_assert!(keys.contains(key));
                prop_assert_eq!(keys.len(), set.len());
            }
            let copy = Keys::in_order(keys.iter().collect::<Vec<_>>().into_iter());
            prop_assert!(set.iter().all(|&key| copy.contains(key)) && copy.len() == set.len());
            prop_assert_eq!(keys.iter().collect::<BTreeSet<_>>(), set);
        }
    }
}
