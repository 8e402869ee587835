//! `endcap events produce`: lines of JSON → the topic `events` or `items`.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use endcap_live::{
    EventProducer, EventSink, ItemProducer, KafkaSink, Place, Record, WriteError, decode_event, decode_item,
    kafka::create_topics,
};
use endcap_proto::{Event, Item};
use serde::Serialize;

use crate::{
    cli::{Output, ProduceArgs, ProducedTopic},
    commands::print,
    exit::Failure,
};

/// Rows that are written together.
const BATCH: usize = 500;
/// A longer line is no event.
const LINE_BYTES: usize = 1 << 20;

pub fn run(args: &ProduceArgs, output: Output) -> Result<(), Failure> {
    let config = super::load(&args.topic)?;
    let (name, lines) = open(&args.input)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if config.kafka.create_topics.enabled {
        runtime.block_on(create_topics(&config.kafka))?;
    }
    let sink: Arc<dyn EventSink> = Arc::new(KafkaSink::prompt(&config.kafka)?);
    let topics = &config.kafka.topics;
    let produced = match args.to {
        ProducedTopic::Events => {
            let producer = EventProducer::new(Arc::clone(&sink), topics.events.as_str());
            let read = |line: &[u8]| decode_event(&json(line, None)).map_err(|reject| reject.reason);
            let write = |events: Vec<Event>| runtime.block_on(producer.write(events));
            produce(lines, &name, args.skip_bad, read, write)
        }
        ProducedTopic::Items => {
            let producer = ItemProducer::new(Arc::clone(&sink), topics.items.as_str());
            let read = |line: &[u8]| item(line);
            let write = |items: Vec<Item>| runtime.block_on(producer.upsert(items));
            produce(lines, &name, args.skip_bad, read, write)
        }
    };
    // Also where a row was refused: those before it are on their way.
    let _ = sink.flush(Duration::from_millis(config.kafka.delivery_timeout_ms.into()));
    let produced = produced?;
    print(&produced, output)?;
    if produced.bad > 0 {
        return Err(Failure::Failed(anyhow::anyhow!("{} rows of {name} were not written", produced.bad)));
    }
    Ok(())
}

#[derive(Serialize)]
struct Produced {
    written: u64,
    bad: u64,
}

impl fmt::Display for Produced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} written, {} bad", self.written, self.bad)
    }
}

fn open(input: &Path) -> anyhow::Result<(String, Box<dyn BufRead>)> {
    if input == Path::new("-") {
        return Ok(("standard input".to_owned(), Box::new(BufReader::new(std::io::stdin()))));
    }
    let name = input.display().to_string();
    let file = File::open(input).with_context(|| format!("cannot read {name}"))?;
    Ok((name, Box::new(BufReader::new(file))))
}

/// A line as a record would hold it.
fn json<'a>(line: &'a [u8], key: Option<&'a [u8]>) -> Record<'a> {
    let headers = vec![("content-type", b"application/json".as_slice())];
    Record { partition: 0, offset: 0, timestamp: None, key, value: Some(line), headers }
}

fn item(line: &[u8]) -> Result<Item, String> {
    // Where the id is missing, the item's own check says so.
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let key = value.get("id").and_then(|id| id.as_str()).unwrap_or_default();
    decode_item(&json(line, Some(key.as_bytes()))).map_err(|reject| reject.reason)
}

fn produce<R>(
    mut lines: Box<dyn BufRead>,
    name: &str,
    skip_bad: bool,
    read: impl Fn(&[u8]) -> Result<R, String>,
    write: impl Fn(Vec<R>) -> Result<Vec<Place>, WriteError>,
) -> anyhow::Result<Produced> {
    let mut produced = Produced { written: 0, bad: 0 };
    let (mut batch, mut line, mut number) = (Vec::new(), Vec::new(), 0u64);
    let flush = |batch: &mut Vec<R>, produced: &mut Produced| -> anyhow::Result<()> {
        let rows = std::mem::take(batch);
        let before = produced.written;
        let places = write(rows).with_context(|| format!("after {before} rows of {name}"))?;
        produced.written += places.len() as u64;
        Ok(())
    };
    loop {
        line.clear();
        number += 1;
        // A file without line ends must not fill the memory.
        let limit = LINE_BYTES as u64 + 2;
        let count = std::io::Read::take(&mut lines, limit)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("cannot read {name}, line {number}"))?;
        if count == 0 {
            break;
        }
        if count as u64 == limit {
            anyhow::bail!(
                "{name}, line {number}: is longer than {LINE_BYTES} bytes; one JSON object a line is read"
            );
        }
        let row = line.trim_ascii();
        if row.is_empty() {
            continue;
        }
        match read(row) {
            Ok(row) => batch.push(row),
            Err(reason) if skip_bad => {
                produced.bad += 1;
                eprintln!("{name}, line {number}: {reason}");
            }
            Err(reason) => {
                flush(&mut batch, &mut produced)?;
                let written = produced.written;
                anyhow::bail!(
                    "{name}, line {number}: {reason} ({written} rows before it were written; --skip-bad goes on past \
                     such rows)"
                );
            }
        }
        if batch.len() == BATCH {
            flush(&mut batch, &mut produced)?;
        }
    }
    flush(&mut batch, &mut produced)?;
    Ok(produced)
}
