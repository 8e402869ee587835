//! The same step in candle's operations, with its autograd: what the kernels are tested against, and how a step is made
//! on a GPU.
//!
//! Attention and pooling see histories padded to the batch's longest; everything else sees rows without padding.

use candle_core::{D, Result, Tensor, Var};
use candle_nn::ops::{log_softmax, softmax};

use super::{Batch, ContextRows, Gradients, item_scale};
use crate::{Bags, Dropout, Encoder, Pool, TowersConfig, parameters::groups};

/// What [`super::Step::gradients`] makes, on a device of candle's.
pub(super) fn gradients(
    config: &TowersConfig,
    device: &candle_core::Device,
    batch: &Batch,
    rows: &[f32],
    dense: &[Vec<f32>],
    dropout: Dropout,
) -> Result<Gradients> {
    let rows = Var::from_slice(rows, (rows.len() / config.dim, config.dim), device)?;
    let dense: Vec<Var> =
        dense.iter().map(|group| Var::from_slice(group, group.len(), device)).collect::<Result<_>>()?;
    let scale = Var::new((1.0 / config.temperature).ln(), device)?;
    let layers = groups(config).into_iter().zip(&dense).map(|(group, var)| {
        let mut start = 0;
        let parts = group.specs.iter().map(|spec| {
            start += spec.size();
            var.narrow(0, start - spec.size(), spec.size())?.reshape(spec.shape.clone())
        });
        parts.collect()
    });
    let mut layers = layers.collect::<Result<Vec<Vec<Tensor>>>>()?.into_iter();
    let items = item_tower(config, batch, &rows, &mut layers)?;
    let users = user_tower(config, batch, &items, &mut layers, dropout)?;
    let loss = loss(batch, &users, &items, &scale.exp()?)?;

    let found = loss.backward()?;
    let of = |var: &Var| match found.get(var) {
        Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
        None => Ok(vec![0.0; var.elem_count()]),
    };
    Ok(Gradients {
        loss: f64::from(loss.to_scalar::<f32>()?),
        rows: of(&rows)?,
        dense: dense.iter().map(of).collect::<Result<_>>()?,
        scale: f64::from(found.get(&scale).map_or(Ok(0.0), |gradient| gradient.to_scalar::<f32>())?),
    })
}

/// The parameters of the next layer; none where there is none.
fn next(layers: &mut impl Iterator<Item = Vec<Tensor>>) -> Vec<Tensor> {
    layers.next().unwrap_or_default()
}

/// Unit vectors of the batch's items: items × dim.
fn item_tower(
    config: &TowersConfig,
    batch: &Batch,
    rows: &Tensor,
    layers: &mut impl Iterator<Item = Vec<Tensor>>,
) -> Result<Tensor> {
    let parts = &batch.parts;
    let mut items = sums(&parts.items, rows)?;
    if config.shop_vector > 0 {
        let constants = (parts.items.len(), config.shop_vector);
        let constants = Tensor::from_slice(&parts.shop_vectors, constants, rows.device())?;
        items = (items + constants.matmul(&next(layers)[0])?)?;
    }
    if config.item_hidden > 0 {
        items = feed_forward(&items, &next(layers), Dropout::NONE)?;
    }
    unit(&items)
}

/// Unit vectors of the cases' histories: cases × dim.
fn user_tower(
    config: &TowersConfig,
    batch: &Batch,
    items: &Tensor,
    layers: &mut impl Iterator<Item = Vec<Tensor>>,
    dropout: Dropout,
) -> Result<Tensor> {
    let parts = &batch.parts;
    let context = Tensor::cat(&next(layers), 0)?;
    let mut history = Bags::new(parts.items.len());
    let mut places = Bags::new(ContextRows::count(config));
    let mut entries = parts.entries.iter();
    for &length in &parts.lengths {
        ContextRows::start(config).as_slice().iter().for_each(|&row| places.add(row, 1.0));
        history.close();
        places.close();
        for (position, entry) in (1..).zip(entries.by_ref().take(length as usize)) {
            history.add(entry.item, item_scale(config));
            history.close();
            let rows = ContextRows::entry(config, entry.event_type, entry.gap, position);
            rows.as_slice().iter().for_each(|&row| places.add(row, 1.0));
            places.close();
        }
    }
    let x = (sums(&history, items)? + sums(&places, &context)?)?;
    let mut x = x;
    let asked: Vec<u32> = parts.cases.iter().map(|case| case.row).collect();
    let asked = Tensor::new(asked, items.device())?;
    let padding = Padding::new(batch, items.device())?;
    let mean_pool = config.encoder == Encoder::MeanPool;
    if mean_pool {
        x = padding.means(&x, parts.pool)?.index_select(&asked, 0)?;
    }
    x = dropped(&x, dropout)?;
    for block in 0..config.blocks {
        let dropout = |part: u64| dropout.layer(4 * (block as u64 + 1) + part);
        match config.encoder {
            Encoder::Transformer => x = attention(&x, &padding, config, &next(layers), dropout(0))?,
            Encoder::Gru => x = gru(&x, &padding, &next(layers), dropout(0))?,
            Encoder::MeanPool => {}
        }
        x = feed_forward(&x, &next(layers), dropout(1))?;
    }
    if !mean_pool {
        x = x.index_select(&asked, 0)?;
    }
    let norm = next(layers);
    unit(&layer_norm(&x, &norm[0], &norm[1])?)
}

