//! The user tower over one chunk of a batch: forward, loss, backward, in one go.
//!
//! What a chunk makes on the way fits a core's cache, and is used up before the next chunk begins.

use super::{
    batch::{Batch, Chunk, Entry, item_scale},
    context::ContextRows,
};
use crate::{
    Dropout, Encoder, TowersConfig,
    kernels::{
        attention::{self, SelfAttention},
        feed_forward::{self, FeedForward},
        gru::{self, Gru},
        math::{add, add_scaled},
        norm::{layer_norm, layer_norm_backward, unit_rows, unit_rows_backward},
        simd, sized,
        softmax::{self, Candidates, Cases, Loss},
    },
};

/// The user tower's parameters, ready for both ways.
pub(super) struct UserTower<'a> {
    config: &'a TowersConfig,
    context: &'a [f32],
    blocks: Vec<Block<'a>>,
    norm: &'a [f32],
}

struct Block<'a> {
    mixer: Option<Mixer<'a>>,
    feed_forward: (FeedForward<'a>, feed_forward::Transposed),
}

/// The part of a block in which the rows of a history see each other.
enum Mixer<'a> {
    Attention(SelfAttention<'a>, attention::Transposed),
    Gru(Gru<'a>, gru::Transposed),
}

/// Where one run of chunks after the other leaves its gradients.
#[derive(Default)]
pub(super) struct Lane {
    /// Of the user tower's parameters, group by group.
    pub(super) dense: Vec<Vec<f32>>,
    /// Of the candidates' vectors; of an earlier step's while they are `fresh`.
    pub(super) candidates: Vec<f32>,
    fresh: bool,
    pub(super) loss: Loss,
}

/// What a chunk is worked on in. A thread takes the same ones from chunk to chunk, so that they stay in its cache.
#[derive(Default)]
pub(super) struct Buffers {
    input: Vec<f32>,
    /// Means of the histories, of the mean-pool encoder, and the sum that they are made from.
    pooled: Vec<f32>,
    sum: Vec<f32>,
    blocks: Vec<BlockBuffers>,
    /// The rows of the cases: where they are, and what they are before the last norm.
    asked: Vec<f32>,
    asked_rows: Vec<u32>,
    normal: Vec<f32>,
    dunit: Vec<f32>,
    dnormal: Vec<f32>,
    dasked: Vec<f32>,
    grad: Vec<f32>,
    attention: attention::Scratch,
    gru: gru::Scratch,
    feed_forward: feed_forward::Scratch,
    softmax: softmax::Scratch,
}

#[derive(Default)]
struct BlockBuffers {
    attention: attention::Trace,
    gru: gru::Trace,
    middle: Vec<f32>,
    feed_forward: feed_forward::Trace,
    out: Vec<f32>,
}

/// What all chunks of a step read.
pub(super) struct Shared<'a> {
    pub(super) batch: &'a Batch,
    /// The batch's items: unit rows.
    pub(super) items: &'a [f32],
    pub(super) candidates: &'a Candidates,
    pub(super) dropout: Dropout,
}

impl<'a> UserTower<'a> {
    /// `dense`: the user tower's groups.
    pub(super) fn new(config: &'a TowersConfig, dense: &'a [Vec<f32>]) -> Self {
        let mut groups = dense.iter();
        let mut next = || groups.next().map_or(&[][..], Vec::as_slice);
        let context = next();
        let blocks = (0..config.blocks).map(|_| {
            let mixer = match config.encoder {
                Encoder::MeanPool => None,
                Encoder::Transformer => {
                    let layer = SelfAttention::new(next(), config.dim, config.heads);
                    let mut transposed = attention::Transposed::default();
                    layer.transpose(&mut transposed);
                    Some(Mixer::Attention(layer, transposed))
                }
                Encoder::Gru => {
                    let layer = Gru::new(next(), config.dim);
                    let mut transposed = gru::Transposed::default();
                    layer.transpose(&mut transposed);
                    Some(Mixer::Gru(layer, transposed))
                }
            };
            let layer = FeedForward::new(next(), config.dim, config.hidden);
            let mut transposed = feed_forward::Transposed::default();
            layer.transpose(&mut transposed);
            Block { mixer, feed_forward: (layer, transposed) }
        });
        let blocks = blocks.collect();
        Self { config, context, blocks, norm: next() }
    }

