//! The item tower over the items of a batch: forward, and backward down to the rows of the tables.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use rayon::prelude::*;

use super::batch::Batch;
use crate::{
    Dropout, TowersConfig,
    kernels::{
        feed_forward::{self, FeedForward},
        math::add_groups,
        matmul::{Matrix, MatrixMut, Write, matmul},
        norm::{unit_rows, unit_rows_backward},
        sized,
    },
};

/// The item tower's parameters.
pub(super) struct ItemTower<'a> {
    config: &'a TowersConfig,
    /// shop_vector × dim.
    projection: Option<&'a [f32]>,
    feed_forward: Option<(FeedForward<'a>, feed_forward::Transposed)>,
}

/// Items at a time.
const CHUNK: usize = 256;
/// The most runs of chunks whose gradients are summed in one place.
const LANES: usize = 16;

/// What is kept of the forward pass, and buffers.
#[derive(Default)]
pub(super) struct ItemBuffers {
    /// Sums of the parts: items × dim.
    sums: Vec<f32>,
    /// What comes out, before its length is made 1; where there is a feed-forward layer.
    out: Vec<f32>,
    /// Unit rows: items × dim.
    pub(super) vectors: Vec<f32>,
    /// Gradients of the parameters, lane by lane.
    lanes: Vec<Vec<Vec<f32>>>,
    scratch: Mutex<Vec<Scratch>>,
}

/// What a chunk is worked on in. A thread takes the same ones from chunk to chunk, so that they stay in its cache.
#[derive(Default)]
struct Scratch {
    trace: feed_forward::Trace,
    feed_forward: feed_forward::Scratch,
    grad: Vec<f32>,
}

impl<'a> ItemTower<'a> {
    /// `dense`: the item tower's groups.
    pub(super) fn new(config: &'a TowersConfig, dense: &'a [Vec<f32>]) -> Self {
        let mut groups = dense.iter();
        let mut next = || groups.next().map_or(&[][..], Vec::as_slice);
        let projection = (config.shop_vector > 0).then(&mut next);
        let feed_forward = (config.item_hidden > 0).then(|| {
            let layer = FeedForward::new(next(), config.dim, config.item_hidden);
            let mut transposed = feed_forward::Transposed::default();
            layer.transpose(&mut transposed);
            (layer, transposed)
        });
        Self { config, projection, feed_forward }
    }

    /// Fills `buffers.vectors`; `rows`: what was gathered from the tables.
    pub(super) fn forward(&self, batch: &Batch, rows: &[f32], buffers: &mut ItemBuffers) {
        let (d, items) = (self.config.dim, batch.parts.items.len());
        let ItemBuffers { sums, out, vectors, scratch, .. } = buffers;
        let with_layer = self.feed_forward.is_some();
        let out_numbers = if with_layer { items * d } else { 0 };
        let (sums, out) = (sized(sums, items * d), sized(out, out_numbers));
        vectors.resize(items * d, 0.0);
        let lane_items = lane_items(items);
        let parts = sums.par_chunks_mut(lane_items * d).zip(vectors.par_chunks_mut(lane_items * d));
        let outs = out
            .par_chunks_mut(lane_items * d)
            .map(Some)
            .chain(rayon::iter::repeat_n((), LANES).map(|()| None));
        let run = |lane: usize, sums: &mut [f32], vectors: &mut [f32], mut out: Option<&mut [f32]>| {
            let mut own = take(scratch);
            for chunk in chunks(sums.len() / d) {
                let first = lane * lane_items + chunk.start;
                let numbers = chunk.start * d..chunk.end * d;
                let sums = &mut sums[numbers.clone()];
                batch.parts.items.apply(rows, d, first, sums);
                if let Some(weight) = self.projection {
                    let width = self.config.shop_vector;
                    let constants = &batch.parts.shop_vectors[first * width..(first + chunk.len()) * width];
                    let constants = Matrix::new(constants, chunk.len(), width);
                    let sums = MatrixMut::new(sums, chunk.len(), d);
                    matmul(sums, Write::Add, 1.0, constants, Matrix::new(weight, width, d));
                }
                let raw: &[f32] = match (&self.feed_forward, &mut out) {
                    (Some((layer, _)), Some(out)) => {
                        let out = &mut out[numbers.clone()];
                        layer.forward(sums, first, Dropout::NONE, &mut own.trace, out);
                        out
                    }
                    _ => sums,
                };
                unit_rows(raw, d, &mut vectors[numbers]);
            }
            give_back(scratch, own);
        };
        let work = parts.zip(outs).enumerate();
        work.for_each(|(lane, ((sums, vectors), out))| run(lane, sums, vectors, out));
    }

