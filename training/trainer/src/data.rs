//! What a fit reads: visitors' sequences, and the features of every item.
//!
//! Events stream from Arrow, one record batch at a time; of each interaction 28 bytes stay (68 while
//! loading), so that ten million take 280 MB. Histories are sorted as a user's state sorts them, and
//! item features come from the vocabulary's own function: training reads what serving will read.

use endcap_clickstream::{Dataset, EventRef, Part, TimeKind};
use endcap_evaluation::{BeforeTest, HeldOut, Protocol, Split};
use endcap_features::{EventFacts, ItemFeatures, KeyMap, SessionTag, Vocabulary, VocabularyConfig};
use endcap_neighbours::{Sequences, SequencesBuilder};
use endcap_proto::{EventKey, EventTime, EventType, Item, ItemId, ItemKey, UserKey, VisitorKey};
use endcap_towers::mix;

use crate::TrainError;

/// Which events to load, and how items become features.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Only events before this instant; all of them where it is not said.
    pub until: Option<EventTime>,
    /// The training set of a fixed split only.
    pub train_part_only: bool,
    /// Which items and words get rows.
    pub vocabulary: VocabularyConfig,
    /// The vocabulary of the bundle that training goes on from: its rows stay, new items and words get rows after them.
    pub extends: Option<Vocabulary>,
}

/// What a fit reads.
#[derive(Debug, Clone)]
pub struct TrainingData {
    catalogue: Vec<Item>,
    vocabulary: Vocabulary,
    /// Features of every item: those of the catalogue, in its order, then those that only events name.
    features: Vec<ItemFeatures>,
    sequences: Sequences,
    /// The item of each of the sequences' interactions, as a place in `features`.
    items: Vec<u32>,
    /// Interactions of each item.
    counts: Vec<u32>,
    ordered: bool,
    time: TimeKind,
    split: Option<Learnable>,
}

/// How far a [`Split`] lets learning go.
#[derive(Debug, Clone)]
pub(crate) struct Learnable {
    /// By which protocol.
    pub(crate) protocol: Protocol,
    /// For each visitor: how many interactions, the first, may be learnt from while choosing by validation; and how
    /// many in the end.
    pub(crate) learnt: Vec<[u32; 2]>,
}

impl TrainingData {
    /// Reads a data set.
    ///
    /// # Errors
    /// When it cannot be read, when two ids share a key, or when nobody shows interest in anything.
    pub fn load(dataset: &Dataset, options: &LoadOptions) -> Result<Self, TrainError> {
        let part = if options.train_part_only { Part::Train } else { Part::All };
        let until = options.until.unwrap_or(EventTime::MAX);
        let mut builder = SequencesBuilder::new();
        let mut counts = KeyMap::<ItemKey, (Box<str>, u64)>::default();
        for batch in dataset.events_of(part)? {
            for event in batch?.iter() {
                if event.time >= until || !event.consent || !event.event_type.is_interest() {
                    continue;
                }
                if dataset.info.ordered {
                    builder.push(&event);
                } else {
                    builder.push(&Shuffled(event));
                }
                for item in event.items() {
                    let entry = counts.entry(ItemKey::of(item.item_id));
                    entry.or_insert_with(|| (item.item_id.into(), 0)).1 += 1;
                }
            }
        }
        let mut catalogue = dataset.items()?;
        let mut counts: Vec<(Box<str>, u64)> = counts.into_values().collect();
        counts.sort_unstable();
        if catalogue.is_empty() {
            // Ids of events are checked when they are read.
            catalogue = counts.iter().filter_map(|(id, _)| ItemId::new(id).ok()).map(Item::bare).collect();
        }
        let info = &dataset.info;
        let vocabulary =
            Self::vocabulary_of(&catalogue, &counts, &options.vocabulary, options.extends.clone())?;
        Self::with_vocabulary(catalogue, &counts, builder.finish(), info.ordered, info.time, vocabulary)
    }

    /// The rows of items and words: those of `extends`, then new ones.
    pub(crate) fn vocabulary_of(
        catalogue: &[Item],
        counts: &[(Box<str>, u64)],
        config: &VocabularyConfig,
        extends: Option<Vocabulary>,
    ) -> Result<Vocabulary, TrainError> {
        let counts = counts.iter().map(|(id, count)| (&**id, *count));
        Ok(match extends {
            Some(mut vocabulary) => {
                vocabulary.extend(catalogue, counts)?;
                vocabulary
            }
            None => Vocabulary::build(catalogue, counts, config)?,
        })
    }

    /// From a catalogue, the count of each item that events name (by id), and the visitors' sequences.
    ///
    /// # Errors
    /// When two ids share a key, or when there is no interaction.
    pub fn new(
        catalogue: Vec<Item>,
        counts: &[(Box<str>, u64)],
        sequences: Sequences,
        ordered: bool,
        time: TimeKind,
        vocabulary: &VocabularyConfig,
    ) -> Result<Self, TrainError> {
        let vocabulary = Self::vocabulary_of(&catalogue, counts, vocabulary, None)?;
        Self::with_vocabulary(catalogue, counts, sequences, ordered, time, vocabulary)
    }

