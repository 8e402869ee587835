//! Which events of a partition were seen lately, so that a repeat is dropped.
//!
//! Two generations of 64-bit keys: when the watermark has moved by the horizon since the younger one
//! began, the older one is dropped and the younger one becomes the older. An event that may still be
//! applied (not older than the horizon) was first seen within the last horizon of the watermark's way,
//! so its key is in one of the two. Which generation a key falls into depends on the log alone.

use endcap_proto::EventTime;

use super::keys::Keys;

/// Ids of the events seen lately in one partition.
#[derive(Debug, Default)]
pub(crate) struct Window {
    younger: Keys,
    older: Keys,
    /// Number of the younger generation.
    generation: u64,
    /// The watermark when the younger generation began.
    began: Option<EventTime>,
    /// Whether [`Self::take_new`] is asked for.
    tracked: bool,
    /// Keys that came since the last [`Self::take_new`], all of `generation`.
    new: Vec<u64>,
    /// The same of a generation that ended since.
    new_in_older: Vec<u64>,
}

impl Window {
    /// A window as it was flushed: each generation's keys.
    pub(crate) fn restore(
        generation: u64,
        began: EventTime,
        keys: impl IntoIterator<Item = (u64, Vec<u64>)>,
    ) -> Self {
        let mut window = Self { generation, began: Some(began), ..Self::default() };
        for (of, keys) in keys {
            if of == generation {
                window.younger.extend(keys);
            } else if of + 1 == generation {
                window.older.extend(keys);
            }
        }
        window
    }

    /// A window as it was: the keys of the younger and of the older generation.
    pub(super) fn of(generation: u64, began: EventTime, [younger, older]: [Keys; 2]) -> Self {
        Self { younger, older, generation, began: Some(began), ..Self::default() }
    }

    /// Remembers what is new, too, for [`Self::take_new`].
    pub(crate) fn tracked(self) -> Self {
        Self { tracked: true, ..self }
    }

    /// Has the places of a key on their way that will be noted.
    #[inline]
    pub(super) fn expect(&self, key: u64) {
        self.younger.expect(key);
        self.older.expect(key);
    }

    /// Notes an event; whether it is new. `watermark` includes it.
    pub(crate) fn insert(&mut self, key: u64, watermark: EventTime, horizon_ms: i64, room: usize) -> bool {
        let began = *self.began.get_or_insert(watermark);
        if watermark.millis_since(began) > horizon_ms || self.younger.len() >= room.div_ceil(2).max(1) {
            self.older = std::mem::take(&mut self.younger);
            // The keys of a generation that both began and ended since the last flush are flushed all the same.
            self.new_in_older = std::mem::take(&mut self.new);
            self.generation += 1;
            self.began = Some(watermark);
        }
        if self.older.contains(key) || !self.younger.insert(key) {
            return false;
        }
        if self.tracked {
            self.new.push(key);
        }
        true
    }

    /// Number of the younger generation, and the watermark when it began.
    pub(crate) fn generation(&self) -> (u64, EventTime) {
        (self.generation, self.began.unwrap_or_default())
    }

    /// The keys of the younger and of the older generation.
    pub(super) fn keys(&self) -> [&Keys; 2] {
        [&self.younger, &self.older]
    }

    /// Keys that came since the last call, by generation.
    pub(crate) fn take_new(&mut self) -> Vec<(u64, Vec<u64>)> {
        let older = (self.generation.wrapping_sub(1), std::mem::take(&mut self.new_in_older));
        let younger = (self.generation, std::mem::take(&mut self.new));
        [older, younger].into_iter().filter(|(_, keys)| !keys.is_empty()).collect()
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.younger.memory() + self.older.memory()
    }

    /// Keys remembered.
    pub(crate) fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn at(millis: i64) -> EventTime {
        EventTime::clamped(millis)
    }

    #[test]
    fn a_repeat_is_known_for_an_hour_and_forgotten_after_two() {
        let mut window = Window::default();
        assert!(window.insert(1, at(0), HOUR, 1000));
        assert!(window.insert(2, at(HOUR), HOUR, 1000));
        assert!(!window.insert(1, at(HOUR), HOUR, 1000));
        assert!(!window.insert(1, at(HOUR + 1), HOUR, 1000), "the older generation still knows it");
        assert!(window.insert(3, at(2 * HOUR + 2), HOUR, 1000));
        assert!(window.insert(1, at(2 * HOUR + 2), HOUR, 1000));
    }

    #[test]
    fn memory_is_bounded() {
        let mut window = Window::default();
        for key in 0..10_000 {
            window.insert(key, at(0), HOUR, 100);
            assert!(window.len() <= 100);
        }
        assert!(!window.insert(9_999, at(0), HOUR, 100));
    }

    proptest! {
        /// Flushed at any moments and restored, it decides as if it had never stopped.
        #[test]
        fn restoring_changes_no_decision(
            events in proptest::collection::vec((0u64..40, 0i64..HOUR), 1..200),
            flush in proptest::collection::vec(any::<bool>(), 200),
            room in 4usize..100,
        ) {
            let (mut whole, mut window) = (Window::default(), Window::default().tracked());
            let mut disk: Vec<(u64, Vec<u64>)> = Vec::new();
            let mut watermark = 0;
            for ((key, step), flush) in events.into_iter().zip(flush) {
                watermark += step / 3;
                prop_assert_eq!(
                    window.insert(key, at(watermark), HOUR, room),
                    whole.insert(key, at(watermark), HOUR, room)
                );
                if flush {
                    disk.extend(window.take_new());
                    let (generation, began) = window.generation();
                    disk.retain(|(of, _)| of + 1 >= generation);
                    window = Window::restore(generation, began, disk.clone()).tracked();
                }
            }
        }
    }
}
