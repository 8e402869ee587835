//! The one place that says what a model may learn from and what it is asked about.
//!
//! ```text
//! events of interest ──► sequence of each shopper: [ training … │ validation … │ test … ]
//!                                                    └─ training(Validation) ┘            what may be learnt
//!                                                    └────── training(Test) ──────┘       before being asked
//! ```
//!
//! Under every [`Protocol`] a shopper's sequence falls into three runs, in this order; a run may be empty. Where order
//! means nothing, it is shuffled by the events' keys within each run, so that nothing can be learnt from the file's
//! own order. Training, baselines and evaluation all read a [`Split`]. Memory: 24 bytes an interaction.

mod questions;
mod shuffled;

use std::{collections::HashSet, ops::Range, path::PathBuf};

use endcap_bundle::{HeldOutPart, Origin};
use endcap_clickstream::{Dataset, Part, TimeKind, split::time_cuts};
use endcap_features::{KeyMap, KeySet};
use endcap_neighbours::{Interaction, Sequences, SequencesBuilder};
use endcap_proto::{EventTime, Item, ItemId, ItemKey, VisitorKey};
use endcap_towers::mix;

use crate::{EvaluationError, HeldOut, Protocol, SplitConfig};

pub use questions::{Question, Questions};
use shuffled::Shuffled;

/// A data set under a protocol.
#[derive(Debug, Clone)]
pub struct Split {
    config: SplitConfig,
    dir: PathBuf,
    source: String,
    ordered: bool,
    time: TimeKind,
    /// `global-time`: where validation and test begin.
    cuts: Option<[EventTime; 2]>,
    sequences: Sequences,
    /// How many interactions of each shopper lie before validation, and how many before the test.
    bounds: Vec<[u32; 2]>,
    catalogue: Vec<Item>,
    /// Ids of the items that events name.
    ids: KeyMap<ItemKey, Box<str>>,
    /// Items that nothing was learnt of, and how many interactions that took out.
    hidden: KeySet<ItemKey>,
    hidden_interactions: u64,
}

/// What lies before the test: what a fit reads. See [`Split::before_test`].
#[derive(Debug, Clone)]
pub struct BeforeTest {
    /// Each shopper's interactions before the test; those who have none are left out.
    pub sequences: Sequences,
    /// For each of them: how many interactions, the first, may be learnt from while choosing by validation; and how
    /// many before being asked about the test.
    pub learnt: Vec<[u32; 2]>,
}

// === impl Split ===

