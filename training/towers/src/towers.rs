//! The two towers as serving runs them: weights in plain slices, forward passes only.

use endcap_features::ItemFeatures;
use endcap_proto::EventType;

use crate::{TowersConfig, TowersError};

/// The user tower and the item tower, ready to run.
pub struct Towers {
    config: TowersConfig,
}

/// What the user tower reads: a history, oldest first. The three slices are of one length.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserInput<'a> {
    /// The item tower's vectors of the history's items, `dim` numbers each.
    pub items: &'a [&'a [f32]],
    /// What was done.
    pub event_types: &'a [EventType],
    /// Time to the next entry, or to the request for the last: buckets of `features_at`.
    pub gap_buckets: &'a [u8],
}

impl Towers {
    /// Reads weights (safetensors) of this shape.
    ///
    /// # Errors
    /// When the shape breaks a rule, or a tensor is missing, of another shape, or holds a value that is
    /// not finite.
    pub fn load(config: TowersConfig, weights: &[u8]) -> Result<Self, TowersError> {
        config.validate()?;
        let _ = weights;
        todo!()
    }

    /// The shape.
    pub fn config(&self) -> &TowersConfig {
        &self.config
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        self.config.dim
    }

    /// `score = dot / temperature`.
    pub fn temperature(&self) -> f32 {
        self.config.temperature
    }

    /// The newest entries of a history that the user tower reads.
    pub fn length(&self) -> usize {
        self.config.length
    }

    /// Items that have an id embedding: rows `0..item_rows()`.
    pub fn item_rows(&self) -> usize {
        todo!()
    }

    /// Words that have an embedding: rows `0..word_rows()`.
    pub fn word_rows(&self) -> usize {
        todo!()
    }

    /// Vectors of items: n × `dim`, each of length 1, row after row.
    ///
    /// # Errors
    /// When a row lies beyond the tables, or the shop's vector has another length.
    pub fn item_vectors(&self, items: &[ItemFeatures]) -> Result<Vec<f32>, TowersError> {
        let _ = items;
        todo!()
    }

    /// Vectors of users: n × `dim`, each of length 1, row after row. Of a history longer than
    /// [`Self::length`] the newest entries are read; an empty one gives the vector of the average newcomer.
    ///
    /// # Errors
    /// When the slices of an input differ in length, or an item's vector is not `dim` long.
    pub fn user_vectors(&self, users: &[UserInput<'_>]) -> Result<Vec<f32>, TowersError> {
        let _ = users;
        todo!()
    }
}
