use endcap_features::ItemFeatures;
use endcap_proto::{EventType, ItemKey};

use super::*;
use crate::{Towers, UserInput, Weights, mix, shop_vector};

const ITEMS: usize = 30;
const WORDS: usize = 12;

fn configs() -> [TowersConfig; 3] {
    let base = TowersConfig {
        dim: 16,
        heads: 2,
        blocks: 2,
        length: 9,
        hidden: 24,
        item_hidden: 20,
        ..Default::default()
    };
    [
        TowersConfig { shop_vector: 3, ..base.clone() },
        TowersConfig { blocks: 1, item_hidden: 0, ..base.clone() },
        TowersConfig { encoder: Encoder::MeanPool, ..base },
    ]
}

/// Weights far enough from their beginning that every layer matters.
fn weights(config: &TowersConfig) -> Weights {
    let mut weights = Weights::new(config.clone(), ITEMS, WORDS, 5).unwrap();
    let slices = weights.dense.iter_mut().chain([&mut weights.items, &mut weights.words]);
    for (place, number) in slices.flatten().enumerate() {
        *number += (mix(place as u64) >> 40) as f32 / (1u64 << 24) as f32 * 0.4 - 0.2;
    }
    weights
}

fn features(config: &TowersConfig) -> Vec<ItemFeatures> {
    let item = |i: usize| ItemFeatures {
        key: ItemKey(i as u64),
        id_row: (i % 7 != 3).then_some(i as u32),
        words: (0..i % 5).map(|word| (i * 3 + word) as u32 % WORDS as u32).collect(),
        vector: if i.is_multiple_of(2) {
            (0..config.shop_vector).map(|c| (i + c) as f32 / 10.0).collect()
        } else {
            vec![]
        },
    };
    (0..ITEMS).map(item).collect()
}

fn batch(config: &TowersConfig, weights: &Weights) -> Batch {
    let d = config.dim;
    let mut items = Bags::new(ITEMS + 1 + WORDS);
    let mut shop_vectors = vec![];
    for features in features(config) {
        items.add(features.id_row.unwrap_or(ITEMS as u32), 1.0);
        for word in &features.words {
            items.add((ITEMS + 1) as u32 + word, 1.0 / (features.words.len() as f32).sqrt());
        }
        items.close();
        let mut vector: Vec<f32> = shop_vector(&features.vector).collect();
        vector.resize(config.shop_vector, 0.0);
        shop_vectors.extend(vector);
    }
    let lengths = vec![4, 0, 9, 1, 6];
    let entry = |i: u64| Entry {
        item: (mix(i) % ITEMS as u64) as u32,
        event_type: (mix(i) % 16 + 1) as u8,
        gap: (mix(i) % 50) as u8,
    };
    let rows = [&weights.items[..], &weights.words].concat();
    assert_eq!(rows.len(), items.inputs() * d);
    Batch {
        rows,
        items,
        shop_vectors,
        entries: (0..lengths.iter().sum::<u32>() as u64).map(entry).collect(),
        cases: (0..25).map(|i| Case { row: i, target: i * 7 % 20, weight: 1.0 + (i % 3) as f32 }).collect(),
        lengths,
        corrections: (0..20).map(|i| i as f32 / 10.0).collect(),
        pool: Pool::Prefix,
    }
}

fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "{i}: {a} ≠ {b}");
    }
}

#[test]
fn serving_gives_what_training_saw() {
    for config in configs() {
        let weights = weights(&config);
        let batch = batch(&config, &weights);
        let graph = Graph::new(&config, &weights.dense).unwrap();
        let rows = Tensor::from_slice(&batch.rows, (batch.rows.len() / config.dim, config.dim), &Device::Cpu)
            .unwrap();
        let items = graph.items(&batch, &rows).unwrap();
        let users = graph.users(&batch, &items, Dropout::NONE, None).unwrap().to_vec2::<f32>().unwrap();
        let items = items.flatten_all().unwrap().to_vec1::<f32>().unwrap();

        let bytes = weights.to_safetensors().unwrap();
        let towers = Towers::load(config.clone(), &bytes).unwrap();
        let served = towers.item_vectors(&features(&config)).unwrap();
        assert_close(&served, &items, 1e-6);
        // Every row of a batch is the user vector of the history up to there.
        let (mut row, mut start) = (0, 0);
        for &length in &batch.lengths {
            let entries = &batch.entries[start..start + length as usize];
            for end in 0..=entries.len() {
                let vectors: Vec<&[f32]> = entries[..end]
                    .iter()
                    .map(|e| &served[e.item as usize * config.dim..][..config.dim])
                    .collect();
                let event_types: Vec<EventType> =
                    entries[..end].iter().map(|e| EventType::from_number(e.event_type).unwrap()).collect();
                let gap_buckets: Vec<u8> = entries[..end].iter().map(|e| e.gap).collect();
                let input =
                    UserInput { items: &vectors, event_types: &event_types, gap_buckets: &gap_buckets };
                assert_close(&towers.user_vectors(&[input]).unwrap(), &users[row], 1e-5);
                row += 1;
            }
            start += length as usize;
        }
        assert_eq!(row, users.len());
    }
}

#[test]
fn gradients_are_difference_quotients() {
    for config in configs() {
        let weights = weights(&config);
        let batch = batch(&config, &weights);
        let dropout = Dropout::new(0.2, 3);
        let gradients = batch.gradients(&config, &weights.dense, dropout).unwrap();
        // Along random directions, in rows and in each dense group.
        for group in 0..=weights.dense.len() {
            let loss = |step: f32| {
                let (mut batch, mut dense) = (batch.clone(), weights.dense.clone());
                let values = if group == dense.len() { &mut batch.rows } else { &mut dense[group] };
                for (i, value) in values.iter_mut().enumerate() {
                    *value += step * direction(i);
                }
                batch.gradients(&config, &dense, dropout).unwrap().loss
            };
            let gradient = gradients.dense.get(group).unwrap_or(&gradients.rows);
            let along: f64 = gradient.iter().enumerate().map(|(i, g)| f64::from(g * direction(i))).sum();
            let step = 2e-3;
            let quotient = (loss(step) - loss(-step)) / (2.0 * f64::from(step));
            let scale = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
            assert!((along - quotient).abs() < 0.01 * scale.max(0.05), "group {group}: {along} ≠ {quotient}");
        }
    }
}

fn direction(i: usize) -> f32 {
    if mix(i as u64 + 77) & 1 == 0 { 0.1 } else { -0.1 }
}

#[test]
fn steps_do_not_depend_on_the_number_of_threads() {
    let config = &configs()[0];
    let weights = weights(config);
    let batch = batch(config, &weights);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| batch.gradients(config, &weights.dense, Dropout::new(0.2, 3)).unwrap())
    };
    let (one, three) = (run(1), run(3));
    assert_eq!((one.loss, one.rows, one.dense), (three.loss, three.rows, three.dense));
}

#[test]
fn a_batch_that_does_not_fit_is_an_error() {
    let config = &configs()[0];
    let weights = weights(config);
    let good = batch(config, &weights);
    let refused = |edit: fn(&mut Batch)| {
        let mut batch = good.clone();
        edit(&mut batch);
        batch.gradients(config, &weights.dense, Dropout::NONE).unwrap_err()
    };
    refused(|b| b.cases[0].row = 1000);
    refused(|b| b.cases[0].target = 20);
    refused(|b| b.entries[0].item = 1000);
    refused(|b| b.lengths[0] = 5);
    refused(|b| b.rows.truncate(16));
    refused(|b| b.corrections = vec![0.0; 1000]);
}