impl Split {
    /// Reads the events of interest that shoppers agreed to, and splits them.
    ///
    /// # Errors
    /// When the data set cannot be read, or does not fit the protocol.
    pub fn read(dataset: &Dataset, config: &SplitConfig) -> Result<Self, EvaluationError> {
        let SplitConfig { protocol, test, validation, .. } = *config;
        let misfit = |reason: &str| {
            Err(EvaluationError::Misfit { path: dataset.dir.clone(), protocol, reason: reason.to_owned() })
        };
        let shares = [test, validation, config.hidden_items];
        if shares.iter().any(|share| !(0.0..1.0).contains(share)) || test + validation >= 1.0 {
            return misfit(
                "shares must be at least 0 and below 1, those of test and validation together too",
            );
        }
        let info = &dataset.info;
        match protocol {
            Protocol::GlobalTime if info.time == TimeKind::Ordinal => {
                return misfit(
                    "its times are places in a file, not instants; use leave-one-out or next-item",
                );
            }
            Protocol::LeaveOneOut | Protocol::NextItem if !info.ordered => {
                return misfit("the order of its events means nothing; use fixed-split");
            }
            Protocol::LeaveOneOut if info.split.is_some() => {
                return misfit("it has a train and a test set of its own; use next-item or fixed-split");
            }
            Protocol::NextItem | Protocol::FixedSplit if info.split.is_none() => {
                return misfit("it has no train and test set of its own; use global-time or leave-one-out");
            }
            _ => {}
        }

        let mut builder = SequencesBuilder::new();
        let mut ids: KeyMap<ItemKey, Box<str>> = KeyMap::default();
        let mut testers: HashSet<VisitorKey> = HashSet::new();
        let parts: &[Part] = if info.split.is_some() && protocol != Protocol::GlobalTime {
            &[Part::Train, Part::Test]
        } else {
            &[Part::All]
        };
        for &part in parts {
            for batch in dataset.events_of(part)? {
                let batch = batch?;
                let wanted = batch.iter().filter(|event| event.consent && event.event_type.is_interest());
                for event in wanted {
                    for item in event.items() {
                        let id = || item.item_id.into();
                        ids.entry(ItemKey::of(item.item_id)).or_insert_with(id);
                    }
                    if part == Part::Test {
                        testers.insert(VisitorKey::of(event.visitor_id));
                    }
                    match protocol {
                        Protocol::FixedSplit => builder.push(&Shuffled { event, later: part == Part::Test }),
                        _ if !info.ordered && info.time == TimeKind::Ordinal => {
                            builder.push(&Shuffled { event, later: false });
                        }
                        _ => builder.push(&event),
                    }
                }
            }
        }
        let sequences = builder.finish();
        let cuts = match protocol {
            Protocol::GlobalTime => {
                let end = |share: f64, cut| if share > 0.0 { cut } else { EventTime::MAX };
                let cuts = time_cuts(dataset, &[1.0 - test - validation, 1.0 - test])?;
                Some([end(test + validation, cuts[0]), end(test, cuts[1])])
            }
            _ => None,
        };
        let bounds = bounds(&sequences, config, cuts, &testers);

        let mut catalogue = dataset.items()?;
        if catalogue.is_empty() {
            // What is first met after the cut is not in the catalogue yet; in files without times everything is.
            let known: KeyMap<ItemKey, ()> = match cuts {
                Some([_, cut]) => {
                    let early = sequences.interactions().iter().filter(|interaction| interaction.time < cut);
                    early.map(|interaction| (interaction.item, ())).collect()
                }
                None => ids.keys().map(|&key| (key, ())).collect(),
            };
            let mut known: Vec<&str> =
                ids.iter().filter(|(key, _)| known.contains_key(key)).map(|(_, id)| &**id).collect();
            known.sort_unstable();
            // Ids of events are checked when they are read.
            catalogue = known.into_iter().filter_map(|id| ItemId::new(id).ok()).map(Item::bare).collect();
        }
        let mut split = Self {
            config: config.clone(),
            dir: dataset.dir.clone(),
            source: info.source.clone(),
            ordered: info.ordered && protocol != Protocol::FixedSplit,
            time: info.time,
            cuts,
            sequences,
            bounds,
            catalogue,
            ids,
            hidden: KeySet::default(),
            hidden_interactions: 0,
        };
        if config.hidden_items > 0.0 {
            if split.catalogue.iter().all(says_nothing) {
                let reason = "items can be hidden only where a catalogue says what they are, and it has none";
                return Err(EvaluationError::Misfit { path: split.dir, protocol, reason: reason.to_owned() });
            }
            split.hide();
        }
        Ok(split)
    }

    /// Takes the hidden items out of everything before the test.
    fn hide(&mut self) {
        let SplitConfig { hidden_items, seed, .. } = self.config;
        let drawn =
            |key: ItemKey| ((mix(key.0 ^ mix(seed)) >> 11) as f64 / (1u64 << 53) as f64) < hidden_items;
        self.hidden = self.catalogue.iter().map(|item| item.id.key()).filter(|&key| drawn(key)).collect();
        let bounds = &mut self.bounds;
        let before = bounds.clone();
        let (hidden, mut taken) = (&self.hidden, 0);
        self.sequences = self.sequences.retain(|user, place, interaction| {
            let [validation, test] = before[user];
            let out = (place as u32) < test && hidden.contains(&interaction.item);
            if out {
                taken += 1;
                bounds[user][1] -= 1;
                bounds[user][0] -= u32::from((place as u32) < validation);
            }
            !out
        });
        self.hidden_interactions = taken;
    }

    /// The items that are hidden from training.
    pub fn hidden(&self) -> &KeySet<ItemKey> {
        &self.hidden
    }

    /// How it was split.
    pub fn config(&self) -> &SplitConfig {
        &self.config
    }

    /// By which protocol.
    pub fn protocol(&self) -> Protocol {
        self.config.protocol
    }

    /// Where the data set lies.
    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Name of the data set.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the order of a shopper's interactions means anything.
    pub fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// What the times are. Where order means nothing they are shuffled too.
    pub fn time_kind(&self) -> TimeKind {
        if self.ordered { self.time } else { TimeKind::Ordinal }
    }

    /// All interactions, shopper by shopper; those of the held-out parts too.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// What is ranked: the data set's catalogue, or, where it has none, the items that events name (`global-time`:
    /// before the test).
    pub fn catalogue(&self) -> &[Item] {
        &self.catalogue
    }

    /// What may be learnt from before being asked about `part`, shopper by shopper, oldest first. Shoppers of whom
    /// nothing may be learnt are left out.
    pub fn training(&self, part: HeldOut) -> impl Iterator<Item = (VisitorKey, &[Interaction])> + Clone {
        (0..self.sequences.len()).filter_map(move |user| {
            let (visitor, sequence) = self.sequences.get(user);
            let learnt = &sequence[..self.learnt(user, part)];
            (!learnt.is_empty()).then_some((visitor, learnt))
        })
    }