    /// From the gradient of the vectors, which `gradient_of` adds up for a run of items, that of the sums (`dsums`,
    /// items × dim) and of the parameters (`dense`).
    pub(super) fn backward(
        &self,
        batch: &Batch,
        gradient_of: impl Fn(Range<usize>, &mut [f32]) + Sync,
        buffers: &mut ItemBuffers,
        dsums: &mut [f32],
        dense: &mut [Vec<f32>],
    ) {
        let (d, items) = (self.config.dim, batch.parts.items.len());
        let ItemBuffers { sums, out, lanes, scratch, .. } = buffers;
        lanes.resize_with(LANES, Vec::new);
        let lane_items = lane_items(items);
        let run = |lane: usize, dsums: &mut [f32], gradients: &mut Vec<Vec<f32>>| {
            let mut own = take(scratch);
            gradients.resize(dense.len(), Vec::new());
            for (gradient, group) in gradients.iter_mut().zip(dense.iter()) {
                gradient.clear();
                gradient.resize(group.len(), 0.0);
            }
            for chunk in chunks(dsums.len() / d) {
                let first = lane * lane_items + chunk.start;
                let all = first..first + chunk.len();
                let numbers = all.start * d..all.end * d;
                let dvectors = sized(&mut own.grad, chunk.len() * d);
                gradient_of(all.clone(), dvectors);
                let dsums = &mut dsums[chunk.start * d..chunk.end * d];
                let raw =
                    if self.feed_forward.is_some() { &out[numbers.clone()] } else { &sums[numbers.clone()] };
                unit_rows_backward(raw, d, dvectors, dsums);
                let mut dense = gradients.iter_mut().rev();
                if let (Some((layer, transposed)), Some(dparameters)) =
                    (&self.feed_forward, self.feed_forward.as_ref().and_then(|_| dense.next()))
                {
                    // Made again, which is cheaper than to have kept it.
                    let x = &sums[numbers];
                    layer.inner(x, first, Dropout::NONE, &mut own.trace);
                    let (trace, scratch) = (&own.trace, &mut own.feed_forward);
                    layer.backward(x, first, Dropout::NONE, trace, transposed, scratch, dsums, dparameters);
                }
                if let (Some(_), Some(dweight)) = (self.projection, dense.next()) {
                    let width = self.config.shop_vector;
                    let constants = &batch.parts.shop_vectors[all.start * width..all.end * width];
                    let constants = Matrix::new(constants, chunk.len(), width);
                    let dsums = Matrix::new(dsums, chunk.len(), d);
                    matmul(MatrixMut::new(dweight, width, d), Write::Add, 1.0, constants.t(), dsums);
                }
            }
            give_back(scratch, own);
        };
        let work = dsums.par_chunks_mut(lane_items * d).zip(lanes.par_iter_mut()).enumerate();
        work.for_each(|(lane, (dsums, gradients))| run(lane, dsums, gradients));
        for lane in &lanes[..items.div_ceil(lane_items)] {
            add_groups(dense, lane);
        }
    }
}

fn take(scratch: &Mutex<Vec<Scratch>>) -> Scratch {
    scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

fn give_back(scratch: &Mutex<Vec<Scratch>>, own: Scratch) {
    scratch.lock().unwrap_or_else(PoisonError::into_inner).push(own);
}

/// Items of a lane: a function of how many there are alone.
fn lane_items(items: usize) -> usize {
    items.div_ceil(LANES).max(64)
}

fn chunks(items: usize) -> impl Iterator<Item = Range<usize>> {
    (0..items).step_by(CHUNK).map(move |start| start..(start + CHUNK).min(items))
}