/// `Σ share · (ln Σ_c exp(s_c) − s_target)`, without the corrections of what a row's own history asks for.
fn loss(batch: &Batch, users: &Tensor, items: &Tensor, inverse_temperature: &Tensor) -> Result<Tensor> {
    let device = users.device();
    let corrections = &batch.parts.corrections;
    let (rows, candidates) = (batch.targets.len(), corrections.len());
    let targets = Tensor::from_slice(&batch.targets, (rows, 1), device)?;
    // What the histories ask for is there for certain.
    let certain = (0..rows).flat_map(|row| {
        let asked = batch.asked.of_case(row).iter();
        asked.map(move |&c| ((row * candidates) as u32 + c, -corrections[c as usize]))
    });
    let (places, certain): (Vec<u32>, Vec<f32>) = certain.unzip();
    let (places, certain) = (Tensor::new(places, device)?, Tensor::new(certain, device)?);
    let corrections = Tensor::from_slice(corrections, (1, candidates), device)?.repeat((rows, 1))?;
    let corrections =
        corrections.flatten_all()?.index_add(&places, &certain, 0)?.reshape((rows, candidates))?;
    let scores = users.matmul(&items.narrow(0, 0, candidates)?.t()?)?.broadcast_mul(inverse_temperature)?;
    let scores = (scores + corrections)?;
    let found = log_softmax(&scores, D::Minus1)?.gather(&targets, 1)?;
    (found * Tensor::from_slice(&batch.shares, (rows, 1), device)?)?.sum_all()?.neg()
}

/// `Σ weight · x[row]` of each bag: bags × d.
fn sums(bags: &Bags, x: &Tensor) -> Result<Tensor> {
    let device = x.device();
    let sums = Tensor::zeros((bags.len(), x.dim(1)?), x.dtype(), device)?;
    let (of, rows, weights) = bags.entries();
    if rows.is_empty() {
        return Ok(sums);
    }
    let read = x.index_select(&Tensor::new(rows, device)?, 0)?;
    let read = read.broadcast_mul(&Tensor::from_slice(weights, (weights.len(), 1), device)?)?;
    sums.index_add(&Tensor::new(of, device)?, &read, 0)
}

/// The way from rows without padding to histories of one length, and back.
struct Padding {
    lengths: Vec<usize>,
    longest: usize,
    /// Per place of the padded rows, the row that is there; one after the last row where none is.
    there: Tensor,
    /// Per row, its place among the padded rows.
    back: Tensor,
}

impl Padding {
    fn new(batch: &Batch, device: &candle_core::Device) -> Result<Self> {
        let lengths: Vec<usize> = batch.lengths.iter().map(|&length| length as usize).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let none = batch.sequences.total() as u32;
        let mut there = vec![none; lengths.len() * longest];
        let mut back = Vec::with_capacity(none as usize);
        for (sequence, &length) in lengths.iter().enumerate() {
            let first = sequence * longest;
            for (place, there) in (first as u32..).zip(&mut there[first..first + length]) {
                *there = back.len() as u32;
                back.push(place);
            }
        }
        Ok(Self { longest, there: Tensor::new(there, device)?, back: Tensor::new(back, device)?, lengths })
    }

    /// Rows × n → sequences × longest × n, zero where there is no row.
    fn pad(&self, x: &Tensor) -> Result<Tensor> {
        let n = x.dim(1)?;
        let none = Tensor::zeros((1, n), x.dtype(), x.device())?;
        let padded = Tensor::cat(&[x, &none], 0)?.index_select(&self.there, 0)?;
        padded.reshape((self.lengths.len(), self.longest, n))
    }

    /// The other way.
    fn rows(&self, padded: &Tensor) -> Result<Tensor> {
        padded.flatten(0, 1)?.contiguous()?.index_select(&self.back, 0)
    }

