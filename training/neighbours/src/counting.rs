//! The counting models together, as a bundle keeps them.

use std::path::Path;

use endcap_proto::{EventTime, ItemKey};
use serde::{Deserialize, Serialize};

use crate::{
    Interaction, ItemKnn, KnnConfig, NeighboursError, NextItemRules, Popularity, RecentPopularity,
    RulesConfig,
    corpus::Corpus,
    popularity::{WeightSums, recent_weight},
};

/// What every model here can do.
pub trait CountingModel: Sized {
    /// Its name in tables, in configuration and in its file.
    const NAME: &'static str;

    /// How many items it knows.
    fn items(&self) -> usize;

    /// The `k` items (fewer, where it has no more) that go best after a history, oldest first; best
    /// first, ties to the smaller key, each once, with scores above 0 that mean something within one
    /// answer only. Whether items of the history are wanted is for the caller to decide.
    fn score(&self, history: &[ItemKey], k: usize) -> Vec<(ItemKey, f32)>;

    /// Writes the model to a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), NeighboursError>;

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read, is of another model or version, or breaks a rule.
    fn load(path: impl AsRef<Path>) -> Result<Self, NeighboursError>;
}

/// How the counting models are fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountingConfig {
    /// Half-life of an interaction in recent popularity, in hours.
    pub half_life_hours: f64,
    /// Next-item rules.
    pub rules: RulesConfig,
    /// Item neighbours.
    pub item_knn: KnnConfig,
}

/// All counting models of one training set.
#[derive(Debug, Clone, PartialEq)]
pub struct CountingModels {
    /// What everybody wants.
    pub popularity: Popularity,
    /// What everybody wants lately.
    pub recent: RecentPopularity,
    /// What follows what.
    pub rules: NextItemRules,
    /// What is met by the same visitors.
    pub item_knn: ItemKnn,
}

impl Default for CountingConfig {
    fn default() -> Self {
        Self { half_life_hours: 168.0, rules: RulesConfig::default(), item_knn: KnnConfig::default() }
    }
}

impl CountingModels {
    /// Fits all models to the interactions before `until`, in one pass over the sequences, each of
    /// which must run from old to new.
    ///
    /// # Errors
    /// When there are more items or interactions than can be numbered.
    pub fn fit<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
        config: &CountingConfig,
    ) -> Result<Self, NeighboursError> {
        let half_life_ms = (config.half_life_hours * 3_600_000.0) as i64;
        let (mut all, mut recent) = (WeightSums::default(), WeightSums::default());
        let corpus = Corpus::read(sequences, until, |row, interaction| {
            all.add(row, 1.0);
            recent.add(row, recent_weight(interaction.time, until, half_life_ms));
        })?;
        Ok(Self {
            popularity: Popularity::of(&corpus, &all),
            recent: RecentPopularity::of(&corpus, &recent),
            rules: NextItemRules::of(&corpus, &config.rules),
            item_knn: ItemKnn::of(&corpus, &config.item_knn),
        })
    }

    /// Writes each model to `NAME.safetensors` in a folder that exists.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<(), NeighboursError> {
        fn write<M: CountingModel>(model: &M, dir: &Path) -> Result<(), NeighboursError> {
            model.save(dir.join(file_name::<M>()))
        }
        let dir = dir.as_ref();
        write(&self.popularity, dir)?;
        write(&self.recent, dir)?;
        write(&self.rules, dir)?;
        write(&self.item_knn, dir)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// When a file cannot be read, is of another model or version, or breaks a rule.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, NeighboursError> {
        fn read<M: CountingModel>(dir: &Path) -> Result<M, NeighboursError> {
            M::load(dir.join(file_name::<M>()))
        }
        let dir = dir.as_ref();
        Ok(Self { popularity: read(dir)?, recent: read(dir)?, rules: read(dir)?, item_knn: read(dir)? })
    }

    /// The names of the files that [`Self::write`] writes.
    pub fn file_names() -> [String; 4] {
        [
            file_name::<Popularity>(),
            file_name::<RecentPopularity>(),
            file_name::<NextItemRules>(),
            file_name::<ItemKnn>(),
        ]
    }
}

fn file_name<M: CountingModel>() -> String {
    format!("{}.safetensors", M::NAME)
}
