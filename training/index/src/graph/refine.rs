//! A second look at the lowest layer's links.
//!
//! A builder that inserts rows one by one chooses the links of a row among those that were there before it, found by a walk
//! over a graph that was not finished. Afterwards the true neighbours of every row are cheap to find, by partitions: each
//! row's links are chosen anew among those, the links it has, and the rows that have chosen it, by the rule of the HNSW
//! paper (its algorithm 4): of candidates, the nearest first, one is kept if it is nearer to the row than to any that was
//! kept before. So links lead in different directions, and a walk does not circle within one cluster.

use rayon::prelude::*;

use super::Layer;
use crate::kernels::{Kernels, Scan, Sink};
use crate::mask::Mask;
use crate::partitions::{Partitions, Tour};
use crate::rows::{BLOCK, Query, Rows, width};
use crate::top::Candidates;

/// How far neighbours are looked for, in deviations.
const REACH: f32 = 2.0;
/// Candidates for each link that a row can have.
const CANDIDATES_PER_LINK: usize = 2;
/// Rows that one thread works on at a time.
const CHUNK: usize = 256;

/// Chooses the links of every row anew. `vectors` are padded and of one length, so that the largest inner product is the
/// nearest.
pub(super) fn refine(
    layer: &mut Layer,
    vectors: &[f32],
    rows: &Rows,
    partitions: &Partitions,
    kernels: Kernels,
) {
    let width = vectors.len() / rows.len().max(1);
    let space = Space { vectors, width, kernels };
    let (stride, most) = (layer.stride, layer.stride - 1);
    let mut chosen = vec![0u32; layer.links.len()];
    chosen.par_chunks_mut(CHUNK * stride).enumerate().for_each(|(chunk, nodes)| {
        let mut room = Room::default();
        for (place, node) in nodes.chunks_exact_mut(stride).enumerate() {
            let row = (chunk * CHUNK + place) as u32;
            room.candidates.clear();
            room.candidates.extend_from_slice(layer.of(row));
            neighbours(row, CANDIDATES_PER_LINK * most, rows, partitions, kernels, &mut room.candidates);
            // Half of the places stay for those that choose this row.
            space.choose(row, most / 2, node, &mut room);
        }
    });

    let back = Back::of(&chosen, stride);
    let mut links = vec![0u32; layer.links.len()];
    links.par_chunks_mut(CHUNK * stride).enumerate().for_each(|(chunk, nodes)| {
        let mut room = Room::default();
        for (place, node) in nodes.chunks_exact_mut(stride).enumerate() {
            let row = (chunk * CHUNK + place) as u32;
            let own = &chosen[row as usize * stride..][..stride];
            room.candidates.clear();
            room.candidates.extend_from_slice(&own[1..=own[0] as usize]);
            room.candidates.extend_from_slice(back.of_row(row));
            room.candidates.extend_from_slice(layer.of(row));
            space.choose(row, most, node, &mut room);
        }
    });
    layer.links = links.into();
}

/// Adds about the `count` rows nearest to one.
fn neighbours(
    row: u32,
    count: usize,
    rows: &Rows,
    partitions: &Partitions,
    kernels: Kernels,
    found: &mut Vec<u32>,
) {
    let query = Query::of_padded(rows.padded(row as usize)[..width(rows.dim)].to_vec());
    let mut nearest = Nearest(Candidates::new(count, 0.0));
    let mut tour = Tour::begin(partitions, &query, REACH, 0, kernels);
    let mut wave = Vec::new();
    loop {
        tour.wave(nearest.0.kth(), |partition| wave.push(partition));
        if wave.is_empty() {
            break;
        }
        for partition in wave.drain(..) {
            let range = partitions.rows(partition);
            let scan = Scan { blocks: &rows.blocks, rows: range, mask: Mask::default(), query: &query };
            kernels.scan(&scan, &mut nearest);
        }
    }
    found.extend(nearest.0.finish());
}

/// Keeps the rows of the best 8-bit scores.
struct Nearest(Candidates);

impl Sink for Nearest {
    fn threshold(&self) -> f32 {
        self.0.threshold
    }

    fn take(&mut self, first: usize, mut counting: u16, scores: &[f32; BLOCK]) {
        while counting != 0 {
            let lane = counting.trailing_zeros() as usize;
            counting &= counting - 1;
            self.0.push(scores[lane], (first + lane) as u32);
        }
    }
}

/// What one thread needs.
#[derive(Default)]
struct Room {
    candidates: Vec<u32>,
    scores: Vec<f32>,
    nearest: Vec<(f32, u32)>,
    between: Vec<f32>,
}

struct Space<'a> {
    vectors: &'a [f32],
    width: usize,
    kernels: Kernels,
}

impl Space<'_> {
    fn vector(&self, row: u32) -> &[f32] {
        &self.vectors[row as usize * self.width..][..self.width]
    }

    /// Writes up to `most` of the room's candidates into a row's node.
    fn choose(&self, row: u32, most: usize, node: &mut [u32], room: &mut Room) {
        let Room { candidates, scores, nearest, between } = room;
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|&candidate| candidate != row);
        scores.resize(candidates.len(), 0.0);
        self.kernels.dots(self.vector(row), self.vectors, candidates, scores);
        nearest.clear();
        nearest.extend(scores.iter().copied().zip(candidates.iter().copied()));
        nearest.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        node.fill(0);
        let mut kept = 0;
        for &(score, candidate) in nearest.iter() {
            if kept == most {
                break;
            }
            between.resize(kept, 0.0);
            self.kernels.dots(self.vector(candidate), self.vectors, &node[1..=kept], between);
            if between.iter().all(|&other| other < score) {
                kept += 1;
                node[kept] = candidate;
            }
        }
        // Places that are left go to the nearest of those that were passed over.
        for &(_, candidate) in nearest.iter() {
            if kept == most {
                break;
            }
            if !node[1..=kept].contains(&candidate) {
                kept += 1;
                node[kept] = candidate;
            }
        }
        node[0] = kept as u32;
    }
}

/// The rows that chose each row.
struct Back {
    starts: Vec<usize>,
    rows: Vec<u32>,
}

impl Back {
    fn of(chosen: &[u32], stride: usize) -> Self {
        let links = |node: &[u32]| 1..=node[0] as usize;
        let mut starts = vec![0; chosen.len() / stride + 1];
        for node in chosen.chunks_exact(stride) {
            node[links(node)].iter().for_each(|&to| starts[to as usize + 1] += 1);
        }
        for row in 1..starts.len() {
            starts[row] += starts[row - 1];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; starts[starts.len() - 1]];
        for (row, node) in chosen.chunks_exact(stride).enumerate() {
            for &to in &node[links(node)] {
                rows[next[to as usize]] = row as u32;
                next[to as usize] += 1;
            }
        }
        Self { starts, rows }
    }

    fn of_row(&self, row: u32) -> &[u32] {
        &self.rows[self.starts[row as usize]..self.starts[row as usize + 1]]
    }
}
