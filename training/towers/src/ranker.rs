//! The ranker: from the features of a candidate to the probability of each outcome.

use std::path::Path;

use crate::{RankerConfig, TowersError};

/// What the ranker predicts, in the order of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// The product is clicked.
    Click = 0,
    /// It is put into the cart.
    Cart = 1,
    /// It is bought.
    Purchase = 2,
}

impl Head {
    /// Every head, in the order of the outputs.
    pub const ALL: [Self; 3] = [Self::Click, Self::Cart, Self::Purchase];
}

/// One network with a calibrated probability per [`Head`].
pub struct Ranker {
    config: RankerConfig,
}

impl Ranker {
    /// The shape.
    pub fn config(&self) -> &RankerConfig {
        &self.config
    }

    /// Inputs per candidate: `RANK_FEATURES.len()` at the time it was trained.
    pub fn features(&self) -> usize {
        todo!()
    }

    /// Probabilities of the rows of `features` (n × [`Self::features`], row after row): n × 3, in the
    /// order of [`Head::ALL`].
    ///
    /// # Errors
    /// When the length is no multiple of the number of features.
    pub fn predict(&self, features: &[f32]) -> Result<Vec<f32>, TowersError> {
        let _ = features;
        todo!()
    }

    /// Reads `DIR/NAME.json` and `DIR/NAME.safetensors`.
    ///
    /// # Errors
    /// When they cannot be read, or do not fit each other.
    pub fn read(dir: &Path, name: &str) -> Result<Self, TowersError> {
        let _ = (dir, name);
        todo!()
    }

    /// Writes `DIR/NAME.json` and `DIR/NAME.safetensors`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), TowersError> {
        let _ = (dir, name);
        todo!()
    }
}
