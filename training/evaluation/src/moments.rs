//! Moments: one shopper, one instant, what was known before it, and what they went to.
//!
//! Under `global-time` a [`Replay`] makes them: states and counters roll forward. Under the other protocols a
//! shopper's state is the history that the question gives, and counters stay what they were when training ended.

use endcap_clickstream::{ClickstreamError, Dataset};
use endcap_features::{CounterFeatures, EventFacts, ItemCounters, KeyMap, SessionTag, UserState};
use endcap_neighbours::Interaction;
use endcap_proto::{EventKey, EventTime, EventType, ItemKey, UserKey, VisitorKey};

use crate::{HeldOut, Question, Replay, Split};

/// What one shopper did at one instant, and what was known just before.
pub struct Moment<'a> {
    /// The shopper, numbered from 0.
    pub user: u32,
    /// The shopper's key.
    pub visitor: VisitorKey,
    /// The instant.
    pub as_of: EventTime,
    /// The shopper's state before it.
    pub state: &'a UserState,
    pub(crate) interests: &'a [(ItemKey, EventType)],
    pub(crate) counters: Counters<'a>,
}

/// What all shoppers did with items.
#[derive(Clone, Copy)]
pub(crate) enum Counters<'a> {
    /// Up to the moment.
    Rolling(&'a KeyMap<ItemKey, ItemCounters>),
    /// Up to the end of training.
    Ended(&'a EndCounters),
}

/// Counters as they were at an instant.
pub(crate) struct EndCounters {
    counters: KeyMap<ItemKey, ItemCounters>,
    end: EventTime,
}

/// The moments of a held-out part.
pub enum Moments<'a> {
    /// Histories and counters roll forward.
    Rolling {
        /// All that happened.
        replay: Replay,
        /// The first instant asked about.
        from: EventTime,
    },
    /// Each question brings its history.
    Asked(Asking<'a>),
}

/// A part's questions, and the counters when training ended.
pub struct Asking<'a> {
    split: &'a Split,
    part: HeldOut,
    counters: EndCounters,
}

/// An interaction of a history, as state takes it in.
struct Entry<'a> {
    interaction: &'a Interaction,
    place: usize,
    session: u32,
}

// === impl Moment ===

impl<'a> Moment<'a> {
    /// The products that the shopper showed interest in at this moment, and how.
    pub fn interests(&self) -> impl Iterator<Item = (ItemKey, EventType)> + use<'a> {
        self.interests.iter().copied()
    }

    /// What all shoppers did with an item before this moment.
    pub fn counters(&self, item: ItemKey) -> CounterFeatures {
        self.counters.get(item, self.as_of)
    }
}

// === impl Counters ===

impl Counters<'_> {
    fn get(self, item: ItemKey, as_of: EventTime) -> CounterFeatures {
        let (counters, as_of) = match self {
            Self::Rolling(counters) => (counters, as_of),
            Self::Ended(EndCounters { counters, end }) => (counters, *end),
        };
        counters.get(&item).map(|counters| counters.read(as_of)).unwrap_or_default()
    }
}

impl EndCounters {
    /// What training on `split` before `part` counts.
    pub(crate) fn of(split: &Split, part: HeldOut) -> Self {
        let mut counters: KeyMap<ItemKey, ItemCounters> = KeyMap::default();
        for interaction in split.training(part).flat_map(|(_, learnt)| learnt) {
            counters.entry(interaction.item).or_default().apply(interaction.event_type, interaction.time);
        }
        Self { counters, end: split.until(part) }
    }
}

// === impl Moments ===

impl<'a> Moments<'a> {
    /// The moments of `part`, with states and counters that know nothing of it.
    ///
    /// # Errors
    /// When the data set cannot be read.
    pub fn of(split: &'a Split, part: HeldOut, dataset: &Dataset) -> Result<Self, ClickstreamError> {
        let Some(from) = split.cut(part) else {
            return Ok(Self::Asked(Asking { split, part, counters: EndCounters::of(split, part) }));
        };
        let mut replay = Replay::read(dataset)?;
        if part == HeldOut::Validation {
            replay = replay.before(split.cut(HeldOut::Test).unwrap_or(EventTime::MAX));
        }
        if !split.hidden().is_empty() {
            let met = split.cut(HeldOut::Test).unwrap_or(EventTime::MAX);
            replay = replay.without(|time, item| time < met && split.hidden().contains(&item));
        }
        Ok(Self::Rolling { replay, from })
    }

    /// Hands over one after the other, in order.
    ///
    /// # Errors
    /// The first of `visit`'s.
    pub fn run<E>(&self, mut visit: impl FnMut(&Moment<'_>) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Rolling { replay, from } => replay.run(*from, visit),
            Self::Asked(Asking { split, part, counters }) => {
                let mut interests = Vec::new();
                for question in split.questions(*part).iter() {
                    let state = state_of(&question);
                    interests.clear();
                    interests.extend(question.targets.iter().map(|target| (target.item, target.event_type)));
                    visit(&Moment {
                        user: question.user,
                        visitor: question.visitor,
                        as_of: question.as_of,
                        state: &state,
                        interests: &interests,
                        counters: Counters::Ended(counters),
                    })?;
                }
                Ok(())
            }
        }
    }
}

/// What is remembered of a shopper who has the question's history.
pub(crate) fn state_of(question: &Question<'_>) -> UserState {
    let mut state = UserState::default();
    let mut session = 0;
    for (place, interaction) in question.history.iter().enumerate() {
        session += u32::from(interaction.starts_session);
        state.apply(&Entry { interaction, place, session });
    }
    state
}

// === impl Entry ===

impl EventFacts for Entry<'_> {
    fn key(&self) -> EventKey {
        // State tells events of one instant apart, and orders them, by the upper half of the key.
        EventKey((self.place as u64) << 32)
    }

    fn event_type(&self) -> EventType {
        self.interaction.event_type
    }

    fn time(&self) -> EventTime {
        self.interaction.time
    }

    fn visitor(&self) -> VisitorKey {
        VisitorKey(0)
    }

    fn user(&self) -> Option<UserKey> {
        None
    }

    fn session(&self) -> Option<SessionTag> {
        std::num::NonZeroU32::new(self.session).map(SessionTag)
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        std::iter::once(self.interaction.item)
    }
}