    /// How many of the shopper's interactions, the first, may be learnt from before being asked about `part`.
    ///
    /// # Panics
    /// When there is no such shopper.
    pub fn learnt(&self, user: usize, part: HeldOut) -> usize {
        let [validation, test] = self.bounds[user];
        match (part, self.config.protocol) {
            // Papers that leave one out learn nothing from the last but one either.
            (HeldOut::Validation, _) | (HeldOut::Test, Protocol::LeaveOneOut) => validation as usize,
            (HeldOut::Test, _) => test as usize,
        }
    }

    /// What a fit reads. Of `leave-one-out`, the last interaction before the test is there and may never be learnt from.
    pub fn before_test(&self) -> BeforeTest {
        let is_before = |user: usize, place: usize| (place as u32) < self.bounds[user][1];
        let kept = self.sequences.retain(|user, place, _| is_before(user, place)).without_empty();
        let learnt = (0..self.sequences.len())
            .filter(|&user| self.bounds[user][1] > 0)
            .map(|user| [HeldOut::Validation, HeldOut::Test].map(|part| self.learnt(user, part) as u32))
            .collect();
        BeforeTest { sequences: kept, learnt }
    }

    /// The instant before which [`training`](Self::training) lies: what "recent" is measured from.
    pub fn until(&self, part: HeldOut) -> EventTime {
        match self.cut(part) {
            Some(cut) if cut < EventTime::MAX => cut,
            _ => {
                let last = self.training(part).filter_map(|(_, learnt)| Some(learnt.last()?.time)).max();
                last.unwrap_or(EventTime::MIN).plus_millis(1)
            }
        }
    }

    /// Under `global-time`, the first instant of `part`.
    pub fn cut(&self, part: HeldOut) -> Option<EventTime> {
        let [validation, test] = self.cuts?;
        Some(match part {
            HeldOut::Validation => validation,
            HeldOut::Test => test,
        })
    }

    /// How often [`training`](Self::training) names each item, by id: what a vocabulary is built from.
    pub fn counts(&self, part: HeldOut) -> Vec<(Box<str>, u64)> {
        let mut counts: KeyMap<ItemKey, u64> = KeyMap::default();
        for (_, learnt) in self.training(part) {
            learnt.iter().for_each(|interaction| *counts.entry(interaction.item).or_default() += 1);
        }
        let mut counts: Vec<_> = counts
            .into_iter()
            .filter_map(|(key, count)| Some((self.ids.get(&key)?.clone(), count)))
            .collect();
        counts.sort_unstable();
        counts
    }