    /// [`Self::new`], with a vocabulary that there is.
    pub(crate) fn with_vocabulary(
        catalogue: Vec<Item>,
        counts: &[(Box<str>, u64)],
        sequences: Sequences,
        ordered: bool,
        time: TimeKind,
        vocabulary: Vocabulary,
    ) -> Result<Self, TrainError> {
        if sequences.interactions().is_empty() {
            let reason =
                "no event shows interest in a product (view, click, cart, wishlist, purchase or rating)";
            return Err(TrainError::TooLittle(format!("nothing to learn from: {reason}")));
        }
        let mut features: Vec<ItemFeatures> =
            catalogue.iter().map(|item| vocabulary.item_features(item)).collect();
        let mut places: KeyMap<ItemKey, u32> =
            features.iter().zip(0..).map(|(features, place)| (features.key, place)).collect();
        for (id, _) in counts {
            let key = ItemKey::of(id);
            places.entry(key).or_insert_with(|| {
                features.push(vocabulary.bare_features(key));
                features.len() as u32 - 1
            });
        }
        let items = sequences.interactions().iter().map(|interaction| {
            *places.entry(interaction.item).or_insert_with(|| {
                features.push(vocabulary.bare_features(interaction.item));
                features.len() as u32 - 1
            })
        });
        let items: Vec<u32> = items.collect();
        let mut counts = vec![0; features.len()];
        items.iter().for_each(|&item| counts[item as usize] += 1);
        Ok(Self { catalogue, vocabulary, features, sequences, items, counts, ordered, time, split: None })
    }

    /// What lies before the test of a split. Where validation is by anything but [`Validation::None`], it is by the
    /// split's own protocol; without, all that may be learnt is.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// [`Validation::None`]: crate::Validation::None
    pub fn of_split(split: &Split, vocabulary: &VocabularyConfig) -> Result<Self, TrainError> {
        Self::of_split_extending(split, vocabulary, None)
    }

    /// [`Self::of_split`], with the rows of a vocabulary that there is first.
    pub(crate) fn of_split_extending(
        split: &Split,
        vocabulary: &VocabularyConfig,
        extends: Option<Vocabulary>,
    ) -> Result<Self, TrainError> {
        let BeforeTest { sequences, learnt } = split.before_test();
        let counts = split.counts(HeldOut::Test);
        let catalogue = split.catalogue().to_vec();
        let (ordered, time) = (split.is_ordered(), split.time_kind());
        let vocabulary = Self::vocabulary_of(&catalogue, &counts, vocabulary, extends)?;
        let data = Self::with_vocabulary(catalogue, &counts, sequences, ordered, time, vocabulary)?;
        Ok(Self { split: Some(Learnable { protocol: split.protocol(), learnt }), ..data })
    }

    /// How far the split that this comes from lets learning go; nothing where it comes from none.
    pub(crate) fn learnable(&self) -> Option<&Learnable> {
        self.split.as_ref()
    }

    /// The products: the data set's catalogue, or, where it has none, one bare product for each id.
    pub fn catalogue(&self) -> &[Item] {
        &self.catalogue
    }

    /// Which rows items and words have.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The visitors' sequences: what counting models are fitted on.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// Whether the order of a visitor's events means anything.
    pub fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// What the times are.
    pub fn time_kind(&self) -> TimeKind {
        self.time
    }

    /// Features of every item: those of the catalogue, in its order, then those that only events name.
    pub fn item_features(&self) -> &[ItemFeatures] {
        &self.features
    }

    /// Interactions of each of [`Self::item_features`].
    pub fn item_counts(&self) -> &[u32] {
        &self.counts
    }

    /// The items of the interactions, as places in [`Self::item_features`].
    pub(crate) fn items(&self) -> &[u32] {
        &self.items
    }

    /// Where among all interactions each visitor's begin and end.
    pub(crate) fn visitors(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.sequences.iter().scan(0, |start, (_, sequence)| {
            let range = *start..*start + sequence.len();
            *start = range.end;
            Some(range)
        })
    }
}

/// An event of data whose order means nothing, at a time drawn by its id: else whatever the file was sorted
/// by (the item's number, often) would seem to be an order, and to split by.
struct Shuffled<'a>(EventRef<'a>);

impl EventFacts for Shuffled<'_> {
    fn key(&self) -> EventKey {
        self.0.key()
    }

    fn event_type(&self) -> EventType {
        self.0.event_type
    }

    fn time(&self) -> EventTime {
        EventTime::clamped((mix(self.0.key().0) >> 24) as i64)
    }

    fn visitor(&self) -> VisitorKey {
        self.0.visitor()
    }

    fn user(&self) -> Option<UserKey> {
        self.0.user()
    }

    fn session(&self) -> Option<SessionTag> {
        None
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        EventFacts::items(&self.0)
    }
}
