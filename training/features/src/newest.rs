//! For each product the newest thing of some kinds that happened to it, for the newest few products.
//!
//! Purchases, the cart and dismissals are kept so: a refund replaces the purchase before it, taking
//! out replaces putting in. The newest per product is a maximum, and the newest few of the maxima
//! are the same whatever the order of arrival, because a product once pushed out can only come back
//! with something newer.

use endcap_proto::{EventTime, EventType, ItemKey};

use crate::bytes::{Reader, StateError, TIME_BYTES};

/// How many products each list keeps.
pub(crate) const NEWEST_MAX: usize = 64;

/// Bytes of an encoded entry: product 8, type 1, time 6.
pub(crate) const NEWEST_BYTES: usize = 8 + 1 + TIME_BYTES;

/// The newest thing that happened to a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestItem {
    /// Which product.
    pub item: ItemKey,
    /// When.
    pub time: EventTime,
    /// What.
    pub event_type: EventType,
}

/// The newest thing per product, sorted by product; at most [`NEWEST_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NewestItems(Vec<NewestItem>);

impl NewestItem {
    pub(crate) fn newness(&self) -> (EventTime, EventType) {
        (self.time, self.event_type)
    }

    /// As it is encoded.
    pub(crate) fn bytes(&self) -> [u8; NEWEST_BYTES] {
        let mut bytes = [0; NEWEST_BYTES];
        bytes[..8].copy_from_slice(&self.item.0.to_le_bytes());
        bytes[8] = self.event_type as u8;
        bytes[9..].copy_from_slice(&self.time.as_millis().to_le_bytes()[..TIME_BYTES]);
        bytes
    }

    /// What [`Self::bytes`] wrote; none where that names no type or time.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut time = [0; 8];
        time[..TIME_BYTES].copy_from_slice(bytes.get(9..NEWEST_BYTES)?);
        Some(Self {
            item: ItemKey(u64::from_le_bytes(*bytes.first_chunk()?)),
            time: EventTime::from_millis(i64::from_le_bytes(time))?,
            event_type: EventType::from_number(bytes[8])?,
        })
    }
}

impl NewestItems {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NewestItem> {
        self.0.iter()
    }

    pub(crate) fn get(&self, item: ItemKey) -> Option<&NewestItem> {
        self.0.binary_search_by_key(&item, |entry| entry.item).ok().map(|i| &self.0[i])
    }

    /// Takes an entry in; whether that changed anything.
    pub(crate) fn apply(&mut self, entry: NewestItem) -> bool {
        match self.0.binary_search_by_key(&entry.item, |entry| entry.item) {
            Ok(i) if self.0[i].newness() < entry.newness() => self.0[i] = entry,
            Ok(_) => return false,
            Err(i) => {
                self.0.insert(i, entry);
                if self.0.len() > NEWEST_MAX {
                    let oldest = (0..self.0.len()).min_by_key(|&i| (self.0[i].newness(), self.0[i].item));
                    return oldest.map(|i| self.0.remove(i)) != Some(entry);
                }
            }
        }
        true
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for &entry in &other.0 {
            self.apply(entry);
        }
    }

    pub(crate) fn forget_before(&mut self, time: EventTime) {
        self.0.retain(|entry| entry.time >= time);
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        for entry in &self.0 {
            out.extend(entry.bytes());
        }
    }

    /// In encoded entries, of which there are as many as may be: takes in one that is not there and would stand at
    /// `place`, in exchange for the oldest, if that is not itself. None, and nothing done, where they are no entries.
    pub(crate) fn replace_oldest(entries: &mut [u8], place: usize, entry: NewestItem) -> Option<()> {
        let (entries, _) = entries.as_chunks_mut::<NEWEST_BYTES>();
        let age = |entry: &NewestItem| (entry.newness(), entry.item);
        let (mut oldest, mut least) = (None, age(&entry));
        for (i, known) in entries.iter().enumerate() {
            let known = age(&NewestItem::read(known)?);
            if known < least {
                (oldest, least) = (Some(i), known);
            }
        }
        match oldest {
            None => {}
            Some(oldest) if oldest < place => {
                entries.copy_within(oldest + 1..place, oldest);
                entries[place - 1] = entry.bytes();
            }
            Some(oldest) => {
                entries.copy_within(place..oldest, place + 1);
                entries[place] = entry.bytes();
            }
        }
        Some(())
    }

    /// In encoded entries: the one of a product, or the place where it would stand.
    pub(crate) fn place_of(entries: &mut [u8], item: ItemKey) -> Result<&mut [u8], usize> {
        let (entries, _) = entries.as_chunks_mut::<NEWEST_BYTES>();
        let key = |entry: &[u8; NEWEST_BYTES]| entry.first_chunk().map(|key| u64::from_le_bytes(*key));
        let found = entries.binary_search_by_key(&Some(item.0), key);
        found.map(|place| &mut entries[place][..])
    }

    /// Takes only the event types that `may` names, and times up to `last`.
    pub(crate) fn decode(
        reader: &mut Reader<'_>,
        last: EventTime,
        may: &[EventType],
    ) -> Result<Self, StateError> {
        let count = usize::from(reader.byte()?);
        if count > NEWEST_MAX {
            return Err(reader.corrupt("a list is longer than it may be"));
        }
        let mut entries = Vec::<NewestItem>::with_capacity(count);
        for _ in 0..count {
            let item = ItemKey(reader.u64()?);
            if entries.last().is_some_and(|previous| previous.item >= item) {
                return Err(reader.corrupt("products must rise"));
            }
            let event_type = EventType::from_number(reader.byte()?)
                .filter(|event_type| may.contains(event_type))
                .ok_or_else(|| reader.corrupt("the event type does not belong here"))?;
            entries.push(NewestItem { item, time: reader.time(last)?, event_type });
        }
        Ok(Self(entries))
    }
}
