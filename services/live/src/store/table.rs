//! Entries by 64-bit key, as bytes: one kind of entry, all in memory.
//!
//! ```text
//! key ─► shard: a lock ─► index: key → place ─► arena: bytes of all the shard's entries, each with a little room
//! ```
//!
//! Each step is a miss of the cache where there are many entries. Who knows the next keys goes the way for all of them
//! beforehand ([`Table::expect`]), so that these misses do not wait for one another.
//!
//! An entry is edited where it lies; one that outgrows its room moves to the arena's end. What is left behind
//! is taken away when it is an eighth of the arena and a KiB. A snapshot holds the same bytes, so that loading one is
//! reading it: the index is all that is built.
//!
//! A lock is held for as long as one entry takes, or the copy of one shard.

use std::{
    ptr,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    index::{Bucket, Index, Place, home_of},
    prefetch::prefetch,
};

/// Entries of one kind.
pub(super) struct Table {
    shards: Box<[Guarded]>,
    entries: AtomicUsize,
}

/// A shard behind its lock, and in front of it where its index lies: to be prefetched, never to be read.
#[derive(Default)]
struct Guarded {
    buckets: AtomicPtr<Bucket>,
    count: AtomicUsize,
    shard: RwLock<Shard>,
}

/// Some of the entries.
#[derive(Default)]
struct Shard {
    index: Index,
    arena: Vec<u8>,
    /// Bytes of the arena that no entry has.
    unused: usize,
}

/// How far the way to an entry is gone beforehand; each step wants the one before it to have arrived.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// To its shard.
    Shard,
    /// To its place in the index.
    Index,
    /// To its bytes.
    Bytes,
}

/// An entry that is being edited.
pub(super) struct Slot<'a> {
    place: &'a mut Place,
    arena: &'a mut Vec<u8>,
    unused: &'a mut usize,
}

/// A shard as it was at one moment: for each entry its key and length, then their bytes.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) entries: usize,
    pub(super) bytes: Vec<u8>,
}

/// Bytes of the head of an entry in a [`Copied`].
const HEAD: usize = 12;

// === impl Table ===

impl Table {
    /// A table of `shards` shards, a power of two.
    pub(super) fn new(shards: usize) -> Self {
        debug_assert!(shards.is_power_of_two());
        Self { shards: (0..shards).map(|_| Guarded::default()).collect(), entries: AtomicUsize::new(0) }
    }

    /// The index takes the low half of a key.
    #[inline]
    fn guarded(&self, key: u64) -> &Guarded {
        &self.shards[(key >> 32) as usize & (self.shards.len() - 1)]
    }

    /// Goes one step of the way to an entry that will be asked for.
    #[inline]
    pub(super) fn expect(&self, key: u64, step: Step) {
        let guarded = self.guarded(key);
        match step {
            Step::Shard => {
                prefetch(guarded);
                // It may reach into a second line.
                prefetch(ptr::from_ref(guarded).wrapping_add(1).cast::<u8>().wrapping_sub(1));
            }
            Step::Index => {
                let home = home_of(key, guarded.count.load(Relaxed));
                prefetch(guarded.buckets.load(Relaxed).wrapping_add(home));
            }
            Step::Bytes => {
                let shard = guarded.read();
                if let Some(bytes) = shard.get(key) {
                    prefetch(bytes.as_ptr());
                    prefetch(bytes.as_ptr_range().end);
                }
            }
        }
    }

    /// Reads an entry.
    pub(super) fn with<R>(&self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.guarded(key).read().get(key).map(read)
    }

