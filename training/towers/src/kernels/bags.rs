//! Weighted sums of rows: how ids, words and histories are looked up.

use super::{math::add_scaled, simd};

/// A sparse matrix, row by row: bag o is a list of (input row, weight). Applied to inputs `x`, bag o
/// gives `Σ weight · x[row]`. A lookup is a bag of one row; a mean of n words, n rows of weight 1/n.
///
/// ```
/// let mut bags = endcap_towers::Bags::new(3);
/// bags.add(0, 0.5);
/// bags.add(2, 0.5);
/// bags.close();
/// // One bag over rows of two numbers: the mean of the first row and the third.
/// assert_eq!(bags.sums(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], 2), [2.0, 20.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Bags {
    inputs: usize,
    offsets: Vec<u32>,
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Bags {
    /// No bags yet, over `inputs` input rows.
    pub fn new(inputs: usize) -> Self {
        Self { inputs, offsets: vec![0], rows: Vec::new(), weights: Vec::new() }
    }

    /// Adds a row to the bag that is being filled.
    ///
    /// # Panics
    /// When there is no such input row.
    pub fn add(&mut self, row: u32, weight: f32) {
        assert!((row as usize) < self.inputs, "row {row} of {}", self.inputs);
        self.rows.push(row);
        self.weights.push(weight);
    }

    /// Closes the bag that is being filled, and begins the next.
    pub fn close(&mut self) {
        self.offsets.push(self.rows.len() as u32);
    }

    /// Bags closed.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether no bag is closed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Input rows.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// `bags` bags over `inputs` rows, of entries in any order: bag, row, weight.
    pub(crate) fn grouped(inputs: usize, bags: usize, entries: &[(u32, u32, f32)]) -> Self {
        let mut offsets = vec![0u32; bags + 1];
        entries.iter().for_each(|&(bag, ..)| offsets[bag as usize + 1] += 1);
        (0..bags).for_each(|bag| offsets[bag + 1] += offsets[bag]);
        let mut next = offsets.clone();
        let (mut rows, mut weights) = (vec![0; entries.len()], vec![0.0; entries.len()]);
        for &(bag, row, weight) in entries {
            let place = &mut next[bag as usize];
            (rows[*place as usize], weights[*place as usize]) = (row, weight);
            *place += 1;
        }
        Self { inputs, offsets, rows, weights }
    }

    /// Every entry, bag after bag: its bag, its row, its weight.
    pub(crate) fn entries(&self) -> (Vec<u32>, &[u32], &[f32]) {
        let of = |(bag, ends): (u32, &[u32])| std::iter::repeat_n(bag, (ends[1] - ends[0]) as usize);
        ((0..).zip(self.offsets.windows(2)).flat_map(of).collect(), &self.rows, &self.weights)
    }

    /// The transposed matrix: for each input row, the bags that it is in, in their order.
    pub(crate) fn transpose(&self) -> Self {
        let mut entries = Vec::with_capacity(self.rows.len());
        for (bag, ends) in (0..).zip(self.offsets.windows(2)) {
            let own = ends[0] as usize..ends[1] as usize;
            let own = self.rows[own.clone()].iter().zip(&self.weights[own]);
            entries.extend(own.map(|(&row, &weight)| (row, bag, weight)));
        }
        Self::grouped(self.len(), self.inputs, &entries)
    }

    /// Every bag of `x` (inputs × d): bags × d.
    ///
    /// # Panics
    /// When `x` has not [`Self::inputs`] rows.
    pub fn sums(&self, x: &[f32], d: usize) -> Vec<f32> {
        assert_eq!(x.len(), self.inputs * d, "rows of {d}");
        let mut out = vec![0.0; self.len() * d];
        self.apply(x, d, 0, &mut out);
        out
    }

    /// Bags `first..` of `x` (inputs × d) into `out` (bags × d).
    pub(crate) fn apply(&self, x: &[f32], d: usize, first: usize, out: &mut [f32]) {
        out.fill(0.0);
        self.add_to(x, d, first, out);
    }

    /// Bags `first..` of `x` (inputs × d), added to `out` (bags × d).
    pub(crate) fn add_to(&self, x: &[f32], d: usize, first: usize, out: &mut [f32]) {
        simd(
            #[inline(always)]
            || {
                for (out, ends) in out.chunks_exact_mut(d).zip(self.offsets[first..].windows(2)) {
                    let entries = ends[0] as usize..ends[1] as usize;
                    for (&row, &weight) in self.rows[entries.clone()].iter().zip(&self.weights[entries]) {
                        add_scaled(out, &x[row as usize * d..][..d], weight);
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bag_is_a_weighted_sum_and_its_transpose_the_way_back() {
        let mut bags = Bags::new(3);
        bags.add(2, 1.0);
        bags.add(0, 0.5);
        bags.close();
        bags.close();
        bags.add(2, 2.0);
        bags.close();
        let x = [1.0, 10.0, 2.0, 20.0, 4.0, 40.0];
        let mut out = [9.0; 6];
        bags.apply(&x, 2, 0, &mut out);
        assert_eq!(out, [4.5, 45.0, 0.0, 0.0, 8.0, 80.0]);
        let mut back = [0.0; 3];
        bags.transpose().apply(&[1.0, 10.0, 100.0], 1, 0, &mut back);
        assert_eq!(back, [0.5, 0.0, 201.0]);
        assert_eq!(bags.transpose().transpose().inputs, 3);
    }
}
