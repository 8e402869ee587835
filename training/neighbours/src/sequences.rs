//! Sequences: what each visitor showed interest in, in order of time.

use endcap_features::{EventFacts, EventTag, HistoryEntry, starts_session};
use endcap_proto::{EventTime, EventType, ItemKey, VisitorKey};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// One product that a visitor showed interest in, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interaction {
    /// Which product.
    pub item: ItemKey,
    /// When.
    pub time: EventTime,
    /// What happened to it.
    pub event_type: EventType,
    /// Whether a session begins here. The first of a sequence begins one in any case.
    pub starts_session: bool,
}

/// What models count within: pairs of products are only ever of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One session.
    Session,
    /// All that one visitor did.
    #[default]
    Visitor,
}

/// The sequences of many visitors, in memory: 24 bytes an interaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sequences {
    visitors: Vec<VisitorKey>,
    /// Where the sequence of each visitor ends.
    ends: Vec<usize>,
    interactions: Vec<Interaction>,
}

/// Gathers events, in any order, into [`Sequences`]: 40 bytes an interaction meanwhile.
#[derive(Debug, Default)]
pub struct SequencesBuilder {
    entries: Vec<(VisitorKey, HistoryEntry)>,
}

// === impl SequencesBuilder ===

impl SequencesBuilder {
    /// Nothing gathered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the products of an event of interest; other events are left aside.
    pub fn push<E: EventFacts>(&mut self, event: &E) {
        if !event.event_type().is_interest() {
            return;
        }
        let (visitor, tag, session) = (event.visitor(), EventTag::of(event.key()), event.session());
        let (time, event_type) = (event.time(), event.event_type());
        self.entries.extend(
            event.items().map(|item| (visitor, HistoryEntry { time, event: tag, item, event_type, session })),
        );
    }

    /// Sorts by visitor, time and event, as a user's history is sorted, and drops repeats.
    pub fn finish(mut self) -> Sequences {
        self.entries.par_sort_unstable();
        self.entries.dedup();
        let mut sequences = Sequences::default();
        sequences.interactions.reserve_exact(self.entries.len());
        for visit in self.entries.chunk_by(|a, b| a.0 == b.0) {
            let mut previous = None;
            for (_, entry) in visit {
                sequences.interactions.push(Interaction {
                    item: entry.item,
                    time: entry.time,
                    event_type: entry.event_type,
                    starts_session: previous.is_none_or(|previous| starts_session(previous, entry)),
                });
                previous = Some(entry);
            }
            sequences.visitors.push(visit[0].0);
            sequences.ends.push(sequences.interactions.len());
        }
        sequences
    }
}

// === impl Sequences ===

impl Sequences {
    /// How many visitors.
    pub fn len(&self) -> usize {
        self.visitors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.visitors.is_empty()
    }

    /// All interactions, visitor by visitor.
    pub fn interactions(&self) -> &[Interaction] {
        &self.interactions
    }