    /// Forward, loss and backward of one chunk. `users` (cases × dim) receives the user vectors; `dinput` the gradient of
    /// what entered, to be passed on to the items ([`Chunk::gradients`] × dim); the rest is added to the lane's.
    pub(super) fn chunk(
        &self,
        shared: &Shared<'_>,
        chunk: &Chunk,
        lane: &mut Lane,
        buffers: &mut Buffers,
        users: &mut [f32],
        dinput: &mut [f32],
    ) {
        if chunk.cases.is_empty() {
            dinput.fill(0.0);
            return;
        }
        self.forward(shared, chunk, buffers, users);
        let d = self.config.dim;
        let asked = chunk.cases.len();
        let dunit = sized(&mut buffers.dunit, asked * d);
        let cases = Cases {
            x: users,
            targets: &shared.batch.targets[chunk.cases.clone()],
            shares: &shared.batch.shares[chunk.cases.clone()],
            asked: &shared.batch.asked,
            first: chunk.cases.start,
        };
        let Lane { candidates, fresh, .. } = lane;
        let loss =
            shared.candidates.loss(shared.items, &cases, &mut buffers.softmax, dunit, candidates, fresh);
        lane.loss.value += loss.value;
        lane.loss.scale += loss.scale;
        self.backward(shared, chunk, lane, buffers, dinput);
    }

    fn forward(&self, shared: &Shared<'_>, chunk: &Chunk, own: &mut Buffers, users: &mut [f32]) {
        let (config, d, rows) = (self.config, self.config.dim, chunk.rows.len());
        let asked = chunk.cases.len();
        let Shared { batch, dropout, .. } = *shared;
        let lengths = &batch.lengths[chunk.sequences.clone()];
        own.blocks.resize_with(config.blocks, BlockBuffers::default);
        own.asked_rows.clear();
        let cases = &batch.parts.cases[chunk.cases.clone()];
        own.asked_rows.extend(cases.iter().map(|case| case.row - chunk.rows.start as u32));
        let mean_pool = config.encoder == Encoder::MeanPool;
        let input = sized(&mut own.input, if mean_pool { 0 } else { rows * d });
        let pooled = sized(&mut own.pooled, if mean_pool { asked * d } else { 0 });
        if mean_pool {
            let sum = sized(&mut own.sum, d);
            self.pool(shared, chunk, &mut own.asked_rows, sum, pooled);
            dropout.apply(chunk.cases.start * d, pooled);
        } else {
            self.inputs(shared, chunk, input);
            dropout.apply(chunk.rows.start * d, input);
        }
        for (number, block) in self.blocks.iter().enumerate() {
            let (done, rest) = own.blocks.split_at_mut(number);
            let BlockBuffers { attention, gru, middle, feed_forward, out } = &mut rest[0];
            let dropout = |part: u64| dropout.layer(4 * (number as u64 + 1) + part);
            if let Some(mixer) = &block.mixer {
                let x = done.last().map_or(&*input, |before| &before.out[..rows * d]);
                let (middle, first) = (sized(middle, rows * d), chunk.rows.start);
                match mixer {
                    Mixer::Attention(layer, _) => {
                        layer.forward(x, lengths, first, dropout(0), attention, middle);
                    }
                    Mixer::Gru(layer, _) => layer.forward(x, lengths, first, dropout(0), gru, middle),
                }
                let layer = &block.feed_forward.0;
                layer.forward(middle, chunk.rows.start, dropout(1), feed_forward, sized(out, rows * d));
            } else {
                let x = done.last().map_or(&*pooled, |before| &before.out[..asked * d]);
                let layer = &block.feed_forward.0;
                layer.forward(x, chunk.cases.start, dropout(1), feed_forward, sized(out, asked * d));
            }
        }
        let asked_rows = sized(&mut own.asked, asked * d);
        let last = own.blocks.last().map_or(&*input, |block| &block.out);
        if mean_pool {
            asked_rows.copy_from_slice(&last[..asked * d]);
        } else {
            for (out, &row) in asked_rows.chunks_exact_mut(d).zip(&own.asked_rows) {
                out.copy_from_slice(&last[row as usize * d..][..d]);
            }
        }
        let (gain, bias) = self.norm.split_at(d);
        let normal = sized(&mut own.normal, asked * d);
        layer_norm(asked_rows, gain, bias, normal);
        unit_rows(normal, d, users);
    }

