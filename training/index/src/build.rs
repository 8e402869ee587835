//! From labels and vectors to a base segment: partitions, order, codes, graph.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster;
use crate::graph::Graph;
use crate::kernels::Kernels;
use crate::partitions::{Partitioned, Partitions};
use crate::places::Places;
use crate::rows::{Rows, by_row, width};
use crate::snapshot::Base;
use crate::{IndexConfig, IndexError, Plan};

/// What a base is made from.
pub(crate) struct Source<'a> {
    pub(crate) labels: Vec<u64>,
    /// Padded.
    pub(crate) vectors: Cow<'a, [f32]>,
    pub(crate) dim: usize,
    /// The partitions of a base before, and the partition there of the first rows.
    pub(crate) known: Option<(&'a Partitions, Vec<u32>)>,
}

/// A base, and how its rows lie.
pub(crate) struct Built {
    pub(crate) base: Base,
    pub(crate) plan: Plan,
    /// The place in the base of each row of the source; the same where there is none.
    pub(crate) inverse: Option<Vec<u32>>,
}

impl Base {
    /// # Errors
    /// [`IndexError::DuplicateLabel`], [`IndexError::Graph`].
    pub(crate) fn build(
        source: Source<'_>,
        config: Arc<IndexConfig>,
        kernels: Kernels,
    ) -> Result<Built, IndexError> {
        let Source { mut labels, mut vectors, dim, known } = source;
        let items = labels.len();
        let mut places = Places::of(&labels)?;
        let (mut partitions, mut inverse) = (None, None);
        if items >= config.scan_below.max(1) {
            let made = partition(&vectors, dim, known, kernels, config.seed);
            labels = made.order.iter().map(|&row| labels[row as usize]).collect();
            vectors = in_order(&vectors, width(dim), &made.order).into();
            let mut back = vec![0; items];
            for (row, &former) in made.order.iter().enumerate() {
                back[former as usize] = row as u32;
            }
            places.reorder(&back);
            (partitions, inverse) = (Some(made.partitions), Some(back));
        }
        let rows = Rows::of(dim, labels, vectors.into_owned());
        let (mut graph, mut graph_refused) = (None, None);
        if let Some(partitions) = partitions.as_ref().filter(|_| rows.len() >= config.graph.from_items) {
            graph_refused = Graph::refusal(rows.len(), dim, &config);
            if graph_refused.is_none() {
                graph = Some(Graph::build(&rows, partitions, &config.graph, kernels)?);
            }
        }
        let codes = by_row(&rows).into();
        let base =
            Self { generation: next_generation(), rows, codes, places, partitions, graph, config, kernels };
        let plan = base.plan(None, graph_refused);
        Ok(Built { base, plan, inverse })
    }
}

/// A number that no other base of this process has.
pub(crate) fn next_generation() -> u64 {
    static GENERATIONS: AtomicU64 = AtomicU64::new(1);
    GENERATIONS.fetch_add(1, Ordering::Relaxed)
}

/// Partitions of the vectors: with centres of their own, or those of the base before where it was of a like size. Then
/// rows that came from there stay where they were, and the others go to the nearest.
fn partition(
    vectors: &[f32],
    dim: usize,
    known: Option<(&Partitions, Vec<u32>)>,
    kernels: Kernels,
    seed: u64,
) -> Partitioned {
    let width = width(dim);
    let rows = vectors.len() / width;
    match known {
        Some((before, mut assigned))
            if rows < 2 * before.trained_on && before.trained_on < 2 * rows && assigned.len() <= rows =>
        {
            let newer = &vectors[assigned.len() * width..];
            assigned.extend(cluster::assign(newer, &cluster::to_directions(&before.centres), kernels));
            Partitions::of(vectors, dim, &assigned, before.len(), before.trained_on)
        }
        _ => Partitions::build(vectors, dim, kernels, seed),
    }
}

fn in_order(vectors: &[f32], width: usize, order: &[u32]) -> Vec<f32> {
    use rayon::prelude::*;
    let mut ordered = vec![0.0; vectors.len()];
    ordered.par_chunks_exact_mut(width).zip(order).for_each(|(to, &row)| {
        to.copy_from_slice(&vectors[row as usize * width..][..width]);
    });
    ordered
}
