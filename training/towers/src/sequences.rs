//! Ragged sequences: the rows of many histories, one after the other, without padding.

use std::ops::Range;

/// Where each sequence lies among the rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sequences {
    offsets: Vec<u32>,
}

impl Sequences {
    /// Sequences of these lengths.
    pub(crate) fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        offsets.extend(lengths.into_iter().map(|length| {
            end += length as u32;
            end
        }));
        Self { offsets }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Rows of all sequences together.
    pub(crate) fn total(&self) -> usize {
        self.offsets.last().map_or(0, |&end| end as usize)
    }

    /// The rows of one sequence.
    pub(crate) fn rows(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence] as usize..self.offsets[sequence + 1] as usize
    }
}