    /// What is asked in `part`.
    pub fn questions(&self, part: HeldOut) -> Questions<'_> {
        let mut places = Vec::new();
        for (user, &[validation, test]) in self.bounds.iter().enumerate() {
            let sequence = self.sequences.get(user).1;
            let end = sequence.len() as u32;
            let held = match part {
                HeldOut::Validation => validation..test,
                HeldOut::Test => test..end,
            };
            if held.is_empty() {
                continue;
            }
            let at = |place: u32| sequence[place as usize].time;
            let mut ask = |targets: Range<u32>| {
                // Where order is all that is known, equal times do not keep a history from being one.
                let before = targets.start.checked_sub(1).map(|last| at(last).plus_millis(1));
                let as_of = match self.config.protocol {
                    Protocol::GlobalTime => at(targets.start),
                    _ => before.unwrap_or(EventTime::MIN).max(at(targets.start)),
                };
                places.push((as_of, user as u32, targets));
            };
            match self.config.protocol {
                Protocol::GlobalTime => {
                    let mut start = held.start;
                    for moment in
                        sequence[held.start as usize..held.end as usize].chunk_by(|a, b| a.time == b.time)
                    {
                        ask(start..start + moment.len() as u32);
                        start += moment.len() as u32;
                    }
                }
                Protocol::NextItem => {
                    (held.start.max(1)..held.end).for_each(|target| ask(target..target + 1))
                }
                Protocol::LeaveOneOut | Protocol::FixedSplit => ask(held),
            }
        }
        if self.config.protocol == Protocol::GlobalTime {
            places.sort_unstable_by_key(|(as_of, user, _)| (*as_of, *user));
        }
        Questions::new(self, places)
    }

    /// What a bundle that was trained on this split says was held out: the test, and the hidden items.
    pub fn held_out_parts(&self) -> Vec<HeldOutPart> {
        let hidden = (!self.hidden.is_empty()).then(|| self.hidden_part());
        std::iter::once(self.held_out(HeldOut::Test)).chain(hidden).collect()
    }

    fn hidden_part(&self) -> HeldOutPart {
        let fingerprint = self.hidden.iter().fold(0u64, |sum, item| sum.wrapping_add(mix(item.0)));
        HeldOutPart {
            protocol: self.config.protocol.as_str().to_owned(),
            part: format!("{} hidden items", self.hidden.len()),
            interactions: self.hidden_interactions,
            fingerprint: format!("{fingerprint:016x}"),
        }
    }

    /// What a bundle says of a part that was held out of its training: see [`Self::check`].
    pub fn held_out(&self, part: HeldOut) -> HeldOutPart {
        let (mut interactions, mut fingerprint) = (0, 0u64);
        for (user, &[validation, test]) in self.bounds.iter().enumerate() {
            let (visitor, sequence) = self.sequences.get(user);
            let held = match part {
                HeldOut::Validation => &sequence[validation as usize..test as usize],
                HeldOut::Test => &sequence[test as usize..],
            };
            interactions += held.len() as u64;
            for interaction in held {
                let time = interaction.time.as_millis().cast_unsigned();
                let mixed = mix(mix(mix(visitor.0) ^ interaction.item.0) ^ time);
                fingerprint = fingerprint.wrapping_add(mixed);
            }
        }
        HeldOutPart {
            protocol: self.config.protocol.as_str().to_owned(),
            part: part.as_str().to_owned(),
            interactions,
            fingerprint: format!("{fingerprint:016x}"),
        }
    }

    /// Refuses a bundle that has seen `part`: under `global-time` one that was trained on an event at or after the cut,
    /// under the others one that does not name this part, by its fingerprint, among those that were held out.
    ///
    /// # Errors
    /// Says what the bundle was trained on.
    pub fn check(&self, origin: &Origin, part: HeldOut) -> Result<(), EvaluationError> {
        if !self.hidden.is_empty() && !origin.held_out.contains(&self.hidden_part()) {
            return Err(EvaluationError::NotHidden {
                items: self.hidden.len(),
                protocol: self.config.protocol,
            });
        }
        if let Some(cut) = self.cut(part) {
            return match origin.newest_event.filter(|&newest| newest >= cut) {
                Some(newest) => Err(EvaluationError::SawTheFuture { newest, cut, part }),
                None => Ok(()),
            };
        }
        if origin.held_out.contains(&self.held_out(part)) {
            return Ok(());
        }
        let found = match &origin.held_out[..] {
            [] => "it says of nothing that it was held out".to_owned(),
            parts => {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|part| {
                        format!("{} {} of {} interactions", part.protocol, part.part, part.interactions)
                    })
                    .collect();
                format!("held out of {}: {}", origin.source, parts.join(", "))
            }
        };
        Err(EvaluationError::NotHeldOut { part, protocol: self.config.protocol, found })
    }
}

/// Whether nothing is known of an item that could tell it from others.
fn says_nothing(item: &Item) -> bool {
    let Item { title, categories, brand, tags, embedding, .. } = item;
    title.is_none() && categories.is_empty() && brand.is_none() && tags.is_empty() && embedding.is_empty()
}

/// For each shopper, how many interactions lie before validation and before the test.
fn bounds(
    sequences: &Sequences,
    config: &SplitConfig,
    cuts: Option<[EventTime; 2]>,
    testers: &HashSet<VisitorKey>,
) -> Vec<[u32; 2]> {
    let newest_sessions = (config.protocol == Protocol::NextItem).then(|| {
        let mut starts: Vec<EventTime> = sequences
            .iter()
            .filter(|(visitor, _)| !testers.contains(visitor))
            .filter_map(|(_, sequence)| Some(sequence.first()?.time))
            .collect();
        starts.sort_unstable();
        let first = ((1.0 - config.validation) * starts.len() as f64).ceil() as usize;
        starts.get(first).copied().unwrap_or(EventTime::MAX)
    });
    let bounds = |(visitor, sequence): (VisitorKey, &[Interaction])| {
        let n = sequence.len() as u32;
        let before = |cut: EventTime| sequence.partition_point(|interaction| interaction.time < cut) as u32;
        match (config.protocol, cuts, newest_sessions) {
            (Protocol::GlobalTime, Some([validation, test]), _) => [before(validation), before(test)],
            (Protocol::LeaveOneOut, ..) if n >= 3 => [n - 2, n - 1],
            (Protocol::NextItem, _, Some(_)) if testers.contains(&visitor) => [0, 0],
            (Protocol::NextItem, _, Some(newest)) if sequence[0].time >= newest => [0, n],
            (Protocol::FixedSplit, ..) => {
                let test = before(EventTime::clamped(Shuffled::LATER));
                [test - (f64::from(test) * config.validation) as u32, test]
            }
            _ => [n, n],
        }
    };
    sequences.iter().map(bounds).collect()
}