    /// Edits an entry, which is empty where there is none. It is to leave bytes there.
    #[inline]
    pub(super) fn edit<R>(&self, key: u64, edit: impl FnOnce(&mut Slot<'_>) -> R) -> R {
        let guarded = self.guarded(key);
        let mut shard = guarded.shard.write().unwrap_or_else(PoisonError::into_inner);
        let Shard { index, arena, unused } = &mut *shard;
        let (result, is_new) = index.edit(key, |place| edit(&mut Slot { place, arena, unused }));
        if is_new {
            self.entries.fetch_add(1, Relaxed);
            guarded.tell(index);
        }
        if *unused > arena.len() / 8 + 1024 {
            shard.compact();
        }
        result
    }

    /// Takes an entry out; whether it was there.
    pub(super) fn remove(&self, key: u64) -> bool {
        let mut shard = self.guarded(key).shard.write().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = shard.index.remove(key) else { return false };
        shard.unused += usize::from(place.room);
        self.entries.fetch_sub(1, Relaxed);
        true
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.entries.load(Relaxed)
    }

    /// Bytes of memory, to within the allocator's own.
    pub(super) fn memory(&self) -> usize {
        let of = |guarded: &Guarded| {
            let shard = guarded.read();
            size_of::<Guarded>() + shard.arena.len() + shard.index.memory()
        };
        self.shards.iter().map(of).sum()
    }

    /// Looks at every entry, shard by shard.
    pub(super) fn for_each(&self, mut each: impl FnMut(u64, &[u8])) {
        for guarded in &self.shards {
            guarded.read().iter().for_each(|(key, bytes)| each(key, bytes));
        }
    }

    /// Keeps the entries of which `keep` says so; how many went.
    pub(super) fn retain(&self, mut keep: impl FnMut(u64, &[u8]) -> bool) -> usize {
        let mut gone = 0;
        for guarded in &self.shards {
            // Looked at with others, so that they wait for what goes and for nothing else.
            let keys: Vec<u64> = {
                let shard = guarded.read();
                shard.iter().filter(|&(key, bytes)| !keep(key, bytes)).map(|(key, _)| key).collect()
            };
            for key in keys {
                let mut shard = guarded.shard.write().unwrap_or_else(PoisonError::into_inner);
                if shard.get(key).is_some_and(|bytes| !keep(key, bytes)) {
                    let room = shard.index.remove(key).map_or(0, |place| place.room);
                    shard.unused += usize::from(room);
                    gone += 1;
                }
            }
        }
        self.entries.fetch_sub(gone, Relaxed);
        gone
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A shard as it is now.
    pub(super) fn copy(&self, shard: usize) -> Copied {
        let shard = self.shards[shard].read();
        let entries = shard.index.len();
        let mut bytes = Vec::with_capacity(entries * HEAD + shard.arena.len());
        for (key, entry) in shard.iter() {
            bytes.extend(key.to_le_bytes());
            bytes.extend((entry.len() as u32).to_le_bytes());
        }
        shard.iter().for_each(|(_, entry)| bytes.extend(entry));
        Copied { entries, bytes }
    }

    /// Puts a shard there as it was copied; why not, where that cannot be.
    pub(super) fn load(&self, shard: usize, copied: Copied) -> Result<(), &'static str> {
        let Copied { entries, bytes: arena } = copied;
        let heads = entries.checked_mul(HEAD).filter(|&heads| heads <= arena.len());
        let heads = heads.ok_or("it is shorter than its entries")?;
        let Some(guarded) = self.shards.get(shard) else { return Err("there is no such shard") };
        let mut index = Index::with_capacity(entries);
        let mut begin = heads;
        for head in arena[..heads].chunks_exact(HEAD) {
            let (key, length) = head.split_at(8);
            let key = key.try_into().map(u64::from_le_bytes).map_err(|_| "a key is malformed")?;
            let length = length.try_into().map(u32::from_le_bytes).map_err(|_| "a length is malformed")?;
            let room = u16::try_from(length).map_err(|_| "an entry is too long")?;
            if room == 0 {
                return Err("an entry is empty");
            }
            let at = u32::try_from(begin).map_err(|_| "it is too long")?;
            begin += usize::from(room);
            index.edit(key, |place| *place = Place { begin: at, length: room, room });
        }
        if begin != arena.len() || index.len() != entries {
            return Err("its entries are not as long as it is");
        }
        self.entries.fetch_add(entries, Relaxed);
        guarded.tell(&index);
        *guarded.shard.write().unwrap_or_else(PoisonError::into_inner) =
            Shard { index, arena, unused: heads };
        Ok(())
    }
}

// === impl Step ===

impl Step {
    /// In their order.
    pub(super) const ALL: [Self; 3] = [Self::Shard, Self::Index, Self::Bytes];
}

// === impl Guarded ===

impl Guarded {
    fn read(&self) -> RwLockReadGuard<'_, Shard> {
        self.shard.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the index lies.
    fn tell(&self, index: &Index) {
        let buckets = index.buckets();
        self.buckets.store(buckets.as_ptr().cast_mut(), Relaxed);
        self.count.store(buckets.len(), Relaxed);
    }
}

// === impl Shard ===

impl Shard {
    fn get(&self, key: u64) -> Option<&[u8]> {
        self.index.get(key).map(|place| self.bytes(&place))
    }

    fn bytes(&self, place: &Place) -> &[u8] {
        &self.arena[place.begin as usize..][..usize::from(place.length)]
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.index.iter().map(|(key, place)| (key, self.bytes(place)))
    }

