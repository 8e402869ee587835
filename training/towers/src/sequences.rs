//! Ragged sequences: the rows of many histories, one after the other, without padding.

use std::ops::Range;

/// Where each sequence lies among the rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequences {
    offsets: Vec<u32>,
}

/// The most shards of a batch; also the most threads that help.
pub(crate) const SHARDS: usize = 16;
/// The fewest rows that are worth a shard.
pub(crate) const SHARD_ROWS: usize = 128;

impl Sequences {
    /// Sequences of these lengths.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        offsets.extend(lengths.into_iter().map(|length| {
            end += length as u32;
            end
        }));
        Self { offsets }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of all sequences together.
    pub fn total(&self) -> usize {
        self.offsets.last().map_or(0, |&end| end as usize)
    }

    /// The rows of one sequence.
    pub fn rows(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence] as usize..self.offsets[sequence + 1] as usize
    }

    /// A partition into runs of sequences of about equal size: a function of the lengths alone, so that
    /// sums over shards come out the same whatever the number of threads.
    pub(crate) fn shards(&self) -> Vec<Range<usize>> {
        let target = self.total().div_ceil(SHARDS).max(SHARD_ROWS);
        let mut shards = Vec::with_capacity(SHARDS);
        let mut start = 0;
        for sequence in 0..self.len() {
            let full = self.offsets[sequence + 1] - self.offsets[start] >= target as u32;
            if full || sequence + 1 == self.len() {
                shards.push(start..sequence + 1);
                start = sequence + 1;
            }
        }
        shards
    }

    /// The rows of a shard.
    pub(crate) fn shard_rows(&self, shard: &Range<usize>) -> Range<usize> {
        self.offsets[shard.start] as usize..self.offsets[shard.end] as usize
    }

    /// The lengths of a shard's sequences.
    pub(crate) fn lengths(&self, shard: &Range<usize>) -> impl Iterator<Item = usize> {
        self.offsets[shard.start..=shard.end].windows(2).map(|ends| (ends[1] - ends[0]) as usize)
    }

    /// Takes rows of `width` apart, shard by shard.
    pub(crate) fn split_mut<'a>(
        &self,
        shards: &[Range<usize>],
        width: usize,
        mut rows: &'a mut [f32],
    ) -> Vec<&'a mut [f32]> {
        let parts = shards.iter().map(|shard| {
            let (part, rest) = std::mem::take(&mut rows).split_at_mut(self.shard_rows(shard).len() * width);
            rows = rest;
            part
        });
        parts.collect()
    }

    /// That these are the sequences of `rows` rows.
    pub(crate) fn check(&self, rows: usize) -> candle_core::Result<()> {
        if self.total() != rows {
            candle_core::bail!("sequences of {} rows in all, applied to {rows}", self.total());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_a_partition() {
        for lengths in [vec![], vec![5], vec![1; 5000], vec![51, 3, 400, 1, 1, 900, 20]] {
            let sequences = Sequences::from_lengths(lengths.clone());
            let shards = sequences.shards();
            assert!(shards.len() <= SHARDS);
            let joined: Vec<usize> = shards.iter().cloned().flatten().collect();
            assert_eq!(joined, (0..lengths.len()).collect::<Vec<_>>());
            let all: Vec<usize> = shards.iter().flat_map(|shard| sequences.lengths(shard)).collect();
            assert_eq!(all, lengths);
        }
    }
}
