//! The configuration of the pipeline.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::query::DEFAULT_PLACEMENT;

/// How slates are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecommendConfig {
    /// How many candidates each source may propose.
    pub sources: SourcesConfig,
    /// What is not shown.
    pub rules: RulesConfig,
    /// The placements of the shop, by the name that requests use. `default` is what a request without a
    /// placement means, and is there even when it is not listed.
    pub placements: BTreeMap<String, PlacementConfig>,
    /// The share of requests whose retrieval is done again, exactly, beside the request, to measure recall; 0 turns
    /// it off.
    pub recall_probe: f64,
    /// Milliseconds to wait for the shopper's state. After that the slate is made without it, and says so.
    pub state_timeout_ms: u64,
    /// Seed of slate ids and exploration. Drawn at each start when absent, as it should be for more than one replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// A file with the key that signs attribution tokens: 64 hexadecimal digits. When absent a key is drawn
    /// at each start: tokens are then not valid beyond a restart, nor on another replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribution_key_file: Option<PathBuf>,
}

/// How many candidates each source may propose; 0 turns a source off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourcesConfig {
    /// The items nearest to the shopper's vector.
    pub towers: usize,
    /// What follows the newest items of the history.
    pub next_item_rules: usize,
    /// What is bought and viewed together with the items of the history.
    pub item_knn: usize,
    /// What was popular in the last days of training.
    pub recent_popularity: usize,
    /// What was popular over all of training.
    pub popularity: usize,
}

/// What is not shown, beside what cannot be sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// Leave out what the shopper bought within so many days; 0 leaves it in.
    pub bought_within_days: u32,
    /// Leave out what the shopper dismissed.
    pub dismissed: bool,
    /// Show at most one variant of a product (items that share a `group_id`): the best ranked.
    pub one_per_group: bool,
}

/// What a placement wants.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementConfig {
    /// What each outcome is worth; slates are sorted by the expected worth.
    pub value: ValueConfig,
    /// How the last places of a slate are drawn.
    pub explore: ExploreConfig,
}

/// What an outcome is worth. The score of an item is the sum of probability × worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValueConfig {
    /// A click.
    pub click: f64,
    /// An addition to the cart.
    pub cart: f64,
    /// A purchase.
    pub purchase: f64,
}

/// Exploration: the last places of a slate are drawn among the best of the rest, so that their logged
/// probabilities let a later training and evaluation learn from what was not ranked first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExploreConfig {
    /// How many of the last places are drawn; never more than a fifth of the page. 0 turns exploration off.
    pub slots: usize,
    /// How many of the best of the rest take part.
    pub pool: usize,
    /// Chances go with score^(1/temperature): 1 means in proportion to the score, more means flatter.
    pub temperature: f64,
    /// The share of the chances that is dealt out evenly, so that no probability is tiny.
    pub uniform: f64,
}

// === impl RecommendConfig ===

impl Default for RecommendConfig {
    fn default() -> Self {
        Self {
            sources: SourcesConfig::default(),
            rules: RulesConfig::default(),
            placements: BTreeMap::from([(DEFAULT_PLACEMENT.to_owned(), PlacementConfig::default())]),
            recall_probe: 0.001,
            state_timeout_ms: 20,
            seed: None,
            attribution_key_file: None,
        }
    }
}

impl RecommendConfig {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// Names the key and its rule.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let most = [
            ("sources.towers", self.sources.towers),
            ("sources.next_item_rules", self.sources.next_item_rules),
            ("sources.item_knn", self.sources.item_knn),
            ("sources.recent_popularity", self.sources.recent_popularity),
            ("sources.popularity", self.sources.popularity),
        ];
        for (key, count) in most {
            within(key, count as f64, 0.0..=5_000.0)?;
        }
        within("recall_probe", self.recall_probe, 0.0..=1.0)?;
        within("state_timeout_ms", self.state_timeout_ms as f64, 1.0..=60_000.0)?;
        for (name, placement) in &self.placements {
            let key = |key: &str| format!("placements.{name}.{key}");
            let PlacementConfig { value, explore } = placement;
            within(&key("value.click"), value.click, 0.0..=1e6)?;
            within(&key("value.cart"), value.cart, 0.0..=1e6)?;
            within(&key("value.purchase"), value.purchase, 0.0..=1e6)?;
            if value.click + value.cart + value.purchase <= 0.0 {
                return Err(InvalidConfig { key: key("value"), rule: "one worth must be above 0".into() });
            }
            within(&key("explore.slots"), explore.slots as f64, 0.0..=100.0)?;
            within(&key("explore.pool"), explore.pool as f64, 1.0..=5_000.0)?;
            within(&key("explore.temperature"), explore.temperature, 0.01..=100.0)?;
            within(&key("explore.uniform"), explore.uniform, 0.0..=1.0)?;
        }
        Ok(())
    }

    /// The placement of that name.
    pub fn placement(&self, name: &str) -> Option<PlacementConfig> {
        match self.placements.get(name) {
            Some(placement) => Some(*placement),
            None => (name == DEFAULT_PLACEMENT).then(PlacementConfig::default),
        }
    }
}

/// A value of the configuration is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("recommend.{key}: {rule}")]
pub struct InvalidConfig {
    /// Path of the key below `recommend`.
    pub key: String,
    /// What it must be, and what it is.
    pub rule: String,
}

fn within(key: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<(), InvalidConfig> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(InvalidConfig {
            key: key.to_owned(),
            rule: format!("must lie within {} and {}, is {value}", range.start(), range.end()),
        }),
    }
}

// === defaults ===

impl Default for SourcesConfig {
    fn default() -> Self {
        Self { towers: 200, next_item_rules: 50, item_knn: 50, recent_popularity: 50, popularity: 50 }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { bought_within_days: 30, dismissed: true, one_per_group: true }
    }
}

impl Default for ValueConfig {
    fn default() -> Self {
        Self { click: 1.0, cart: 2.0, purchase: 5.0 }
    }
}

impl Default for ExploreConfig {
    fn default() -> Self {
        Self { slots: 2, pool: 50, temperature: 1.0, uniform: 0.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(RecommendConfig::default().validate(), Ok(()));
    }

    #[test]
    fn errors_name_the_key() {
        let mut config = RecommendConfig::default();
        let default = config.placements.get_mut(DEFAULT_PLACEMENT).unwrap();
        default.explore.temperature = 0.0;
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "recommend.placements.default.explore.temperature: must lie within 0.01 and 100, is 0"
        );
    }

    #[test]
    fn the_default_placement_is_there_unasked() {
        let config = RecommendConfig { placements: BTreeMap::new(), ..Default::default() };
        assert_eq!(config.placement("default"), Some(PlacementConfig::default()));
        assert_eq!(config.placement("cart"), None);
    }
}
