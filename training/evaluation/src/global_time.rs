//! The protocol `global-time`: one cut in time; the model stays as it is, histories roll forward.
//!
//! Events are read once into compact rows and sorted by time. Up to the cut they only build state. After
//! it, each set of events of one shopper at one instant becomes cases (one an item), asked with the
//! state before that instant, and is then applied: nothing of a set is history for another of its members.

use std::collections::{HashMap, HashSet};

use endcap_clickstream::{ClickstreamError, Dataset};
use endcap_features::{Interaction, UserState};
use endcap_proto::{EventTime, ItemKey, VisitorKey};
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

/// An interest event's item, in 40 bytes.
struct Touch {
    visitor: VisitorKey,
    interaction: Interaction,
}

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
        let touches = read(dataset)?;
        let chosen = self.draw(touches.iter().filter(|touch| touch.interaction.time >= self.cut).count());
        let mut users: HashMap<VisitorKey, (u32, UserState, HashSet<ItemKey>)> = HashMap::new();
        let mut asked = 0usize;
        for set in touches
            .chunk_by(|a, b| a.visitor == b.visitor && a.interaction.time == b.interaction.time)
        {
            let next = users.len() as u32;
            let (user, state, seen) = users.entry(set[0].visitor).or_insert_with(|| (next, UserState::default(), HashSet::new()));
            let as_of = set[0].interaction.time;
            if as_of >= self.cut {
                for Touch { interaction, .. } in set {
                    let taken = chosen.as_ref().is_none_or(|chosen| chosen.contains(&asked));
                    asked += 1;
                    let masked = self.seen == SeenItems::Mask && seen.contains(&interaction.item);
                    if taken && !masked {
                        let history = state.history().len() as u32;
                        visit(Case { user: *user, target: interaction.item, as_of, history }, state, seen)?;
                    }
                }
            }
            for Touch { interaction, .. } in set {
                state.apply_interaction(*interaction);
                if self.seen == SeenItems::Mask {
                    seen.insert(interaction.item);
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

fn read(dataset: &Dataset) -> Result<Vec<Touch>, EvaluationError> {
    let mut touches = Vec::new();
    for batch in dataset.events()? {
        for event in batch?.iter().filter(|event| event.event_type.is_interest()) {
            let visitor = VisitorKey::of(event.visitor_id);
            touches.extend(Interaction::of(&event).map(|interaction| Touch { visitor, interaction }));
        }
    }
    touches.sort_by_key(|touch| (touch.interaction.time, touch.visitor));
    Ok(touches)
}
