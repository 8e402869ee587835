use endcap_features::ItemFeatures;
use endcap_proto::{EventType, ItemKey};

use super::*;
use crate::{Bags, Encoder, Pool, Towers, UserInput, Weights, mix, shop_vector};

const ITEMS: usize = 90;
const WORDS: usize = 12;

fn configs() -> Vec<TowersConfig> {
    let base = TowersConfig {
        dim: 16,
        heads: 2,
        blocks: 2,
        length: 60,
        hidden: 24,
        item_hidden: 20,
        ..Default::default()
    };
    vec![
        TowersConfig { shop_vector: 3, ..base.clone() },
        TowersConfig { blocks: 1, item_hidden: 0, dim: 12, heads: 3, hidden: 10, ..base.clone() },
        TowersConfig { blocks: 1, item_hidden: 0, dim: 64, hidden: 128, ..base.clone() },
        // Scores too far apart for one bound.
        TowersConfig { temperature: 0.012, ..base.clone() },
        TowersConfig { encoder: Encoder::Gru, ..base.clone() },
        TowersConfig { encoder: Encoder::Gru, blocks: 1, item_hidden: 0, dim: 12, ..base.clone() },
        TowersConfig { encoder: Encoder::MeanPool, ..base.clone() },
        TowersConfig { encoder: Encoder::MeanPool, shop_vector: 2, blocks: 1, ..base },
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

fn batch(config: &TowersConfig, weights: &Weights, pool: Pool) -> (Batch, Vec<f32>) {
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
    let mut lengths = vec![4, 0, 9, 1, 60];
    lengths.extend((0..160).map(|i| i * 7 % 31));
    let entry = |i: u64| Entry {
        item: (mix(i) % ITEMS as u64) as u32,
        event_type: (mix(i) % 16 + 1) as u8,
        gap: (mix(i) % 50) as u8,
    };
    let rows = [&weights.items[..], &weights.words].concat();
    let entries: Vec<Entry> = (0..lengths.iter().sum::<u32>() as u64).map(entry).collect();
    let all = (entries.len() + lengths.len()) as u32;
    // Most rows are asked; some twice, some not at all.
    let asked =
        (0..all).filter(|row| row % 5 != 3).flat_map(|row| [row].repeat(1 + usize::from(row % 11 == 0)));
    let case = |(i, row): (u32, u32)| Case { row, target: i * 7 % 70, weight: 1.0 + (i % 3) as f32 };
    let parts = BatchParts {
        items,
        shop_vectors,
        cases: (0..).zip(asked).map(case).collect(),
        entries,
        lengths,
        corrections: (0..70).map(|i| i as f32 / 10.0 - 1.0).collect(),
        pool,
    };
    (Batch::new(parts, config).unwrap(), rows)
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
        let (batch, rows) = batch(&config, &weights, Pool::Prefix);
        let mut step = Step::new(config.clone()).unwrap();
        step.gradients(&batch, &rows, &weights.dense, Dropout::NONE).unwrap();

        let bytes = weights.to_safetensors().unwrap();
        let towers = Towers::load(config.clone(), &bytes).unwrap();
        let served = towers.item_vectors(&features(&config)).unwrap();
        assert_close(&served, step.items(), 1e-6);
        // What is asked of a history is asked of the user vector of the history up to there.
        let mut users = step.users().chunks(config.dim);
        let mut cases = batch.parts().cases.iter().peekable();
        let (mut row, mut start) = (0, 0);
        for &length in &batch.parts().lengths {
            let entries = &batch.parts().entries[start..start + length as usize];
            for end in 0..=entries.len() {
                while cases.next_if(|case| case.row == row).is_some() {
                    let vectors: Vec<&[f32]> = entries[..end]
                        .iter()
                        .map(|e| &served[e.item as usize * config.dim..][..config.dim])
                        .collect();
                    let event_types: Vec<EventType> = entries[..end]
                        .iter()
                        .map(|e| EventType::from_number(e.event_type).unwrap())
                        .collect();
                    let gap_buckets: Vec<u8> = entries[..end].iter().map(|e| e.gap).collect();
                    let input =
                        UserInput { items: &vectors, event_types: &event_types, gap_buckets: &gap_buckets };
                    assert_close(&towers.user_vectors(&[input]).unwrap(), users.next().unwrap(), 2e-5);
                }
                row += 1;
            }
            start += length as usize;
        }
        assert!(cases.next().is_none());
    }
}

#[test]
fn gradients_agree_with_autograd() {
    for config in configs() {
        let weights = weights(&config);
        for (pool, dropout) in [(Pool::Prefix, Dropout::NONE), (Pool::Others, Dropout::new(0.3, 3))] {
            let (batch, rows) = batch(&config, &weights, pool);
            let mut step = Step::new(config.clone()).unwrap();
            // The second time, buffers are not fresh.
            step.gradients(&batch, &rows, &weights.dense, Dropout::new(0.5, 9)).unwrap();
            let ours = step.gradients(&batch, &rows, &weights.dense, dropout).unwrap();
            let mut reference = Step::on(Device::Candle, config.clone()).unwrap();
            let theirs = reference.gradients(&batch, &rows, &weights.dense, dropout).unwrap();
            assert!((ours.loss / theirs.loss - 1.0).abs() < 1e-5, "{} ≠ {}", ours.loss, theirs.loss);
            assert!((ours.scale - theirs.scale).abs() < 1e-4 * theirs.scale.abs().max(1.0));
            agree("rows", &ours.rows, &theirs.rows);
            for ((group, ours), theirs) in weights.groups().iter().zip(&ours.dense).zip(&theirs.dense) {
                let mut start = 0;
                for spec in &group.specs {
                    let part = start..start + spec.size();
                    agree(&format!("{}.{}", group.name, spec.name), &ours[part.clone()], &theirs[part]);
                    start += spec.size();
                }
            }
        }
    }
}

/// Within 0.02 % of the largest number.
fn agree(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |max, x| max.max(x.abs()));
    let unused = ["position", "gap", "qkv.bias"].iter().any(|name| what.ends_with(name));
    assert!(largest > 1e-6 || unused, "{what} is zero throughout: the test sees nothing");
    for (i, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!(
            (ours - theirs).abs() <= 2e-4 * largest.max(1e-4),
            "{what}[{i}]: {ours} ≠ {theirs} ({largest})"
        );
    }
}