    fn backward(
        &self,
        shared: &Shared<'_>,
        chunk: &Chunk,
        lane: &mut Lane,
        own: &mut Buffers,
        dinput: &mut [f32],
    ) {
        let (config, d, rows) = (self.config, self.config.dim, chunk.rows.len());
        let asked = chunk.cases.len();
        let Shared { batch, dropout, .. } = *shared;
        let lengths = &batch.lengths[chunk.sequences.clone()];
        let dnormal = sized(&mut own.dnormal, asked * d);
        unit_rows_backward(&own.normal[..asked * d], d, &own.dunit[..asked * d], dnormal);
        let dasked = sized(&mut own.dasked, asked * d);
        dasked.fill(0.0);
        let (gain, _) = self.norm.split_at(d);
        let (dcontext, rest) = lane.dense.split_at_mut(1);
        let (dblocks, dnorm) = rest.split_at_mut(rest.len() - 1);
        let (dgain, dbias) = dnorm[0].split_at_mut(d);
        layer_norm_backward(&own.asked[..asked * d], gain, dnormal, dasked, dgain, dbias);
        let mean_pool = config.encoder == Encoder::MeanPool;
        let grad: &mut [f32] = if mean_pool {
            dasked
        } else {
            let grad = sized(&mut own.grad, rows * d);
            grad.fill(0.0);
            for (dasked, &row) in dasked.chunks_exact(d).zip(&own.asked_rows) {
                let grad = &mut grad[row as usize * d..][..d];
                grad.iter_mut().zip(dasked).for_each(|(grad, &dasked)| *grad += dasked);
            }
            grad
        };
        let mut dblocks = dblocks.iter_mut().rev();
        for (number, block) in self.blocks.iter().enumerate().rev() {
            let dropout = |part: u64| dropout.layer(4 * (number as u64 + 1) + part);
            let (done, rest) = own.blocks.split_at(number);
            let buffers = &rest[0];
            let (layer, transposed) = &block.feed_forward;
            let (Some(dparameters), scratch) = (dblocks.next(), &mut own.feed_forward) else { return };
            let trace = &buffers.feed_forward;
            let Some(mixer) = &block.mixer else {
                let x = done.last().map_or(&own.pooled[..asked * d], |before| &before.out[..asked * d]);
                layer.backward(
                    x,
                    chunk.cases.start,
                    dropout(1),
                    trace,
                    transposed,
                    scratch,
                    grad,
                    dparameters,
                );
                continue;
            };
            let x = &buffers.middle[..rows * d];
            layer.backward(x, chunk.rows.start, dropout(1), trace, transposed, scratch, grad, dparameters);
            let x = done.last().map_or(&own.input[..rows * d], |before| &before.out[..rows * d]);
            let Some(dparameters) = dblocks.next() else { return };
            let (first, dropout) = (chunk.rows.start, dropout(0));
            match mixer {
                Mixer::Attention(layer, transposed) => {
                    let (trace, scratch) = (&buffers.attention, &mut own.attention);
                    layer.backward(x, lengths, first, dropout, trace, transposed, scratch, grad, dparameters);
                }
                Mixer::Gru(layer, transposed) => {
                    let (trace, scratch) = (&buffers.gru, &mut own.gru);
                    layer.backward(x, first, dropout, trace, transposed, scratch, grad, dparameters);
                }
            }
        }
        if mean_pool {
            dropout.apply(chunk.cases.start * d, grad);
            self.pool_backward(batch, chunk, &mut own.asked_rows, grad, dinput, &mut dcontext[0]);
        } else {
            dinput.copy_from_slice(grad);
            dropout.apply(chunk.rows.start * d, dinput);
            self.add_to_context(batch, chunk, dinput, &mut dcontext[0]);
        }
    }

    /// The means of what enters, of the rows that are asked: without ever holding a row.
    fn pool(
        &self,
        shared: &Shared<'_>,
        chunk: &Chunk,
        asked: &mut [u32],
        sum: &mut [f32],
        pooled: &mut [f32],
    ) {
        let (config, d) = (self.config, self.config.dim);
        let scale = item_scale(config);
        let Shared { batch, items, .. } = *shared;
        let entries = &batch.parts.entries[chunk.entries.clone()];
        let context = |row: u32| &self.context[row as usize * d..][..d];
        for_sequences(&batch.lengths[chunk.sequences.clone()], asked, |number, rows, cases, asked| {
            let entries = &entries[rows.start - number..];
            let pooled = &mut pooled[cases.start * d..cases.end * d];
            batch.parts.pool.forward(
                rows.len(),
                asked,
                sum,
                pooled,
                #[inline(always)]
                |row, sign, sum| {
                    if let Some(entry) = row.checked_sub(1) {
                        let item = entries[entry].item as usize;
                        add_scaled(sum, &items[item * d..][..d], sign * scale);
                    }
                    for &place in context_rows(config, entries, row).as_slice() {
                        add_scaled(sum, context(place), sign);
                    }
                },
            );
        });
    }

