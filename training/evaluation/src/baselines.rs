//! The baselines of every table: fitted on what the split lets be learnt, by the code that serves them.

use endcap_clickstream::TimeKind;
use endcap_features::{ItemFeatures, Vocabulary, VocabularyConfig};
use endcap_neighbours::{
    ContentConfig, ContentKnn, CountingModel, Ease, EaseConfig, ItemKnn, KnnConfig, NeighboursError,
    NextItemRules, Popularity, RecentPopularity, RulesConfig, SessionKnn, SessionKnnConfig, blend,
};
use serde::{Deserialize, Serialize};

use crate::{Catalogue, EvaluationError, Fixed, HeldOut, Listed, Random, Split, System};

/// How the baselines are fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaselinesConfig {
    /// Half-life of an interaction in recent popularity, in hours.
    pub half_life_hours: f64,
    /// The same where times are places in a file: in events.
    pub half_life_events: f64,
    /// Next-item rules.
    pub rules: RulesConfig,
    /// Item neighbours.
    pub item_knn: KnnConfig,
    /// Weight of item neighbours beside next-item rules, where both are one list.
    pub rules_and_knn: f32,
    /// Session neighbours; left out of data whose order means nothing.
    pub session_knn: SessionKnnConfig,
    /// EASE; left out of larger catalogues.
    pub ease: EaseConfig,
    /// Content neighbours, asked where items are hidden from training.
    pub content: ContentConfig,
}

/// The baselines, fitted.
#[derive(Debug)]
pub struct Baselines {
    popularity: Popularity,
    /// What order says; nothing where it means nothing.
    ordered: Option<Ordered>,
    item_knn: ItemKnn,
    rules_and_knn: f32,
    ease: Option<Ease>,
    /// Where items are hidden from training: what their words say, and the seed of a drawn order.
    new_items: Option<(ContentKnn, u64)>,
    notes: Vec<String>,
}

/// Baselines that read the order of events.
#[derive(Debug)]
struct Ordered {
    recent: RecentPopularity,
    rules: NextItemRules,
    sessions: SessionKnn,
}

// === impl BaselinesConfig ===

impl Default for BaselinesConfig {
    fn default() -> Self {
        Self {
            half_life_hours: 168.0,
            half_life_events: 50_000.0,
            rules: RulesConfig::default(),
            item_knn: KnnConfig::default(),
            rules_and_knn: 0.5,
            session_knn: SessionKnnConfig::default(),
            ease: EaseConfig { max_items: 5_000, ..EaseConfig::default() },
            content: ContentConfig::default(),
        }
    }
}

// === impl Baselines ===

impl Baselines {
    /// Fits all of them on what may be learnt before being asked about `part`.
    ///
    /// # Errors
    /// When there are more items or interactions than can be numbered.
    pub fn fit(split: &Split, part: HeldOut, config: &BaselinesConfig) -> Result<Self, EvaluationError> {
        let sequences = || split.training(part).map(|(_, learnt)| learnt);
        let until = split.until(part);
        let ordinal = split.time_kind() == TimeKind::Ordinal;
        let half_life = if ordinal { config.half_life_events } else { config.half_life_hours * 3_600_000.0 };
        let mut notes = Vec::new();
        let ordered = if split.is_ordered() {
            Some(Ordered {
                recent: RecentPopularity::fit(sequences(), until, half_life as i64)?,
                rules: NextItemRules::fit(sequences(), until, &config.rules)?,
                sessions: SessionKnn::fit(sequences(), until, ordinal, &config.session_knn)?,
            })
        } else {
            let left_out = "recent popularity, next-item rules and session kNN left out";
            notes.push(format!("{left_out}: the order of the events means nothing"));
            None
        };
        let ease = match Ease::fit(sequences(), until, &config.ease) {
            Ok(ease) => Some(ease),
            Err(error @ NeighboursError::TooManyItems { .. }) => {
                notes.push(format!("EASE left out: {error}"));
                None
            }
            Err(error) => return Err(error.into()),
        };
        let new_items = if split.hidden().is_empty() {
            None
        } else {
            let counts = split.counts(part);
            let counts = counts.iter().map(|(id, count)| (&**id, *count));
            let vocabulary = Vocabulary::build(split.catalogue(), counts, &VocabularyConfig::default())?;
            let features: Vec<ItemFeatures> =
                split.catalogue().iter().map(|item| vocabulary.item_features(item)).collect();
            Some((ContentKnn::new(&features, vocabulary.words(), &config.content), split.config().seed))
        };
        Ok(Self {
            popularity: Popularity::fit(sequences(), until)?,
            ordered,
            item_knn: ItemKnn::fit(sequences(), until, &config.item_knn)?,
            rules_and_knn: config.rules_and_knn,
            ease,
            new_items,
            notes,
        })
    }

    /// What was left out, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// As systems that rank a catalogue.
    pub fn systems<'a>(&'a self, catalogue: &'a Catalogue) -> Vec<Box<dyn System + 'a>> {
        let popularity = Fixed::new("popularity", catalogue, |key| self.popularity.share(key));
        let mut systems: Vec<Box<dyn System + 'a>> = vec![Box::new(popularity)];
        if let Some(Ordered { recent, rules, .. }) = &self.ordered {
            systems.push(Box::new(Fixed::new("recent popularity", catalogue, |key| recent.share(key))));
            systems.push(Box::new(Listed::new("next-item rules", catalogue, |history, k| {
                rules.score(history, k)
            })));
        }
        systems
            .push(Box::new(Listed::new("item-kNN", catalogue, |history, k| self.item_knn.score(history, k))));
        if let Some(Ordered { rules, sessions, .. }) = &self.ordered {
            systems.push(Box::new(Listed::new("rules + item-kNN", catalogue, |history, k| {
                let lists = [rules.score(history, k), self.item_knn.score(history, k)];
                blend(&[(1.0, &lists[0]), (self.rules_and_knn, &lists[1])], k)
            })));
            systems.push(Box::new(Listed::new("session kNN", catalogue, |history, k| {
                sessions.score(history, k)
            })));
        }
        if let Some(ease) = &self.ease {
            systems.push(Box::new(Listed::new("EASE", catalogue, |history, k| ease.score(history, k))));
        }
        if let Some((content, seed)) = &self.new_items {
            systems.push(Box::new(Random::new(catalogue, *seed)));
            systems.push(Box::new(Listed::new("content kNN", catalogue, |history, k| {
                content.score(history, k)
            })));
        }
        systems
    }
}
