//! Where the entries of a shard lie, by key.
//!
//! ```text
//! key's low 32 bits, as a share of 2³² ─► home bucket, of the same share of all ─► the next one that has the key or is vacant
//! ```
//!
//! A bucket holds key and place side by side: what is looked up is in one line of the cache, whose address is known
//! beforehand. Keys are hashes, so their bits are as good as any. Buckets rise as keys' low halves do, but for those
//! that found their home taken: entries that are read in the order of one index are put into another without a jump.

/// Key → place.
#[derive(Debug, Default)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
    entries: usize,
}

/// Where an entry lies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) begin: u32,
    pub(super) length: u16,
    /// Bytes that it may fill, `length` among them. None: there is no entry.
    pub(super) room: u16,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    key: u64,
    place: Place,
}

/// Buckets that a shard begins with.
const FEWEST: usize = 8;

impl Index {
    /// With room for so many entries.
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self { buckets: vec![Bucket::default(); entries + entries / 3 + 1], entries: 0 }
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Where an entry lies; none where there is none.
    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<Place> {
        self.find(key).ok().map(|at| self.buckets[at].place)
    }

    /// Lets an entry's place be changed. Where there was none, it begins with the default; one that is left without
    /// room is none. Says whether an entry is new.
    #[inline]
    pub(super) fn edit<R>(&mut self, key: u64, edit: impl FnOnce(&mut Place) -> R) -> (R, bool) {
        let (at, there) = match self.find(key) {
            Ok(at) => (at, true),
            Err(vacant) => {
                let is_full = (self.entries + 1) * 4 > self.buckets.len() * 3;
                let at = if is_full { self.grow_for(key) } else { vacant };
                self.buckets[at] = Bucket { key, place: Place::default() };
                (at, false)
            }
        };
        let place = &mut self.buckets[at].place;
        let result = edit(place);
        let is_new = !there && place.room > 0;
        self.entries += usize::from(is_new);
        (result, is_new)
    }

    /// Takes an entry out; where it lay.
    pub(super) fn remove(&mut self, key: u64) -> Option<Place> {
        let mut gap = self.find(key).ok()?;
        let place = self.buckets[gap].place;
        self.entries -= 1;
        // What comes behind moves up, as far as its home allows: a search ends at a vacant bucket.
        let mut at = gap;
        loop {
            self.buckets[gap].place.room = 0;
            loop {
                at = self.after(at);
                if self.buckets[at].place.room == 0 {
                    return Some(place);
                }
                if self.way(self.home(self.buckets[at].key), at) >= self.way(gap, at) {
                    break;
                }
            }
            self.buckets[gap] = self.buckets[at];
            gap = at;
        }
    }

    /// Keys and places, mostly rising by the keys' low halves.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Place)> {
        let there = self.buckets.iter().filter(|bucket| bucket.place.room > 0);
        there.map(|bucket| (bucket.key, &bucket.place))
    }

    /// All places.
    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.buckets.iter_mut().map(|bucket| &mut bucket.place).filter(|place| place.room > 0)
    }

    /// The buckets, for [`home_of`].
    pub(super) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The bucket of a key, or the vacant one where it belongs.
    #[inline]
    fn find(&self, key: u64) -> Result<usize, usize> {
        if self.buckets.is_empty() {
            return Err(0);
        }
        let mut at = self.home(key);
        loop {
            let bucket = &self.buckets[at];
            if bucket.place.room == 0 {
                return Err(at);
            }
            if bucket.key == key {
                return Ok(at);
            }
            at = self.after(at);
        }
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        home_of(key, self.buckets.len())
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    /// Steps from one bucket on to another.
    fn way(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.buckets.len() - from }
    }

    /// Makes room; where a key that is not there belongs then.
    #[cold]
    fn grow_for(&mut self, key: u64) -> usize {
        let more = (self.buckets.len() + self.buckets.len() / 2).max(FEWEST);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); more]);
        for bucket in old.into_iter().filter(|bucket| bucket.place.room > 0) {
            let at = self.vacant(bucket.key);
            self.buckets[at] = bucket;
        }
        self.vacant(key)
    }

    /// Where a key belongs that is not there.
    fn vacant(&self, key: u64) -> usize {
        let mut at = self.home(key);
        while self.buckets[at].place.room > 0 {
            at = self.after(at);
        }
        at
    }
}

/// The bucket of `buckets` where the search for a key begins.
#[inline]
pub(super) fn home_of(key: u64, buckets: usize) -> usize {
    (((key & u64::from(u32::MAX)) * buckets as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is put and taken out, also where many keys share a home.
        #[test]
        fn an_index_is_a_map(
            steps in proptest::collection::vec((any::<bool>(), 0..60u64, 1..1000u16), 0..600),
            crowded: bool,
        ) {
            let (mut index, mut map) = (Index::default(), BTreeMap::new());
            for (put, number, room) in steps {
                let key = if crowded { number << 40 | 0xffff_fff0 } else { number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
                if put {
                    let ((), is_new) = index.edit(key, |place| place.room = room);
                    prop_assert_eq!(is_new, map.insert(key, room).is_none());
                } else {
                    prop_assert_eq!(index.remove(key).map(|place| place.room), map.remove(&key));
                }
                prop_assert_eq!(index.len(), map.len());
                prop_assert_eq!(index.get(key).map(|place| place.room), map.get(&key).copied());
            }
            let all: BTreeMap<u64, u16> = index.iter().map(|(key, place)| (key, place.room)).collect();
            prop_assert_eq!(all, map);
        }
    }

    #[test]
    fn an_entry_without_room_is_none() {
        let mut index = Index::default();
        assert_eq!(index.edit(7, |_| ()), ((), false));
        assert_eq!((index.len(), index.get(7).is_none(), index.iter().count()), (0, true, 0));
    }
}