    /// `grad`: of the means. `dinput` receives what the gradients of the rows consist of, first for each case, then for
    /// each sequence; that of the context is added.
    fn pool_backward(
        &self,
        batch: &Batch,
        chunk: &Chunk,
        asked: &mut [u32],
        grad: &[f32],
        dinput: &mut [f32],
        dcontext: &mut [f32],
    ) {
        let (config, d, pool) = (self.config, self.config.dim, batch.parts.pool);
        let (dcases, dall) = dinput.split_at_mut(grad.len());
        dcases.copy_from_slice(grad);
        let entries = &batch.parts.entries[chunk.entries.clone()];
        for_sequences(&batch.lengths[chunk.sequences.clone()], asked, |number, rows, cases, asked| {
            let (dcases, all) = (&mut dcases[cases.start * d..cases.end * d], &mut dall[number * d..][..d]);
            pool.backward(rows.len(), asked, dcases, all);
            let entries = &entries[rows.start - number..];
            simd(
                #[inline(always)]
                || {
                    pool.parts(
                        rows.len(),
                        asked,
                        #[inline(always)]
                        |row, of, sign| {
                            let part = dcases.get(of * d..(of + 1) * d).unwrap_or(&*all);
                            for &place in context_rows(config, entries, row).as_slice() {
                                add_scaled(&mut dcontext[place as usize * d..][..d], part, sign);
                            }
                        },
                    );
                },
            );
        });
    }

    /// What enters the encoder: a row for the start of each history, and one for each entry.
    fn inputs(&self, shared: &Shared<'_>, chunk: &Chunk, x: &mut [f32]) {
        let (config, d) = (self.config, self.config.dim);
        let scale = item_scale(config);
        let context = |row: u32| &self.context[row as usize * d..][..d];
        let parts = &shared.batch.parts;
        simd(
            #[inline(always)]
            || {
                let mut rows = x.chunks_exact_mut(d);
                let mut entries = parts.entries[chunk.entries.clone()].iter();
                for &length in &parts.lengths[chunk.sequences.clone()] {
                    if let Some(row) = rows.next() {
                        row.fill(0.0);
                        for &place in ContextRows::start(config).as_slice() {
                            add(row, context(place));
                        }
                    }
                    for (position, entry) in (1..).zip(entries.by_ref().take(length as usize)) {
                        let Some(row) = rows.next() else { return };
                        let &Entry { item, event_type, gap } = entry;
                        let vector = &shared.items[item as usize * d..][..d];
                        for (row, &vector) in row.iter_mut().zip(vector) {
                            *row = vector * scale;
                        }
                        let places = ContextRows::entry(config, event_type, gap, position);
                        for &place in places.as_slice() {
                            add(row, context(place));
                        }
                    }
                }
            },
        );
    }

    fn add_to_context(&self, batch: &Batch, chunk: &Chunk, dinput: &[f32], dcontext: &mut [f32]) {
        let (config, d) = (self.config, self.config.dim);
        simd(
            #[inline(always)]
            || {
                let mut rows = dinput.chunks_exact(d);
                let mut entries = batch.parts.entries[chunk.entries.clone()].iter();
                let mut pass = |places: ContextRows| {
                    let Some(row) = rows.next() else { return };
                    for &place in places.as_slice() {
                        add(&mut dcontext[place as usize * d..][..d], row);
                    }
                };
                for &length in &batch.parts.lengths[chunk.sequences.clone()] {
                    pass(ContextRows::start(config));
                    for (position, entry) in (1..).zip(entries.by_ref().take(length as usize)) {
                        pass(ContextRows::entry(config, entry.event_type, entry.gap, position));
                    }
                }
            },
        );
    }
}

impl Lane {
    /// Begins a step: gradients are zero, or taken for it.
    pub(super) fn begin(&mut self, dense: &[Vec<f32>], candidates: usize) {
        self.dense.resize(dense.len(), Vec::new());
        for (own, group) in self.dense.iter_mut().zip(dense) {
            own.clear();
            own.resize(group.len(), 0.0);
        }
        self.candidates.resize(candidates, 0.0);
        self.fresh = true;
        self.loss = Loss::default();
    }

    /// Ends a step: gradients are this step's.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.fresh) {
            self.candidates.fill(0.0);
        }
    }
}

/// What is added to a row of a history, whose first one is its start.
#[inline(always)]
fn context_rows(config: &TowersConfig, entries: &[Entry], row: usize) -> ContextRows {
    match row.checked_sub(1).map(|entry| entries[entry]) {
        None => ContextRows::start(config),
        Some(Entry { event_type, gap, .. }) => ContextRows::entry(config, event_type, gap, row as u32),
    }
}

/// Calls `run` with each sequence's number, its rows, its cases, and the rows asked for within it.
fn for_sequences(
    lengths: &[u32],
    asked: &mut [u32],
    mut run: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>, &[u32]),
) {
    let (mut start, mut first) = (0u32, 0);
    for (number, &length) in lengths.iter().enumerate() {
        let end = start + length;
        let next = first + asked[first..].partition_point(|&row| row < end);
        let own = &mut asked[first..next];
        own.iter_mut().for_each(|row| *row -= start);
        run(number, start as usize..end as usize, first..next, own);
        own.iter_mut().for_each(|row| *row += start);
        (start, first) = (end, next);
    }
}
