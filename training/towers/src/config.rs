//! The shapes of the models: what a bundle stores beside their weights.

use serde::{Deserialize, Serialize};

use crate::TowersError;

/// Shape of the two towers. Two towers with the same shape can exchange weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TowersConfig {
    /// Length of every vector: item, user, and between the layers. A multiple of `heads`.
    pub dim: usize,
    /// How a history becomes a user vector.
    pub encoder: Encoder,
    /// Blocks of the encoder; 1 or 2 are enough for histories of 50.
    pub blocks: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// The newest entries of a history that the user tower reads.
    pub length: usize,
    /// Width of the user tower's feed-forward layers.
    pub hidden: usize,
    /// Width of the item tower's hidden layer; 0 leaves the layer out.
    pub item_hidden: usize,
    /// Length of the shop's own item vectors; 0 when there are none.
    pub shop_vector: usize,
    /// `score = dot / temperature`.
    pub temperature: f32,
}

/// How a history becomes a user vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// Causal self-attention over the history, in order (SASRec: Kang & McAuley 2018,
    /// arXiv:1808.09781; pre-norm).
    #[default]
    Transformer,
    /// A gated recurrent unit over the history, in order (GRU4Rec: Hidasi et al. 2016, arXiv:1511.06939; pre-norm).
    Gru,
    /// The mean of the history, then a feed-forward layer: for data whose order means nothing.
    MeanPool,
}

/// Shape of the ranker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RankerConfig {
    /// Widths of the hidden layers, input side first; none makes it a logistic regression.
    pub hidden: Vec<usize>,
}

// === impl TowersConfig ===

impl Default for TowersConfig {
    fn default() -> Self {
        Self {
            dim: 64,
            encoder: Encoder::Transformer,
            blocks: 1,
            heads: 2,
            length: 50,
            hidden: 256,
            item_hidden: 0,
            shop_vector: 0,
            temperature: 0.05,
        }
    }
}

impl TowersConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the field and its rule.
    pub fn validate(&self) -> Result<(), TowersError> {
        let within = |field: &'static str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(TowersError::Config { field, rule: format!("must lie in {low}..={high}, is {value}") })
        };
        within("dim", self.dim, 4, 1024)?;
        within("blocks", self.blocks, 1, 8)?;
        within("heads", self.heads, 1, 16)?;
        within("length", self.length, 1, 1000)?;
        within("hidden", self.hidden, 1, 8192)?;
        within("item_hidden", self.item_hidden, 0, 8192)?;
        within("shop_vector", self.shop_vector, 0, 8192)?;
        if !self.dim.is_multiple_of(self.heads) {
            let rule = format!("must divide dim ({}), is {}", self.dim, self.heads);
            return Err(TowersError::Config { field: "heads", rule });
        }
        if !(self.temperature.is_finite() && (0.001..=10.0).contains(&self.temperature)) {
            let rule = format!("must lie in 0.001..=10, is {}", self.temperature);
            return Err(TowersError::Config { field: "temperature", rule });
        }
        Ok(())
    }
}

impl Default for RankerConfig {
    fn default() -> Self {
        Self { hidden: vec![64, 32] }
    }
}
