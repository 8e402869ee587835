//! What a step costs as the catalogue grows, and what a clickstream costs in memory.
//!
//! ```text
//! cargo run --release -p endcap-trainer --example growth -- ITEMS [VISITORS [MOST_SECONDS]]
//! ```
//!
//! Each visitor views 25 products, the product of rank r about r^−1 as often as the first.

use std::{env, fs, time::Instant};

use endcap_clickstream::{Dataset, DatasetInfo, DatasetWriter, Part};
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, ItemId, VisitorId};
use endcap_towers::mix;
use endcap_trainer::{
    LoadOptions, Progress, StepProgress, TrainConfig, TrainingData, Validation, fit_towers,
};

const EVENTS: u64 = 25;

struct Most {
    start: Instant,
    seconds: f64,
    last: Option<StepProgress>,
}

impl Progress for Most {
    fn step(&mut self, step: &StepProgress) {
        self.last = Some(step.clone());
    }

    fn is_cancelled(&self) -> bool {
        self.start.elapsed().as_secs_f64() > self.seconds
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = env::args().skip(1).map(|arg| arg.parse::<u64>());
    let items = numbers.next().ok_or("how many ITEMS?")??;
    let visitors = numbers.next().transpose()?.unwrap_or(20_000);
    let seconds = numbers.next().transpose()?.unwrap_or(60) as f64;
    let dir = tempfile::tempdir()?;
    let mut writer = DatasetWriter::create(dir.path(), DatasetInfo::new("growth"))?;
    for time in 0..EVENTS {
        for visitor in 0..visitors {
            writer.event(&event(visitor, time, items)?, Part::All)?;
        }
    }
    writer.finish()?;
    println!("{} events of {items} items written; resident {}", visitors * EVENTS, resident()?);
    let start = Instant::now();
    let data = TrainingData::load(&Dataset::open(dir.path())?, &LoadOptions::default())?;
    let met = data.item_counts().iter().filter(|&&count| count > 0).count();
    println!("read in {:.1?}, {met} items met; peak {}", start.elapsed(), resident()?);
    let config = TrainConfig { epochs: 1, validation: Validation::None, ..TrainConfig::default() };
    let mut most = Most { start: Instant::now(), seconds, last: None };
    fit_towers(&data, &config, &mut most)?;
    let last = most.last.ok_or("no step")?;
    println!("{:.0} positions/s over {} steps; peak {}", last.positions_per_second, last.step, resident()?);
    Ok(())
}

fn event(visitor: u64, time: u64, items: u64) -> Result<Event, Box<dyn std::error::Error>> {
    let uniform = (mix(visitor << 20 | time) >> 11) as f64 / (1u64 << 53) as f64;
    let item = ((items as f64).powf(uniform) as u64).min(items - 1);
    Ok(Event {
        event_id: EventId::new(format!("{visitor}-{time}"))?,
        event_type: EventType::View,
        time: EventTime::clamped((time * 3_600_000 + visitor) as i64),
        visitor_id: VisitorId::new(format!("visitor {visitor}"))?,
        user_id: None,
        session_id: None,
        items: vec![EventItem {
            // Ranks are spread over the ids, so that popular products are not neighbours.
            item_id: ItemId::new(format!("item {}", mix(item) % items))?,
            quantity: 1,
            unit_price: None,
            position: None,
        }],
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

fn resident() -> std::io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    Ok(peak.unwrap_or("unknown").replace("VmHWM:", "").trim().to_owned())
}
