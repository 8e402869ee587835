//! The HNSW graph (Malkov & Yashunin, 2016, arXiv:1603.09320): built by hnsw_rs, then frozen into flat arrays of ours and
//! walked over 8-bit rows.
//!
//! hnsw_rs never searches, dumps or reloads here. Its search follows pointers through nodes scattered over the heap, and
//! its reader trusts the lengths in a file (and ends the process on some); the frozen copy is a few arrays that any file
//! can hold and any reader can check. Parameters are checked before the crate sees them, and its distance is clamped: it
//! asserts that none is below zero.
//!
//! The builder needs a metric where we want the largest inner product. Vectors are therefore given one more number,
//! which brings them all to the norm of the longest (Bachrach et al., 2014): then the nearest by angle is the largest by
//! inner product. Unit vectors go in as they are.
//!
//! What the builder links is then [refined](refine).

mod refine;
mod walk;

use std::borrow::Cow;

use hnsw_rs::prelude::{Distance, Hnsw};
use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::kernels::Kernels;
use crate::partitions::Partitions;
use crate::rows::Rows;
use crate::{GraphConfig, IndexConfig, IndexError};

/// Layers above this many are not made: at 4 links a node, fewer than one in 10⁹ reaches them.
const MAX_LAYERS: usize = 16;
/// What hnsw_rs takes for each item while it builds, beside the vector.
const BUILD_BYTES: u64 = 3_000;
/// Rows inserted one after another before threads join in: threads that start on an empty graph cannot see each other's
/// rows, and leave islands.
const FIRST_SERIAL: usize = 1_000;

/// Links between rows, on one lowest layer of all rows and thinner ones above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Graph {
    /// Where every walk begins.
    pub(crate) entry: u32,
    pub(crate) lowest: Layer,
    /// From layer 1 upwards.
    pub(crate) upper: Vec<Layer>,
}

/// One layer: for each of its rows, how many links it has and where they lead, in `stride` numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The rows on it, ascending; all rows where empty.
    pub(crate) rows: Buffer<u32>,
    pub(crate) stride: usize,
    pub(crate) links: Buffer<u32>,
}

// === impl Layer ===

impl Layer {
    fn new(rows: Vec<u32>, count: usize, most: usize) -> Self {
        Self { rows: rows.into(), stride: most + 1, links: vec![0; count * (most + 1)].into() }
    }

    fn place(&self, row: u32) -> Option<usize> {
        if self.rows.is_empty() { Some(row as usize) } else { self.rows.binary_search(&row).ok() }
    }

    fn of(&self, row: u32) -> &[u32] {
        self.place(row).map_or(&[], |place| {
            let node = &self.links[place * self.stride..][..self.stride];
            &node[1..][..node[0] as usize]
        })
    }

    fn add(&mut self, row: u32, to: u32) {
        let Some(place) = self.place(row) else { return };
        let node = &mut self.links.owned_mut()[place * self.stride..][..self.stride];
        let count = node[0] as usize;
        if count + 1 < node.len() && to != row && !node[1..=count].contains(&to) {
            node[count + 1] = to;
            node[0] += 1;
        }
    }

    fn check(&self, rows: usize) -> Result<(), String> {
        if self.stride == 0 {
            return Err("a layer's rows have no room for links".into());
        }
        if !self.rows.is_sorted_by(|a, b| a < b) || self.rows.last().is_some_and(|&row| row as usize >= rows)
        {
            return Err("a layer's rows are out of order or out of range".into());
        }
        let nodes = if self.rows.is_empty() { rows } else { self.rows.len() };
        if self.links.len() != nodes * self.stride {
            return Err(format!("a layer of {nodes} rows has {} numbers", self.links.len()));
        }
        let astray = |node: &[u32]| {
            let count = node[0] as usize;
            count >= self.stride || node[1..=count].iter().any(|&to| to as usize >= rows)
        };
        if self.links.par_chunks_exact(self.stride).any(astray) {
            return Err("a link leads nowhere".into());
        }
        Ok(())
    }
}

// === impl Graph ===

impl Graph {
    pub(crate) fn bytes(&self) -> usize {
        let layers = self.upper.iter().chain([&self.lowest]);
        layers.map(|layer| size_of_val(&*layer.rows) + size_of_val(&*layer.links)).sum()
    }

    /// Whether every link of a graph over `rows` rows leads somewhere.
    pub(crate) fn check(&self, rows: usize) -> Result<(), String> {
        if self.entry as usize >= rows {
            return Err(format!("the graph begins at row {} of {rows}", self.entry));
        }
        self.upper.iter().chain([&self.lowest]).try_for_each(|layer| layer.check(rows))
    }

