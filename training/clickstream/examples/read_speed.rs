//! How fast events are read: `cargo run --release -p endcap-clickstream --example read_speed [EVENTS]`.
//!
//! Writes a clickstream in each format to a temporary folder, then reads it on one thread: decoding
//! and checking every value, and, apart from that, walking the rows of batches already read. Medians
//! of five runs; the files are in the page cache.

use std::{error::Error, hint::black_box, path::Path, time::Instant};

use endcap_clickstream::{EventBatch, EventReader, EventWriter};
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, ItemId, VisitorId};

const RUNS: usize = 5;

fn event(i: u64) -> Result<Event, Box<dyn Error>> {
    // Scattered, as real ids are: SplitMix64's mixing.
    let mix = |x: u64| {
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let (a, b) = (mix(2 * i), mix(2 * i + 1));
    let event_type =
        [EventType::View, EventType::View, EventType::Click, EventType::AddToCart][(a % 4) as usize];
    let item = EventItem {
        item_id: ItemId::new(format!("item-{}", b % 100_000))?,
        quantity: 1,
        unit_price: Some((b % 9000) as f64 / 100.0),
        position: None,
    };
    Ok(Event {
        event_id: EventId::new(format!(
            "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
            a >> 32,
            a & 0xffff,
            b >> 52,
            b & 0xffff,
            b >> 16
        ))?,
        event_type,
        time: EventTime::clamped(1_793_577_600_000 + i as i64 * 40),
        visitor_id: VisitorId::new(format!("visitor-{}", mix(i / 7) % 200_000))?,
        user_id: None,
        session_id: Some(format!("session-{}", i / 7)),
        items: vec![item],
        transaction: None,
        search_query: None,
        page_categories: vec!["Shoes > Boots".to_owned()],
        placement: Some("product".to_owned()),
        attribution_token: None,
        experiment_ids: vec![],
        attributes: Default::default(),
        consent: true,
    })
}

fn walk(batch: &EventBatch) -> u64 {
    let mut sum = 0;
    for event in batch.iter() {
        sum += event.visitor_id.len() as u64 + event.time.as_millis() as u64 + event.event_type as u64;
        for item in event.items() {
            sum += item.item_id.len() as u64 + u64::from(item.quantity);
        }
    }
    sum
}

fn median_seconds(mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[RUNS / 2])
}

fn read(path: &Path) -> Result<(), Box<dyn Error>> {
    for batch in EventReader::open(path)? {
        black_box(walk(&batch?));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let events: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |events| events.parse())?;
    let dir = tempfile::tempdir()?;
    println!("{events} events, one product each, one thread; millions of events a second");
    println!("{:<12} {:>12} {:>8} {:>18}", "format", "bytes/event", "write", "read, check, walk");
    for ending in ["arrow", "arrows.zst", "parquet"] {
        let path = dir.path().join(format!("events.{ending}"));
        let start = Instant::now();
        let mut writer = EventWriter::create(&path)?;
        for i in 0..events {
            writer.write(&event(i)?)?;
        }
        writer.finish()?;
        let rate = |seconds: f64| events as f64 / seconds / 1e6;
        let (written, bytes) =
            (rate(start.elapsed().as_secs_f64()), std::fs::metadata(&path)?.len() as f64 / events as f64);
        let read = rate(median_seconds(|| read(&path))?);
        println!("{ending:<12} {bytes:>12.1} {written:>8.2} {read:>18.2}");
    }
    let batches: Vec<EventBatch> =
        EventReader::open(dir.path().join("events.arrow"))?.collect::<Result<_, _>>()?;
    let seconds = median_seconds(|| {
        batches.iter().for_each(|batch| _ = black_box(walk(batch)));
        Ok(())
    })?;
    println!("walk alone: {:.1}", events as f64 / seconds / 1e6);
    Ok(())
}
