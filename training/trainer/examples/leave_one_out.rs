//! Fits the towers on sequences in a text file and asks for each visitor's last item: HR@10 and NDCG@10
//! among all items, seen ones masked, ties against us.
//!
//! ```text
//! cargo run --release -p endcap-trainer --example leave_one_out -- FILE [CONFIG.json]
//! ```
//!
//! FILE has a line `user item` per event, or a line `user item item …` per user, oldest first. The last
//! item of each user is held out; validation, by which training stops, asks for the one before.

use std::{collections::HashMap, env, fs, time::Instant};

use endcap_clickstream::TimeKind;
use endcap_neighbours::SequencesBuilder;
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, ItemId, VisitorId};
use endcap_towers::{Towers, UserInput, dot_products};
use endcap_trainer::{
    EpochReport, Progress, StepProgress, TrainConfig, TrainingData, Validation, fit_towers,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Print(Instant);

impl Progress for Print {
    fn step(&mut self, step: &StepProgress) {
        if step.step == step.steps {
            eprint!(
                "{:5.0} s  epoch {} {:.0} positions/s ",
                self.0.elapsed().as_secs_f64(),
                step.epoch,
                step.positions_per_second
            );
        }
    }

    fn epoch(&mut self, epoch: &EpochReport) {
        let [recall, ndcg] = epoch.validation.map_or([f64::NAN; 2], |v| [v.recall_at_20, v.ndcg_at_20]);
        eprintln!("loss {:.4}  validation recall@20 {recall:.4} NDCG@20 {ndcg:.4}", epoch.loss);
    }
}

fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let text = fs::read_to_string(args.next().ok_or("which FILE?")?)?;
    let config = match args.next() {
        Some(path) => serde_json::from_str(&fs::read_to_string(path)?)?,
        None => TrainConfig { validation: Validation::LastEvent, ..TrainConfig::default() },
    };
    let mut users: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut places = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(user) = words.next() else { continue };
        let place = *places.entry(user).or_insert(users.len());
        if place == users.len() {
            users.push((user, Vec::new()));
        }
        users[place].1.extend(words);
    }
    users.retain(|(_, items)| items.len() >= 3);

    let mut builder = SequencesBuilder::new();
    let mut counts = HashMap::<&str, u64>::new();
    for (user, items) in &users {
        for (time, item) in items.iter().enumerate() {
            // Every item is in the catalogue, the last of each user's not in training.
            *counts.entry(item).or_default() += u64::from(time + 1 < items.len());
            if time + 1 < items.len() {
                builder.push(&event(user, item, time)?);
            }
        }
    }
    let mut counts: Vec<(Box<str>, u64)> = counts.into_iter().map(|(id, count)| (id.into(), count)).collect();
    counts.sort();
    println!("{} users, {} items", users.len(), counts.len());
    let sequences = builder.finish();
    let data = TrainingData::new(vec![], &counts, sequences, true, TimeKind::Ordinal, &Default::default())?;
    let start = Instant::now();
    let fitted = fit_towers(&data, &config, &mut Print(start))?;
    println!("best epoch {} in {:.0} s", fitted.report.best_epoch, fitted.report.seconds);

    let towers = Towers::load(fitted.config, &fitted.weights)?;
    let d = towers.dim();
    let vectors = towers.item_vectors(data.item_features())?;
    let rows: HashMap<_, _> =
        data.item_features().iter().zip(0..).map(|(item, row)| (item.key, row)).collect();
    let row = |id: &str| -> Result<usize> { Ok(rows[&ItemId::new(id)?.key()]) };
    let mut scores = vec![0.0; rows.len()];
    let (mut hits, mut gain) = (0.0, 0.0);
    for (_, items) in &users {
        let (last, history) = items.split_last().ok_or("an empty history")?;
        let history: Vec<usize> = history.iter().map(|id| row(id)).collect::<Result<_>>()?;
        let inputs: Vec<&[f32]> = history.iter().map(|&row| &vectors[row * d..][..d]).collect();
        let n = inputs.len();
        let user =
            UserInput { items: &inputs, event_types: &vec![EventType::View; n], gap_buckets: &vec![1; n] };
        dot_products(&towers.user_vectors(&[user])?, &vectors, d, &mut scores);
        history.iter().for_each(|&row| scores[row] = f32::NEG_INFINITY);
        let target = row(last)?;
        let rank = scores.iter().filter(|&&score| score >= scores[target]).count();
        if rank <= 10 && scores[target].is_finite() {
            hits += 1.0;
            gain += 1.0 / (rank as f64 + 1.0).log2();
        }
    }
    let n = users.len() as f64;
    println!("HR@10 {:.2} % NDCG@10 {:.2} %", 100.0 * hits / n, 100.0 * gain / n);
    Ok(())
}

fn event(user: &str, item: &str, time: usize) -> Result<Event> {
    Ok(Event {
        event_id: EventId::new(format!("{user} {time}"))?,
        event_type: EventType::View,
        time: EventTime::clamped(time as i64),
        visitor_id: VisitorId::new(user)?,
        user_id: None,
        session_id: None,
        items: vec![EventItem { item_id: ItemId::new(item)?, quantity: 1, unit_price: None, position: None }],
        transaction: None,
        search_query: None,
        page_categories: vec![],
        placement: None,
        attribution_token: None,
        experiment_ids: vec![],
        attributes: Default::default(),
        consent: true,
    })
}
