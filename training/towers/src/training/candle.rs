//! The same step in candle's own operations, with its autograd: what the kernels are tested against.

use candle_core::{D, Device, Result, Tensor, Var};

use super::{Batch, ContextRows, Gradients, item_scale};
use crate::{Bags, Dropout, Encoder, Pool, TowersConfig, parameters::groups};

/// What [`super::Step::gradients`] makes.
pub(super) fn gradients(
    config: &TowersConfig,
    batch: &Batch,
    rows: &[f32],
    dense: &[Vec<f32>],
    dropout: Dropout,
) -> Result<Gradients> {
    let d = config.dim;
    let rows = Var::from_slice(rows, (rows.len() / d, d), &Device::Cpu)?;
    let dense: Vec<Var> =
        dense.iter().map(|group| Var::from_slice(group, group.len(), &Device::Cpu)).collect::<Result<_>>()?;
    let scale = Var::new((1.0 / config.temperature).ln(), &Device::Cpu)?;
    let mut groups = groups(config).into_iter().zip(&dense);
    let mut next = || -> Vec<Tensor> {
        let (group, var) = groups.next().unwrap();
        let mut start = 0;
        let parts = group.specs.iter().map(|spec| {
            start += spec.size();
            var.narrow(0, start - spec.size(), spec.size()).unwrap().reshape(spec.shape.clone()).unwrap()
        });
        parts.collect()
    };

    // The item tower.
    let parts = &batch.parts;
    let mut items = matrix(&parts.items)?.matmul(&rows)?;
    if config.shop_vector > 0 {
        let constants =
            Tensor::from_slice(&parts.shop_vectors, (parts.items.len(), config.shop_vector), &Device::Cpu)?;
        items = (items + constants.matmul(&next()[0])?)?;
    }
    if config.item_hidden > 0 {
        items = feed_forward(&items, &next(), Dropout::NONE)?;
    }
    let items = unit(&items)?;

    // The user tower.
    let context = Tensor::cat(&next(), 0)?;
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
    let x = (matrix(&history)?.matmul(&items)? + matrix(&places)?.matmul(&context)?)?;
    let mut x = dropped(&x, dropout)?;
    let mut asked = Bags::new(batch.sequences.total());
    for case in &parts.cases {
        asked.add(case.row, 1.0);
        asked.close();
    }
    let mean_pool = config.encoder == Encoder::MeanPool;
    if mean_pool {
        x = matrix(&asked)?.matmul(&pool(batch)?.matmul(&x)?)?;
    }
    for block in 0..config.blocks {
        let dropout = |part: u64| dropout.layer(4 * (block as u64 + 1) + part);
        if !mean_pool {
            x = attention(&x, batch, config, &next(), dropout(0))?;
        }
        x = feed_forward(&x, &next(), dropout(1))?;
    }
    if !mean_pool {
        x = matrix(&asked)?.matmul(&x)?;
    }
    let norm = next();
    let users = unit(&layer_norm(&x, &norm[0], &norm[1])?)?;

    // The loss.
    let (rows_asked, count) = (parts.cases.len(), parts.corrections.len());
    let dense_matrix = |f: &dyn Fn(usize, usize) -> f32| {
        let values: Vec<f32> = (0..rows_asked * count).map(|i| f(i / count, i % count)).collect();
        Tensor::from_vec(values, (rows_asked, count), &Device::Cpu)
    };
    let is_target = |row: usize, c: usize| parts.cases[row].target as usize == c;
    let corrections = dense_matrix(&|row, c| if is_target(row, c) { 0.0 } else { parts.corrections[c] })?;
    let picks = dense_matrix(&|row, c| if is_target(row, c) { -batch.shares[row] } else { 0.0 })?;
    let scores = users.matmul(&items.narrow(0, 0, count)?.t()?)?.broadcast_mul(&scale.exp()?)?;
    let loss = (candle_nn::ops::log_softmax(&(scores + corrections)?, D::Minus1)? * picks)?.sum_all()?;

    let found = loss.backward()?;
    let of = |var: &Var| match found.get(var) {
        Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
        None => Ok(vec![0.0; var.elem_count()]),
    };
    Ok(Gradients {
        loss: f64::from(loss.to_scalar::<f32>()?),
        rows: of(&rows)?,
        dense: dense.iter().map(of).collect::<Result<_>>()?,
        scale: f64::from(of(&scale)?[0]),
    })
}

/// Bags as the sparse matrix that they are.
fn matrix(bags: &Bags) -> Result<Tensor> {
    let n = bags.inputs();
    let mut identity = vec![0f32; n * n];
    (0..n).for_each(|i| identity[i * n + i] = 1.0);
    Tensor::from_vec(bags.sums(&identity, n), (bags.len(), n), &Device::Cpu)
}

fn pool(batch: &Batch) -> Result<Tensor> {
    let n = batch.sequences.total();
    let mut matrix = vec![0f32; n * n];
    for sequence in 0..batch.sequences.len() {
        let rows = batch.sequences.rows(sequence);
        for t in rows.clone() {
            let sees = |s: &usize| match batch.parts.pool {
                Pool::Prefix => *s <= t,
                Pool::Others => *s != t || rows.len() == 1,
            };
            let seen: Vec<usize> = rows.clone().filter(sees).collect();
            seen.iter().for_each(|&s| matrix[t * n + s] = 1.0 / seen.len() as f32);
        }
    }
    Tensor::from_vec(matrix, (n, n), &Device::Cpu)
}

pub(crate) fn dropped(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    let factors: Vec<f32> = (0..x.elem_count() as u32).map(|place| dropout.factor(place)).collect();
    x * Tensor::from_vec(factors, x.shape(), &Device::Cpu)?
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
    batch: &Batch,
    config: &TowersConfig,
    p: &[Tensor],
    dropout: Dropout,
) -> Result<Tensor> {
    let (d, width) = (config.dim, config.dim / config.heads);
    let qkv = layer_norm(x, &p[0], &p[1])?.matmul(&p[2])?.broadcast_add(&p[3])?;
    let mut mixed = Vec::new();
    for sequence in 0..batch.sequences.len() {
        let rows = batch.sequences.rows(sequence);
        let n = rows.len();
        let qkv = qkv.narrow(0, rows.start, n)?;
        let mask: Vec<f32> = (0..n * n).map(|i| if i % n <= i / n { 0.0 } else { -1e9 }).collect();
        let mask = Tensor::from_vec(mask, (n, n), &Device::Cpu)?;
        let heads = (0..config.heads).map(|head| {
            let part = |part: usize| qkv.narrow(1, part * d + head * width, width)?.contiguous();
            let scores = ((part(0)?.matmul(&part(1)?.t()?)? / (width as f64).sqrt())? + &mask)?;
            candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&part(2)?)
        });
        mixed.push(Tensor::cat(&heads.collect::<Result<Vec<_>>>()?, 1)?);
    }
    let y = Tensor::cat(&mixed, 0)?.matmul(&p[4])?.broadcast_add(&p[5])?;
    x + dropped(&y, dropout)?
}