    /// Why a graph of that many items is not built, where it is not.
    pub(crate) fn refusal(items: usize, dim: usize, config: &IndexConfig) -> Option<String> {
        let needed = items as u64 * (BUILD_BYTES + 4 * dim as u64);
        let (needed_mib, limit_mib) = (needed >> 20, config.build_memory >> 20);
        (needed > config.build_memory).then(|| {
            format!(
                "a graph over {items} items takes some {needed_mib} MiB while it is built, index.build_memory allows \
                 {limit_mib} MiB: partitions and scans serve without"
            )
        })
    }

    /// Built by hnsw_rs, then refined with the neighbours that partitions find.
    pub(crate) fn build(
        rows: &Rows,
        partitions: &Partitions,
        config: &GraphConfig,
        kernels: Kernels,
    ) -> Result<Self, IndexError> {
        let (padded, radius) = equal_norms(rows);
        let distance = Angle { kernels, inverse: 1.0 / (radius * radius).max(f32::MIN_POSITIVE) };
        let (most, width) = (config.neighbours, padded.len() / rows.len());
        let builder = Hnsw::new(most, rows.len(), MAX_LAYERS, config.construction, distance);
        let items: Vec<(&[f32], usize)> = padded.chunks_exact(width).zip(0..).collect();
        let (first, rest) = items.split_at(items.len().min(FIRST_SERIAL));
        for &item in first {
            builder.insert_slice(item);
        }
        builder.parallel_insert_slice(&rest.to_vec());

        let points = builder.get_point_indexation();
        let layers = usize::from(builder.get_max_level_observed()) + 1;
        let mut on_layer = vec![Vec::new(); layers];
        let mut neighbours = Vec::with_capacity(rows.len());
        for layer in 0..layers {
            for point in points.get_layer_iterator(layer) {
                let row = point.get_origin_id() as u32;
                for rows in &mut on_layer[1..=layer] {
                    rows.push(row);
                }
                neighbours.push((row, layer, point.get_neighborhood_id()));
            }
        }
        if neighbours.len() != rows.len() {
            return Err(IndexError::Graph { expected: rows.len(), found: neighbours.len() });
        }
        let upper = on_layer.drain(1..).map(|mut on| {
            on.sort_unstable();
            let count = on.len();
            Layer::new(on, count, most)
        });
        let mut graph =
            Self { entry: 0, upper: upper.collect(), lowest: Layer::new(Vec::new(), rows.len(), 2 * most) };
        graph.entry = graph.upper.last().map_or(0, |highest| highest.rows[0]);
        // A row's own links first; then, where there is room, the way back of every link, which the builder forgets
        // when a row's list is full at the time.
        for back in [false, true] {
            for (row, layer, lists) in &neighbours {
                for (level, list) in lists.iter().enumerate().take(layer + 1) {
                    let at = if level == 0 { &mut graph.lowest } else { &mut graph.upper[level - 1] };
                    for to in list.iter().map(|neighbour| neighbour.d_id as u32) {
                        let (from, to) = if back { (to, *row) } else { (*row, to) };
                        at.add(from, to);
                    }
                }
            }
        }
        refine::refine(&mut graph.lowest, &padded, rows, partitions, kernels);
        Ok(graph)
    }
}

/// `1 − cos`, never below zero, of vectors of one norm.
struct Angle {
    kernels: Kernels,
    /// One over the norm squared.
    inverse: f32,
}

impl Distance<f32> for Angle {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - self.kernels.dot(a, b) * self.inverse).max(0.0)
    }
}

/// The vectors, padded, with one more number each that brings them to the norm of the longest; and that norm.
fn equal_norms(rows: &Rows) -> (Cow<'_, [f32]>, f32) {
    let squares: Vec<f32> =
        (0..rows.len()).map(|row| rows.vector(row).iter().map(|x| x * x).sum::<f32>()).collect();
    let largest = squares.iter().fold(0.0f32, |largest, &square| largest.max(square));
    let radius = largest.sqrt();
    if squares.iter().all(|&square| square >= largest * 0.999) {
        return (Cow::Borrowed(&rows.vectors), radius);
    }
    let width = crate::rows::width(rows.dim + 1);
    let mut padded = vec![0.0; rows.len() * width];
    for (row, out) in padded.chunks_exact_mut(width).enumerate() {
        out[..rows.dim].copy_from_slice(rows.vector(row));
        out[rows.dim] = (largest - squares[row]).max(0.0).sqrt();
    }
    (padded.into(), radius)
}
