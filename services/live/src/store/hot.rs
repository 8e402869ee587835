//! One kind of entry: what is in memory, over what is on disk.
//!
//! Readers see [`Hot`]; the writer holds a [`HotWriter`] and edits copies that nobody sees before
//! [`HotWriter::publish`]. An entry leaves memory only when it is on disk and was not touched since,
//! so a reader that finds nothing in memory finds all of it on disk.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use fjall::Keyspace;

use super::StoreError;

/// An entry that can be stored.
pub(super) trait Entry: Clone + Default {
    fn encode(&self, bytes: &mut Vec<u8>);
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

/// An entry as it was published, and in which epoch (a flush ends an epoch).
struct Published<V> {
    epoch: u64,
    entry: Arc<V>,
}

/// Entries in memory over entries on disk, by 64-bit key.
pub(super) struct Hot<V> {
    name: &'static str,
    path: PathBuf,
    memory: papaya::HashMap<u64, Published<V>>,
    pub(super) disk: Keyspace,
    /// All of it is in memory, always.
    resident: bool,
}

/// What the one writer knows beyond [`Hot`].
pub(super) struct HotWriter<V> {
    editing: HashMap<u64, V>,
    changed: HashSet<u64>,
    /// What was cut, and in which epoch, oldest first; kept where the memory is bounded.
    flushed: VecDeque<(u64, u64)>,
    capacity: Option<usize>,
    epoch: u64,
}

// === impl Hot ===

impl<V: Entry> Hot<V> {
    /// Entries of which some are in memory.
    pub(super) fn new(name: &'static str, disk: Keyspace, path: &Path) -> Self {
        Self { name, path: path.to_owned(), memory: papaya::HashMap::new(), disk, resident: false }
    }

    /// Entries that are all in memory: reading one is never I/O.
    pub(super) fn resident(name: &'static str, disk: Keyspace, path: &Path) -> Result<Self, StoreError> {
        let hot = Self { resident: true, ..Self::new(name, disk, path) };
        let memory = hot.memory.pin();
        hot.for_each(|key, entry| {
            memory.insert(key, Published { epoch: 0, entry: Arc::new(entry) });
        })?;
        drop(memory);
        Ok(hot)
    }

    pub(super) fn in_memory(&self, key: u64) -> Option<Arc<V>> {
        self.memory.pin().get(&key).map(|published| published.entry.clone())
    }

    pub(super) fn get(&self, key: u64) -> Result<Option<Arc<V>>, StoreError> {
        let entry = self.in_memory(key);
        if self.resident || entry.is_some() {
            return Ok(entry);
        }
        let bytes = self.disk.get(key.to_be_bytes()).map_err(|source| self.storage(source))?;
        bytes.map(|bytes| self.decode(key, &bytes).map(Arc::new)).transpose()
    }

    /// Entries in memory.
    pub(super) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Every entry in memory.
    pub(super) fn for_each_in_memory(&self, mut each: impl FnMut(u64, &V)) {
        for (key, published) in &self.memory.pin() {
            each(*key, &published.entry);
        }
    }

    /// Every entry on disk.
    pub(super) fn for_each(&self, mut each: impl FnMut(u64, V)) -> Result<(), StoreError> {
        for guard in self.disk.iter() {
            let (key, bytes) = guard.into_inner().map_err(|source| self.storage(source))?;
            let key = key.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt {
                path: self.path.clone(),
                what: self.name.to_owned(),
                reason: format!("a key of {} bytes, where there must be 8", key.len()),
            })?;
            each(key, self.decode(key, &bytes)?);
        }
        Ok(())
    }

    fn decode(&self, key: u64, bytes: &[u8]) -> Result<V, StoreError> {
        V::decode(bytes).map_err(|reason| StoreError::Corrupt {
            path: self.path.clone(),
            what: format!("{} {key:016x}", self.name),
            reason,
        })
    }

    fn storage(&self, source: fjall::Error) -> StoreError {
        StoreError::Storage { path: self.path.clone(), source }
    }
}

// === impl HotWriter ===

impl<V: Entry> HotWriter<V> {
    /// Holds about `capacity` entries in memory, or all of them.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            editing: HashMap::new(),
            changed: HashSet::new(),
            flushed: VecDeque::new(),
            capacity,
            epoch: 1,
        }
    }

    /// The writer's copy of an entry, empty when there is none yet.
    pub(super) fn edit(&mut self, hot: &Hot<V>, key: u64) -> Result<&mut V, StoreError> {
        use std::collections::hash_map::Entry::{Occupied, Vacant};
        Ok(match self.editing.entry(key) {
            Occupied(entry) => entry.into_mut(),
            Vacant(place) => place.insert(hot.get(key)?.map(Arc::unwrap_or_clone).unwrap_or_default()),
        })
    }

    /// Makes the copies visible.
    pub(super) fn publish(&mut self, hot: &Hot<V>) {
        if self.editing.is_empty() {
            return;
        }
        let memory = hot.memory.pin();
        for (key, entry) in self.editing.drain() {
            memory.insert(key, Published { epoch: self.epoch, entry: Arc::new(entry) });
            self.changed.insert(key);
        }
    }

    /// Ends the epoch: what was published in it, to be flushed. Then see [`Self::settle`].
    pub(super) fn cut(&mut self, hot: &Hot<V>) -> Vec<(u64, Arc<V>)> {
        let memory = hot.memory.pin();
        let entries: Vec<_> = self
            .changed
            .drain()
            .filter_map(|key| memory.get(&key).map(|published| (key, published.entry.clone())))
            .collect();
        if self.capacity.is_some() {
            self.flushed.extend(entries.iter().map(|&(key, _)| (key, self.epoch)));
        }
        self.epoch += 1;
        entries
    }

    /// What was cut up to and with `epoch` is on disk: lets go of the entries longest untouched while
    /// there are more than the capacity.
    pub(super) fn settle(&mut self, hot: &Hot<V>, epoch: u64) {
        let Some(capacity) = self.capacity else { return };
        let memory = hot.memory.pin();
        let untouched = |key, cut| memory.get(&key).is_some_and(|published| published.epoch == cut);
        while memory.len() > capacity {
            let Some(&(key, cut)) = self.flushed.front().filter(|&&(_, cut)| cut <= epoch) else { break };
            self.flushed.pop_front();
            if untouched(key, cut) {
                memory.remove(&key);
            }
        }
        // What was touched again has a later place in the queue.
        if self.flushed.len() > 2 * memory.len() + 1024 {
            self.flushed.retain(|&(key, cut)| untouched(key, cut));
        }
    }

    /// Takes entries out of memory for good; the caller takes them off the disk.
    pub(super) fn forget(&mut self, hot: &Hot<V>, keys: &[u64]) {
        let memory = hot.memory.pin();
        for key in keys {
            memory.remove(key);
            self.changed.remove(key);
        }
    }

    /// Entries changed since the last cut.
    pub(super) fn changed(&self) -> usize {
        self.changed.len()
    }
}