#[test]
fn steps_do_not_depend_on_the_number_of_threads() {
    for config in configs() {
        let weights = weights(&config);
        let (batch, rows) = batch(&config, &weights, Pool::Prefix);
        assert!(batch.lanes.len() > 2);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut step = Step::new(config.clone()).unwrap();
            pool.install(|| {
                step.gradients(&batch, &rows, &weights.dense, Dropout::new(0.2, 3)).unwrap().clone()
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3));
    }
}

#[test]
fn a_batch_that_does_not_fit_is_an_error() {
    let config = &configs()[0];
    let weights = weights(config);
    let (good, rows) = batch(config, &weights, Pool::Prefix);
    let refused = |edit: fn(&mut BatchParts)| {
        let mut parts = good.parts().clone();
        edit(&mut parts);
        Batch::new(parts, config).unwrap_err()
    };
    refused(|b| b.cases.last_mut().unwrap().row = 10_000);
    refused(|b| b.cases[0].row = 7);
    refused(|b| b.cases[0].target = 70);
    refused(|b| b.entries[0].item = 1000);
    refused(|b| b.lengths[0] = 5);
    refused(|b| b.shop_vectors.truncate(5));
    refused(|b| b.corrections = vec![0.0; 1000]);
    let mut step = Step::new(config.clone()).unwrap();
    assert!(step.gradients(&good, &rows[1..], &weights.dense, Dropout::NONE).is_err());
    assert!(step.gradients(&good, &rows, &weights.dense[1..], Dropout::NONE).is_err());
}
