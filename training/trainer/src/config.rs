//! How the towers are fitted: every knob, with its default.

use std::collections::BTreeMap;

use endcap_proto::EventType;
use endcap_towers::{Encoder, TowersConfig};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How the towers are fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Equal seeds, data and configurations give equal weights.
    pub seed: u64,
    /// Threads to use; 0 for all. The weights do not depend on it.
    pub threads: usize,

    /// Length of the vectors.
    pub dim: usize,
    /// How a history becomes a user vector. Where it is not said: `transformer`, or `mean_pool` where the
    /// data set's order means nothing.
    pub encoder: Option<Encoder>,
    /// Blocks of the encoder.
    pub blocks: usize,
    /// Attention heads; they divide `dim`.
    pub heads: usize,
    /// The newest entries of a history that are read.
    pub length: usize,
    /// Width of the encoder's feed-forward layers.
    pub hidden: usize,
    /// Width of the item tower's hidden layer; 0 leaves the layer out: the sum of its parts alone did better
    /// on Amazon Beauty and on the synthetic shop, in less time.
    pub item_hidden: usize,
    /// `score = dot / temperature`. Lower it where the loss stays high, raise it where training diverges.
    pub temperature: f32,
    /// Whether the temperature is learnt too, from `temperature` on.
    pub learn_temperature: bool,

    /// Share of the encoder's activations that are dropped. More for less data.
    pub dropout: f32,
    /// Share of the items that hide their id in a step, so that their words learn to stand for them and a
    /// product that nobody has bought yet has a place. Only items with words or a vector take part.
    pub id_dropout: f32,
    /// What a target is told apart from.
    pub negatives: Negatives,
    /// Weight of a target by its event type; 1 where it is not said, 0 leaves it out of the loss.
    pub event_weights: BTreeMap<EventType, f32>,

    /// Most passes over the data.
    pub epochs: usize,
    /// Positions of histories in a step.
    pub batch: usize,
    /// Largest learning rate of the dense weights (AdamW). It rises over `warm_up` and falls along a
    /// cosine to a hundredth.
    pub learning_rate: f32,
    /// What moves the tables of items and words.
    pub table_optimiser: TableOptimiser,
    /// Largest learning rate of the tables, with the same rise and fall.
    pub table_learning_rate: f32,
    /// Steps over which the learning rate rises.
    pub warm_up: usize,
    /// Decay of the dense matrices, per unit of learning rate.
    pub weight_decay: f32,
    /// Longest gradient, over all weights together; a longer one is scaled down to it.
    pub clip: f32,

    /// What training is stopped by.
    pub validation: Validation,
    /// Most cases of validation; they are drawn evenly.
    pub validation_cases: usize,
    /// Epochs without a better validation NDCG@20 until training stops.
    pub patience: usize,
}

/// What moves the rows of a table that a step touches. The others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableOptimiser {
    /// Adam with one second moment for a row ("lazy Adam"): 4 · (`dim` + 2) bytes a row.
    #[default]
    Adam,
    /// Adagrad with one sum of squares for a row: 4 bytes a row. Takes about ten times Adam's learning rate.
    Adagrad,
}

/// What a target is told apart from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Negatives {
    /// Items drawn evenly from all that were met in training, shared by the whole batch. The batch's own
    /// targets come on top; each is corrected for its chance to be there.
    pub uniform: usize,
    /// Items drawn by how often they are met, to the power of `exponent`, shared by the whole batch.
    pub popular: usize,
    /// 0 draws popular negatives evenly, 1 as often as they are met.
    pub exponent: f32,
    /// Up to so many items, every item is a candidate in every step: the full softmax.
    pub all_up_to: usize,
}

/// What training is stopped by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, tag = "by")]
pub enum Validation {
    /// The newest share of the events; of data whose times are ordinal or whose order means nothing, the
    /// last event of each visitor.
    Newest {
        /// Share of the events.
        share: f64,
    },
    /// The last event of each visitor.
    LastEvent,
    /// Nothing: all epochs run, on all events.
    None,
}

// === impl TrainConfig ===

impl Default for TrainConfig {
    fn default() -> Self {
        let shape = TowersConfig::default();
        Self {
            seed: 1,
            threads: 0,
            dim: shape.dim,
            encoder: None,
            blocks: shape.blocks,
            heads: shape.heads,
            length: shape.length,
            hidden: shape.hidden,
            item_hidden: shape.item_hidden,
            temperature: shape.temperature,
            learn_temperature: false,
            dropout: 0.2,
            id_dropout: 0.1,
            negatives: Negatives::default(),
            event_weights: BTreeMap::new(),
            epochs: 30,
            batch: 2048,
            learning_rate: 1e-3,
            table_optimiser: TableOptimiser::Adam,
            table_learning_rate: 5e-3,
            warm_up: 100,
            weight_decay: 0.01,
            clip: 1.0,
            validation: Validation::Newest { share: 0.1 },
            validation_cases: 5_000,
            patience: 4,
        }
    }
}

