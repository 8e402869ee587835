//! The seam of retrieval: "the k nearest allowed items to this vector", whoever answers.

use crate::{Allowed, IndexError};

/// One retrieved item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The item's label.
    pub label: u64,
    /// Inner product of its vector and the query: the cosine where both are unit vectors.
    pub score: f32,
}

/// Answers "the k nearest allowed items to this vector".
///
/// Every implementation passes the contract suite of `tests/contract.rs`: hits are allowed, distinct, best first with
/// ties by ascending label, `min(k, allowed items)` of them for an exact one, and bad queries are refused.
pub trait Retriever: Send + Sync {
    /// Numbers in a vector.
    fn dim(&self) -> usize;

    /// Items that can be returned.
    fn len(&self) -> usize;

    /// Whether nothing can be returned.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `k` allowed items of largest inner product with `query`, best first, ties by ascending label.
    ///
    /// # Errors
    /// [`IndexError::Dimension`] or [`IndexError::QueryValue`] where the query is not a finite vector of [`dim`](Self::dim).
    fn retrieve(&self, query: &[f32], k: usize, allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError>;

    /// [`retrieve`](Self::retrieve) for each row of `queries` (`n × dim`, row-major) under one filter.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve); [`IndexError::Dimension`] where `queries` is not whole rows.
    fn retrieve_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Vec<Hit>>, IndexError>;
}