    /// The visitors, by key, each with the sequence, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (VisitorKey, &[Interaction])> + Clone {
        (0..self.len()).map(|i| self.get(i))
    }

    /// The sequence of the visitor at `index`, in order of key.
    ///
    /// # Panics
    /// When `index` is not below [`Self::len`].
    pub fn get(&self, index: usize) -> (VisitorKey, &[Interaction]) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        (self.visitors[index], &self.interactions[start..self.ends[index]])
    }

    /// Only the interactions that `keep` (visitor's index, place in the sequence, interaction) wants. Visitors
    /// stay, whether anything is left of them or not; sessions begin where they began, or where the first that is
    /// left of them stands.
    #[must_use]
    pub fn retain(&self, mut keep: impl FnMut(usize, usize, &Interaction) -> bool) -> Self {
        let mut kept = Self { visitors: self.visitors.clone(), ..Self::default() };
        for (index, (_, sequence)) in self.iter().enumerate() {
            let mut starts_session = false;
            for (place, interaction) in sequence.iter().enumerate() {
                starts_session |= interaction.starts_session;
                if keep(index, place, interaction) {
                    kept.interactions.push(Interaction { starts_session, ..*interaction });
                    starts_session = false;
                }
            }
            kept.ends.push(kept.interactions.len());
        }
        kept
    }

    /// Only the visitors of whom there is something.
    #[must_use]
    pub fn without_empty(mut self) -> Self {
        let mut start = 0;
        let has = self.ends.iter().map(|&end| std::mem::replace(&mut start, end) < end);
        let has: Vec<bool> = has.collect();
        let mut keep = has.iter();
        self.visitors.retain(|_| keep.next().is_some_and(|&has| has));
        let mut keep = has.iter();
        self.ends.retain(|_| keep.next().is_some_and(|&has| has));
        self
    }

    /// The time of the newest interaction.
    pub fn newest(&self) -> Option<EventTime> {
        self.interactions.iter().map(|interaction| interaction.time).max()
    }
}

#[cfg(test)]
mod tests {
    use endcap_proto::{Event, EventId, EventItem, ItemId, VisitorId};

    use super::*;

    fn event(id: &str, visitor: &str, time: i64, items: &[&str]) -> Event {
        Event {
            event_id: EventId::new(id).unwrap(),
            event_type: EventType::View,
            time: EventTime::clamped(time),
            visitor_id: VisitorId::new(visitor).unwrap(),
            user_id: None,
            session_id: None,
            items: items
                .iter()
                .map(|item| EventItem {
                    item_id: ItemId::new(item).unwrap(),
                    quantity: 1,
                    unit_price: None,
                    position: None,
                })
                .collect(),
            transaction: None,
            search_query: None,
            page_categories: Vec::new(),
            placement: None,
            attribution_token: None,
            experiment_ids: Vec::new(),
            attributes: Default::default(),
            consent: true,
        }
    }

    #[test]
    fn sequences_are_by_visitor_and_time_without_repeats() {
        let minute = 60_000;
        let events = [
            event("e3", "ann", 45 * minute, &["hat"]),
            event("e1", "ann", 0, &["boot"]),
            event("e2", "ann", 10 * minute, &["sandal"]),
            event("e1", "ann", 0, &["boot"]),
            event("e4", "bob", 0, &["hat"]),
        ];
        let mut builder = SequencesBuilder::new();
        events.iter().for_each(|event| builder.push(event));
        let mut search = event("e5", "ann", 1, &["hat"]);
        search.event_type = EventType::Search;
        builder.push(&search);
        let sequences = builder.finish();

        let ann = sequences.iter().find(|(visitor, _)| *visitor == VisitorKey::of("ann")).unwrap().1;
        let seen: Vec<_> = ann.iter().map(|i| (i.item, i.starts_session)).collect();
        let expected = [("boot", true), ("sandal", false), ("hat", true)];
        assert_eq!(seen, expected.map(|(item, starts)| (ItemKey::of(item), starts)));
        assert_eq!((sequences.len(), sequences.interactions().len()), (2, 4));
        assert_eq!(sequences.newest(), Some(EventTime::clamped(45 * minute)));

        // Without the boot, the sandal begins the session; bob stays, with nothing.
        let kept =
            sequences.retain(|_, place, interaction| place > 0 && interaction.item != ItemKey::of("x"));
        let of = |visitor| kept.iter().find(|(key, _)| *key == VisitorKey::of(visitor)).unwrap().1;
        let seen: Vec<_> = of("ann").iter().map(|i| (i.item, i.starts_session)).collect();
        assert_eq!(seen, [("sandal", true), ("hat", true)].map(|(item, starts)| (ItemKey::of(item), starts)));
        assert!(of("bob").is_empty());
        assert_eq!((kept.len(), kept.without_empty().len()), (2, 1));
    }
}