    /// Takes away what is unused. Entries move up in the order in which they lie, so that those that nothing happens to
    /// gather in front, where there are no gaps; others get room again as far as the gaps behind them reach.
    #[cold]
    fn compact(&mut self) {
        let mut places: Vec<_> = self.index.places_mut().collect();
        places.sort_unstable_by_key(|place| place.begin);
        let mut end = 0;
        for place in places {
            let (begin, length) = (place.begin as usize, usize::from(place.length));
            if begin > end {
                self.arena.copy_within(begin..begin + length, end);
            }
            let room = (usize::from(place.room) + begin - end).min(length + slack(length));
            *place = Place { begin: place_of(end), length: place.length, room: fit(room) };
            end += room;
        }
        self.arena.truncate(end);
        self.unused = 0;
    }
}

// === impl Slot ===

impl Slot<'_> {
    /// What is there.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.arena[self.place.begin as usize..][..usize::from(self.place.length)]
    }

    /// What is there and at least `more` bytes behind it; and the length of what is there.
    pub(super) fn with_room(&mut self, more: usize) -> (&mut [u8], usize) {
        let Place { begin, length, room } = *self.place;
        let (mut begin, length) = (begin as usize, usize::from(length));
        if length + more > usize::from(room) {
            let (end, wanted) = (self.arena.len(), length + slack(length).max(more));
            reserve(self.arena, wanted);
            self.arena.extend_from_within(begin..begin + length);
            self.arena.resize(end + wanted, 0);
            *self.unused += usize::from(room);
            begin = end;
            *self.place = Place { begin: place_of(begin), length: fit(length), room: fit(wanted) };
        }
        (&mut self.arena[begin..begin + usize::from(self.place.room)], length)
    }

    /// The entry is that long now.
    pub(super) fn set_length(&mut self, length: usize) {
        debug_assert!(length <= usize::from(self.place.room));
        self.place.length = fit(length);
    }

    /// Puts other bytes there.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if bytes.len() <= usize::from(self.place.room) {
            self.arena[self.place.begin as usize..][..bytes.len()].copy_from_slice(bytes);
            self.place.length = fit(bytes.len());
            return;
        }
        *self.unused += usize::from(self.place.room);
        let (begin, wanted) = (self.arena.len(), bytes.len() + slack(bytes.len()));
        reserve(self.arena, wanted);
        self.arena.extend_from_slice(bytes);
        self.arena.resize(begin + wanted, 0);
        *self.place = Place { begin: place_of(begin), length: fit(bytes.len()), room: fit(wanted) };
    }
}

/// Room beyond an entry's bytes.
fn slack(length: usize) -> usize {
    (length / 8).clamp(32, 96)
}

/// Makes room in an arena. A vector by itself would grow to twice its length, most of it for nothing.
fn reserve(arena: &mut Vec<u8>, more: usize) {
    if arena.capacity() - arena.len() < more {
        arena.reserve_exact(more.max(arena.len() / 8));
    }
}

fn place_of(begin: usize) -> u32 {
    // 4 GiB in one shard of hundreds are more than a machine's memory.
    u32::try_from(begin).expect("a shard of the state is larger than 4 GiB")
}

/// Entries are bounded by their formats, far below this.
fn fit(length: usize) -> u16 {
    u16::try_from(length).expect("an entry of the state is larger than 64 KiB")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all(table: &Table) -> BTreeMap<u64, Vec<u8>> {
        let mut all = BTreeMap::new();
        table.for_each(|key, bytes| drop(all.insert(key, bytes.to_vec())));
        all
    }

    fn key(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    proptest! {
        /// Whatever is put, added, taken out, copied and loaded: it holds what a map holds.
        #[test]
        fn a_table_is_a_map(
            edits in proptest::collection::vec((0..5u8, 0..40u64, proptest::collection::vec(any::<u8>(), 1..300)), 0..400)
        ) {
            let (mut table, mut map) = (Table::new(4), BTreeMap::<u64, Vec<u8>>::new());
            for (what, number, bytes) in edits {
                let key = key(number);
                match what {
                    0 => {
                        table.edit(key, |slot| slot.put(&bytes));
                        map.insert(key, bytes);
                    }
                    1 | 2 => {
                        table.edit(key, |slot| {
                            let (room, length) = slot.with_room(bytes.len());
                            room[length..length + bytes.len()].copy_from_slice(&bytes);
                            slot.set_length(length + bytes.len());
                        });
                        let entry = map.entry(key).or_default();
                        entry.extend(bytes);
                        if entry.len() > 3000 {
                            table.remove(key);
                            map.remove(&key);
                        }
                    }
                    3 => prop_assert_eq!(table.remove(key), map.remove(&key).is_some()),
                    _ => {
                        let copy = Table::new(4);
                        for shard in 0..table.shards() {
                            copy.load(shard, table.copy(shard)).unwrap();
                        }
                        table = copy;
                    }
                }
                prop_assert_eq!(table.with(key, <[u8]>::to_vec), map.get(&key).cloned());
                prop_assert_eq!(table.len(), map.len());
            }
            prop_assert_eq!(all(&table), map.clone());
            let gone = table.retain(|_, bytes| bytes[0] % 2 == 0);
            map.retain(|_, bytes| bytes[0] % 2 == 0);
            prop_assert_eq!((table.len(), all(&table).len() + gone), (map.len(), map.len() + gone));
            prop_assert_eq!(all(&table), map);
        }

        #[test]
        fn no_bytes_make_a_shard_panic(entries in 0..6usize, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Table::new(1).load(0, Copied { entries, bytes });
        }
    }

    #[test]
    fn what_was_outgrown_is_taken_away() {
        let table = Table::new(1);
        for round in 0..200u64 {
            for number in 0..100 {
                table.edit(key(number), |slot| slot.put(&vec![round as u8; 10 + 5 * round as usize]));
            }
        }
        let live = 100 * (10 + 5 * 199);
        assert!(table.memory() < live * 3 / 2 + 20_000, "{} bytes for {live}", table.memory());
    }
}