    /// What each row sees of its sequence, as a mean.
    fn means(&self, x: &Tensor, pool: Pool) -> Result<Tensor> {
        let (n, device) = (self.longest, x.device());
        let padded = self.pad(x)?;
        let means = match pool {
            Pool::Prefix => {
                let share = |i: usize| if i % n <= i / n { 1.0 / (i / n + 1) as f32 } else { 0.0 };
                let shares: Vec<f32> = (0..n * n).map(share).collect();
                Tensor::from_vec(shares, (n, n), device)?.broadcast_matmul(&padded)?
            }
            Pool::Others => {
                let of = |f: &dyn Fn(f32) -> f32, alone: f32| {
                    let values = self.lengths.iter().map(|&n| if n == 1 { alone } else { f(n as f32) });
                    Tensor::from_vec(values.collect::<Vec<f32>>(), (self.lengths.len(), 1, 1), device)
                };
                let (all, own) = (of(&|n| 1.0 / (n - 1.0), 0.0)?, of(&|n| -1.0 / (n - 1.0), 1.0)?);
                let all = padded.sum_keepdim(1)?.broadcast_mul(&all)?;
                padded.broadcast_mul(&own)?.broadcast_add(&all)?
            }
        };
        self.rows(&means)
    }
}

fn dropped(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    if dropout.is_none() {
        return Ok(x.clone());
    }
    let factors: Vec<f32> = (0..x.elem_count() as u32).map(|place| dropout.factor(place)).collect();
    x * Tensor::from_vec(factors, x.shape(), x.device())?
}

fn unit(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}

fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?.broadcast_mul(gain)?.broadcast_add(bias)
}

fn feed_forward(x: &Tensor, p: &[Tensor], dropout: Dropout) -> Result<Tensor> {
    let inner = layer_norm(x, &p[0], &p[1])?.matmul(&p[2])?.broadcast_add(&p[3])?.gelu()?;
    let y = dropped(&inner, dropout.layer(1))?.matmul(&p[4])?.broadcast_add(&p[5])?;
    x + dropped(&y, dropout)?
}

fn attention(
    x: &Tensor,
    padding: &Padding,
    config: &TowersConfig,
    p: &[Tensor],
    dropout: Dropout,
) -> Result<Tensor> {
    let (sequences, n) = (padding.lengths.len(), padding.longest);
    let (heads, width) = (config.heads, config.dim / config.heads);
    let qkv = layer_norm(x, &p[0], &p[1])?.matmul(&p[2])?.broadcast_add(&p[3])?;
    let qkv = padding.pad(&qkv)?.reshape((sequences, n, 3, heads, width))?;
    let part = |part: usize| qkv.narrow(2, part, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
    // What comes later is not seen; padding comes last, so no row sees it.
    let mask: Vec<f32> = (0..n * n).map(|i| if i % n <= i / n { 0.0 } else { -1e9 }).collect();
    let mask = Tensor::from_vec(mask, (1, 1, n, n), x.device())?;
    let scores = (part(0)?.matmul(&part(1)?.t()?)? / (width as f64).sqrt())?.broadcast_add(&mask)?;
    let mixed = softmax(&scores, D::Minus1)?.matmul(&part(2)?)?;
    let mixed = padding.rows(&mixed.transpose(1, 2)?.contiguous()?.flatten(2, 3)?)?;
    let y = mixed.matmul(&p[4])?.broadcast_add(&p[5])?;
    x + dropped(&y, dropout)?
}

fn gru(x: &Tensor, padding: &Padding, p: &[Tensor], dropout: Dropout) -> Result<Tensor> {
    let d = x.dim(1)?;
    let inputs = layer_norm(x, &p[0], &p[1])?.matmul(&p[2])?.broadcast_add(&p[3])?;
    let inputs = padding.pad(&inputs)?;
    let mut state = Tensor::zeros((padding.lengths.len(), d), x.dtype(), x.device())?;
    let mut states = Vec::with_capacity(padding.longest);
    for step in 0..padding.longest {
        let input = inputs.narrow(1, step, 1)?.squeeze(1)?;
        let product = state.matmul(&p[4])?;
        let gate = |part: usize| {
            let sum = (input.narrow(1, part * d, d)? + product.narrow(1, part * d, d)?)?;
            // σ(x) = (1 + tanh(x / 2)) / 2.
            ((sum / 2.0)?.tanh()? + 1.0)? / 2.0
        };
        let (reset, update) = (gate(0)?, gate(1)?);
        let candidate = product.narrow(1, 2 * d, d)?.broadcast_add(&p[5])?;
        let new = (input.narrow(1, 2 * d, d)? + (reset * candidate)?)?.tanh()?;
        state = (&new + (update * (state - &new)?)?)?;
        states.push(state.clone());
    }
    let y = padding.rows(&Tensor::stack(&states, 1)?)?;
    x + dropped(&y, dropout)?
}