impl Default for Negatives {
    fn default() -> Self {
        Self { uniform: 1024, popular: 0, exponent: 0.75, all_up_to: 5_000 }
    }
}

impl TrainConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the field and its rule.
    pub fn validate(&self) -> Result<(), TrainError> {
        let refuse = |field: &'static str, rule: String| Err(TrainError::Config { field, rule });
        let within = |field, value: f64, low: f64, high: f64| {
            if value.is_finite() && (low..=high).contains(&value) {
                return Ok(());
            }
            refuse(field, format!("must lie in {low}..={high}, is {value}"))
        };
        self.shape(true, 0).validate().map_err(TrainError::Towers)?;
        within("dropout", self.dropout.into(), 0.0, 0.9)?;
        within("id_dropout", self.id_dropout.into(), 0.0, 0.9)?;
        within("negatives.uniform", self.negatives.uniform as f64, 0.0, 1e6)?;
        if self.negatives.uniform + self.negatives.popular == 0
            && self.negatives.all_up_to == 0
            && self.batch < 256
        {
            return refuse("batch", format!("must be at least 256 without negatives, is {}", self.batch));
        }
        within("negatives.popular", self.negatives.popular as f64, 0.0, 1e6)?;
        within("negatives.exponent", self.negatives.exponent.into(), 0.0, 2.0)?;
        within("negatives.all_up_to", self.negatives.all_up_to as f64, 0.0, 1e6)?;
        for (event_type, &weight) in &self.event_weights {
            if !(weight.is_finite() && (0.0..=1000.0).contains(&weight)) {
                return refuse("event_weights", format!("must lie in 0..=1000, {event_type}'s is {weight}"));
            }
        }
        within("epochs", self.epochs as f64, 1.0, 10_000.0)?;
        within("batch", self.batch as f64, 16.0, 1e6)?;
        within("learning_rate", self.learning_rate.into(), 1e-8, 1.0)?;
        within("table_learning_rate", self.table_learning_rate.into(), 1e-8, 10.0)?;
        within("weight_decay", self.weight_decay.into(), 0.0, 10.0)?;
        within("clip", self.clip.into(), 1e-6, 1e6)?;
        within("patience", self.patience as f64, 1.0, 10_000.0)?;
        if let Validation::Newest { share } = self.validation {
            within("validation.share", share, 0.001, 0.5)?;
        }
        Ok(())
    }

    /// The shape of the towers for data whose order means something or not, with shop vectors of a length.
    pub fn shape(&self, ordered: bool, shop_vector: usize) -> TowersConfig {
        let by_data = if ordered { Encoder::Transformer } else { Encoder::MeanPool };
        TowersConfig {
            dim: self.dim,
            encoder: self.encoder.unwrap_or(by_data),
            blocks: self.blocks,
            heads: self.heads,
            length: self.length,
            hidden: self.hidden,
            item_hidden: self.item_hidden,
            shop_vector,
            temperature: self.temperature,
        }
    }

    pub(crate) fn weight(&self, event_type: EventType) -> f32 {
        self.event_weights.get(&event_type).copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_unknown_or_wild_settings_are_refused() {
        TrainConfig::default().validate().unwrap();
        let parse = |json: &str| serde_json::from_str::<TrainConfig>(json);
        assert!(parse(r#"{"epoch": 3}"#).unwrap_err().to_string().contains("unknown field `epoch`"));
        let config = parse(
            r#"{"encoder": "mean_pool", "validation": {"by": "newest", "share": 0.2}, "event_weights": {"purchase": 3}}"#,
        );
        let config = config.unwrap();
        assert_eq!(config.encoder, Some(Encoder::MeanPool));
        assert_eq!((config.weight(EventType::Purchase), config.weight(EventType::View)), (3.0, 1.0));
        let refused = |edit: fn(&mut TrainConfig)| {
            let mut config = TrainConfig::default();
            edit(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(refused(|c| c.dropout = 1.0), "dropout must lie in 0..=0.9, is 1");
        assert_eq!(
            refused(|c| c.learning_rate = f32::NAN),
            "learning_rate must lie in 0.00000001..=1, is NaN"
        );
        assert_eq!(refused(|c| c.heads = 3), "heads must divide dim (64), is 3");
    }
}
