//! The protocol `global-time`: one cut in time; the model stays as it is, histories roll forward.
//!
//! Events are read once into compact rows and sorted by time. Up to the cut they only build state. After
//! it, each set of events of one shopper at one instant becomes cases (one an item), asked with the
//! state before that instant, and is then applied: nothing of a set is history for another of its members.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use endcap_clickstream::{ClickstreamError, Dataset};
use endcap_features::{EventFacts, SessionTag, UserState};
use endcap_proto::{EventKey, EventTime, EventType, ItemKey, UserKey, VisitorKey};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// What to do with items that the shopper touched before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenItems {
    /// They compete like any other.
    Allow,
    /// They are left out, and cases whose target is one are dropped.
    Mask,
}

/// How cases are made.
#[derive(Debug, Clone)]
pub struct GlobalTime {
    /// Events at or after this instant are asked about.
    pub cut: EventTime,
    /// Seen items.
    pub seen: SeenItems,
    /// At most so many cases, drawn uniformly with `seed`.
    pub max_cases: Option<usize>,
    /// Seed of the draw.
    pub seed: u64,
}

/// One question: what does this shopper go to next?
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The shopper, numbered from 0.
    pub user: u32,
    /// What they went to.
    pub target: ItemKey,
    /// When.
    pub as_of: EventTime,
    /// Entries of their history then.
    pub history: u32,
}

/// Why an evaluation ends without a report.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The data cannot be read.
    #[error(transparent)]
    Clickstream(#[from] ClickstreamError),
    /// The bundle knows the answers.
    #[error(
        "the bundle was trained on events up to {newest}, and the test set starts at {cut}: train it with `--holdout` \
         at least as large as the test set"
    )]
    SawTheFuture {
        /// The newest event of its training.
        newest: EventTime,
        /// The first instant of the test set.
        cut: EventTime,
    },
    /// Nothing to ask.
    #[error("no cases: no interest event (click, view, cart, wishlist, purchase, rating) at or after {cut}")]
    NoCases {
        /// The first instant of the test set.
        cut: EventTime,
    },
    /// A system failed.
    #[error("{system} cannot rank: {reason}")]
    System {
        /// Which.
        system: String,
        /// Why.
        reason: String,
    },
}

/// The interest events of a data set in order of time, without their texts.
struct Timeline {
    events: Vec<Compact>,
    items: Vec<ItemKey>,
}

/// What [`UserState`] needs of an event, in 48 bytes.
struct Compact {
    time: EventTime,
    visitor: VisitorKey,
    key: EventKey,
    session: Option<SessionTag>,
    event_type: EventType,
    items: Range<u32>,
}

/// A [`Compact`] with its items.
struct View<'a>(&'a Compact, &'a [ItemKey]);

// === impl GlobalTime ===

impl GlobalTime {
    /// Replays the data set and hands over, for each case in time order, the case, the shopper's state before it,
    /// and the items to mask.
    ///
    /// # Errors
    /// When the data cannot be read, or the visitor fails.
    pub fn replay(
        &self,
        dataset: &Dataset,
        mut visit: impl FnMut(Case, &UserState, &HashSet<ItemKey>) -> Result<(), EvaluationError>,
    ) -> Result<(), EvaluationError> {
        let timeline = Timeline::read(dataset)?;
        let after = |event: &&Compact| event.time >= self.cut;
        let chosen = self.draw(timeline.events.iter().filter(after).map(|event| event.items.len()).sum());
        let mut users: HashMap<VisitorKey, (u32, UserState, HashSet<ItemKey>)> = HashMap::new();
        let mut asked = 0usize;
        for set in timeline.events.chunk_by(|a, b| a.visitor == b.visitor && a.time == b.time) {
            let next = users.len() as u32;
            let (user, state, seen) = users.entry(set[0].visitor).or_insert_with(|| (next, UserState::default(), HashSet::new()));
            let as_of = set[0].time;
            if as_of >= self.cut {
                for &target in set.iter().flat_map(|event| timeline.items(event)) {
                    let taken = chosen.as_ref().is_none_or(|chosen| chosen.contains(&asked));
                    asked += 1;
                    let masked = self.seen == SeenItems::Mask && seen.contains(&target);
                    if taken && !masked {
                        visit(Case { user: *user, target, as_of, history: state.history().len() as u32 }, state, seen)?;
                    }
                }
            }
            for event in set {
                state.apply(&View(event, timeline.items(event)));
                if self.seen == SeenItems::Mask {
                    seen.extend(timeline.items(event));
                }
            }
        }
        Ok(())
    }

    fn draw(&self, total: usize) -> Option<HashSet<usize>> {
        let most = self.max_cases.filter(|&most| most < total)?;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut chosen = HashSet::with_capacity(most);
        // Floyd's algorithm: a uniform draw without replacement in one pass.
        for last in total - most..total {
            let pick = rng.random_range(0..=last);
            if !chosen.insert(pick) {
                chosen.insert(last);
            }
        }
        Some(chosen)
    }
}

// === impl Timeline ===

impl Timeline {
    fn read(dataset: &Dataset) -> Result<Self, EvaluationError> {
        let (mut events, mut items) = (Vec::new(), Vec::new());
        for batch in dataset.events()? {
            for event in batch?.iter().filter(|event| event.event_type.is_interest()) {
                let first = items.len() as u32;
                items.extend(EventFacts::items(&event));
                events.push(Compact {
                    time: event.time,
                    visitor: event.visitor(),
                    key: event.key(),
                    session: event.session(),
                    event_type: event.event_type,
                    items: first..items.len() as u32,
                });
            }
        }
        events.sort_by_key(|event| (event.time, event.visitor, event.key));
        Ok(Self { events, items })
    }

    fn items(&self, event: &Compact) -> &[ItemKey] {
        &self.items[event.items.start as usize..event.items.end as usize]
    }
}

// === impl View ===

impl EventFacts for View<'_> {
    fn key(&self) -> EventKey {
        self.0.key
    }

    fn event_type(&self) -> EventType {
        self.0.event_type
    }

    fn time(&self) -> EventTime {
        self.0.time
    }

    fn visitor(&self) -> VisitorKey {
        self.0.visitor
    }

    fn user(&self) -> Option<UserKey> {
        None
    }

    fn session(&self) -> Option<SessionTag> {
        self.0.session
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        self.1.iter().copied()
    }
}
