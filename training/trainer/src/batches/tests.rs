use endcap_features::{UserState, features_at};

use super::*;
use crate::{
    testing::{data, events},
    windows,
};

#[test]
fn a_case_asks_with_the_features_that_serving_would_have() {
    let events = events(30, 50);
    let data = data(&events, 50);
    let config = TrainConfig { length: 60, ..TrainConfig::default() };
    let visitors: Vec<_> = data.visitors().map(|range| range.start as u32..range.end as u32).collect();
    let windows = windows::epoch(&visitors, config.length, true, 1, 1);
    let counts = data.item_counts();
    let mut batcher = Batcher::new(&data, &config, config.shape(true, 0), counts, counts);
    let mut cases = 0;
    for window in &windows {
        let Prepared { batch, .. } = batcher.prepare(std::slice::from_ref(window), 1).unwrap();
        let batch = batch.parts();
        let targets =
            data.sequences().interactions()[window.start as usize..window.targets_end as usize].iter();
        assert_eq!(batch.cases.len(), targets.len(), "every interaction is asked for");
        let visitor = (0..visitors.len()).find(|&v| visitors[v].start == window.first).unwrap();
        let key = data.sequences().get(visitor).0;
        let mut state = UserState::default();
        events.iter().filter(|event| event.visitor_id.key() == key).for_each(|event| _ = state.apply(event));
        for (case, target) in batch.cases.iter().zip(targets) {
            let place = |item| data.item_features().iter().position(|features| features.key == item).unwrap();
            assert_eq!(batcher.items.things[case.target as usize] as usize, place(target.item));
            let served = features_at(&state, target.time, config.length).history;
            let trained = &batch.entries[..case.row as usize];
            assert_eq!(trained.len(), served.len());
            for (trained, served) in trained.iter().zip(served) {
                assert_eq!(batcher.items.things[trained.item as usize] as usize, place(served.item));
                assert_eq!((trained.event_type, trained.gap), (served.event_type as u8, served.gap_bucket));
            }
            cases += 1;
        }
    }
    assert!(cases > 100, "{cases}");
}

#[test]
fn candidates_are_targets_and_negatives_corrected_for_their_chance() {
    let events = events(200, 3000);
    let data = data(&events, 3000);
    let negatives = crate::Negatives { uniform: 100, all_up_to: 10, ..Default::default() };
    let config = TrainConfig { negatives, ..TrainConfig::default() };
    let counts = data.item_counts();
    let visitors: Vec<_> = data.visitors().map(|range| range.start as u32..range.end as u32).collect();
    let windows = windows::epoch(&visitors, config.length, true, 1, 1);
    let mut batcher = Batcher::new(&data, &config, config.shape(true, 0), counts, counts);
    let Prepared { batch, .. } = batcher.prepare(&windows[..20], 7).unwrap();
    let batch = batch.parts();
    let n = batch.corrections.len();
    let candidates = &batcher.items.things[..n];
    assert!(candidates.iter().all(|&item| counts[item as usize] > 0), "what was never met is no negative");
    let mut targets: Vec<u32> = batch.cases.iter().map(|case| case.target).collect();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets, (0..targets.len() as u32).collect::<Vec<_>>(), "targets come first, each once");
    let overlap = targets.len() + 100 - n;
    assert!(overlap < 30, "most negatives are others: {overlap}");

    let pool = counts.iter().filter(|&&count| count > 0).count() as f64;
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    for (&item, &correction) in candidates.iter().zip(&batch.corrections) {
        let share = f64::from(counts[item as usize]) / total;
        let chance = 1.0 - (1.0 - share).powi(batch.cases.len() as i32) * (1.0 - 100.0 / pool);
        assert!((f64::from(correction) + chance.ln()).abs() < 1e-5);
    }
    // Another draw, other negatives; the same draw, the same.
    let before = candidates.to_vec();
    batcher.prepare(&windows[..20], 8).unwrap();
    assert_ne!(batcher.items.things[..n.min(batcher.items.things.len())], before);
    batcher.prepare(&windows[..20], 7).unwrap();
    assert_eq!(batcher.items.things[..n], before);

    // Few items: all of them, in every step, and nothing to correct.
    let config =
        TrainConfig { negatives: crate::Negatives { all_up_to: 5000, ..negatives }, ..config.clone() };
    let Prepared { batch, .. } = Batcher::new(&data, &config, config.shape(true, 0), counts, counts)
        .prepare(&windows[..20], 7)
        .unwrap();
    assert_eq!(batch.parts().corrections, vec![0.0; pool as usize]);
}

#[test]
fn what_a_step_reads_does_not_grow_with_the_catalogue() {
    let read = |items: u64| {
        let data = data(&events(100, items), items);
        let config = TrainConfig {
            negatives: crate::Negatives { uniform: 50, all_up_to: 0, ..Default::default() },
            ..TrainConfig::default()
        };
        let visitors: Vec<_> = data.visitors().map(|range| range.start as u32..range.end as u32).collect();
        let windows = windows::epoch(&visitors, config.length, true, 1, 1);
        let counts = data.item_counts();
        let mut batcher = Batcher::new(&data, &config, config.shape(true, 0), counts, counts);
        let prepared = batcher.prepare(&windows[..10], 7).unwrap();
        prepared.item_rows.len()
    };
    // At most a row per entry, target and negative, and one for hidden ids.
    assert!(read(40_000) <= 2 * 10 * 20 * 2 + 50 + 1);
    assert!(read(40_000) < 2 * read(2_000));
}

#[test]
fn a_share_of_the_items_hides_its_id() {
    let data = data(&events(200, 2000), 2000);
    let config = TrainConfig { id_dropout: 0.3, ..TrainConfig::default() };
    let visitors: Vec<_> = data.visitors().map(|range| range.start as u32..range.end as u32).collect();
    let windows = windows::epoch(&visitors, config.length, true, 1, 1);
    let counts = data.item_counts();
    let mut batcher = Batcher::new(&data, &config, config.shape(true, 0), counts, counts);
    let unknown = data.vocabulary().items() as u32;
    let Prepared { batch, item_rows, .. } = batcher.prepare(&windows, 1).unwrap();
    assert_eq!(item_rows.iter().filter(|&&row| row == unknown).count(), 1, "they share one row");
    let hidden = 1.0 - (item_rows.len() - 1) as f64 / batch.parts().items.len() as f64;
    assert!((hidden - 0.3).abs() < 0.05, "{hidden}");
}
