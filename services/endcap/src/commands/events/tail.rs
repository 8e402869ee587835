//! `endcap events tail`: what is in a topic, decoded, as it comes.

use std::{collections::BTreeMap, fmt, time::Duration};

use endcap_live::{
    DeadLetter, EventSource, KafkaSource, PartitionOffset, Record, Reject, decode_event, decode_impression,
    decode_item,
};
use endcap_proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::{
    cli::{Output, TailArgs, TailFrom, TailedTopic},
    exit::Failure,
};

pub fn run(args: &TailArgs, output: Output) -> Result<(), Failure> {
    let config = super::load(&args.topic)?;
    let topics = &config.kafka.topics;
    let topic = match args.of {
        TailedTopic::Events => &topics.events,
        TailedTopic::Items => &topics.items,
        TailedTopic::Impressions => &topics.impressions,
        TailedTopic::DeadLetters => &topics.dead_letters,
    };
    let mut source = KafkaSource::new(&config.kafka, topic)?;
    let bounds: Vec<_> = source
        .bounds()?
        .into_iter()
        .filter(|at| args.partition.is_none_or(|partition| partition == at.partition))
        .collect();
    if bounds.is_empty() {
        return Err(Failure::Usage(format!("--partition: topic {topic} has no such partition")));
    }
    let begin = |first: i64, end: i64| match args.from {
        TailFrom::Beginning => first,
        TailFrom::End => end,
        TailFrom::Last(count) => end.saturating_sub_unsigned(count).max(first),
    };
    let from: Vec<_> = bounds
        .iter()
        .map(|at| PartitionOffset { partition: at.partition, offset: begin(at.first, at.end) })
        .collect();
    let mut left: BTreeMap<i32, i64> = bounds
        .iter()
        .zip(&from)
        .filter(|(at, from)| from.offset < at.end)
        .map(|(at, _)| (at.partition, at.end))
        .collect();
    source.assign(&from)?;
    let (mut printed, mut failed, mut open) = (0, None, true);
    loop {
        let over = args.limit.is_some_and(|limit| printed >= limit);
        if over || !open || args.until_end && (left.is_empty() || source.at_end()) {
            return Ok(());
        }
        source.poll(1, Duration::from_millis(100), &mut |record| {
            let (partition, offset) = (record.partition, record.offset);
            if left.get(&partition).is_some_and(|&end| offset + 1 >= end) {
                left.remove(&partition);
            }
            let row = Row::of(&record, args.of);
            if row.matches(args) {
                match super::row(&row, output) {
                    Ok(more) => open = more,
                    Err(error) => failed = Some(error),
                }
                printed += 1;
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if let Some(trouble) = source.trouble() {
            tracing::warn!("{trouble}");
        }
    }
}

/// A record, decoded.
#[derive(Serialize)]
struct Row {
    partition: i32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// What it says, where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// What it holds, where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<Letter>,
}

/// Of a dead letter: the record that it is of.
#[derive(Serialize)]
struct Letter {
    topic: String,
    partition: i32,
    offset: i64,
    stage: String,
    reason: String,
}

impl Row {
    fn of(record: &Record<'_>, topic: TailedTopic) -> Self {
        let letter = DeadLetter::read(record).filter(|_| topic == TailedTopic::DeadLetters);
        let (value, rejected) = match (record.value, topic) {
            (None, _) | (_, TailedTopic::DeadLetters) => (None, None),
            (Some(_), TailedTopic::Events) => {
                split(decode_event(record).map(|event| json(&v1::Event::from(event))))
            }
            (Some(_), TailedTopic::Items) => {
                split(decode_item(record).map(|item| json(&v1::Item::from(item))))
            }
            (Some(_), TailedTopic::Impressions) => split(decode_impression(record).map(|slate| json(&slate))),
        };
        let raw = record.value.filter(|_| value.is_none()).map(super::shown);
        Self {
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp.map(|time| time.to_string()),
            key: record.key.map(super::shown),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), super::shown(value)))
                .collect(),
            value,
            raw,
            rejected,
            dead_letter: letter.map(|letter| Letter {
                topic: letter.place.topic.to_string(),
                partition: letter.place.partition,
                offset: letter.place.offset,
                stage: letter.stage,
                reason: letter.reason,
            }),
        }
    }

    fn matches(&self, args: &TailArgs) -> bool {
        let field =
            |name: &str| self.value.as_ref().and_then(|value| value.get(name)).and_then(Value::as_str);
        let visitor = args.visitor.as_ref().is_none_or(|id| field("visitorId") == Some(id));
        let kind = args.event_type.as_ref().is_none_or(|name| {
            let wanted =
                name.parse::<endcap_proto::EventType>().map(|kind| kind.as_str().to_ascii_uppercase());
            wanted.is_ok_and(|wanted| field("type") == Some(&format!("EVENT_TYPE_{wanted}")))
        });
        let letter = |wanted: &Option<String>, has: fn(&Letter, &str) -> bool| {
            wanted
                .as_ref()
                .is_none_or(|text| self.dead_letter.as_ref().is_some_and(|letter| has(letter, text)))
        };
        visitor
            && kind
            && letter(&args.stage, |letter, text| letter.stage == text)
            && letter(&args.reason, |letter, text| letter.reason.contains(text))
    }
}

fn split(read: Result<Value, Reject>) -> (Option<Value>, Option<String>) {
    match read {
        Ok(value) => (Some(value), None),
        Err(reject) => (None, Some(reject.to_string())),
    }
}

fn json(message: &impl Serialize) -> Value {
    serde_json::to_value(message).unwrap_or_default()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)?;
        if let Some(timestamp) = &self.timestamp {
            write!(f, " {timestamp}")?;
        }
        if let Some(key) = &self.key {
            write!(f, " [{key}]")?;
        }
        if let Some(Letter { topic, partition, offset, stage, reason }) = &self.dead_letter {
            write!(f, " {topic}/{partition}/{offset} {stage}: {reason}")?;
        }
        if let Some(rejected) = &self.rejected {
            write!(f, " REJECTED {rejected}")?;
        }
        match (&self.value, &self.raw) {
            (Some(value), _) => write!(f, " {value}"),
            (None, Some(raw)) => write!(f, " {raw}"),
            (None, None) => write!(f, " (no value)"),
        }
    }
}
