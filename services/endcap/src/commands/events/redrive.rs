//! `endcap events redrive`: dead letters back to the topics that they came from.

use std::{fmt, sync::Arc};

use endcap_live::{
    DeadLetter, EventSink, Fate, KafkaSink, KafkaSource, RedriveOptions, RedriveReport, redrive,
};
use serde::Serialize;

use crate::{
    cli::{Output, RedriveArgs},
    commands::print,
    exit::Failure,
};

pub fn run(args: &RedriveArgs, output: Output) -> Result<(), Failure> {
    let config = super::load(&args.topic)?;
    let topics = &config.kafka.topics;
    let mut source = KafkaSource::new(&config.kafka, &topics.dead_letters)?;
    let sink: Arc<dyn EventSink> = Arc::new(KafkaSink::prompt(&config.kafka)?);
    let options = RedriveOptions {
        stage: args.stage.clone(),
        reason: args.reason.clone(),
        topic: args.from_topic.clone(),
        sound_only: args.sound_only,
        again: args.again,
        dry_run: args.dry_run,
    };
    let mut letters = Vec::new();
    let list = args.dry_run || args.list;
    let report = redrive(&mut source, &*sink, topics, &options, &mut |letter, fate| {
        if list {
            letters.push(Entry::of(
                letter,
                fate,
                letter.verdict(topics).err().map(|reject| reject.to_string()),
            ));
        }
    })?;
    print(&Redriven { dry_run: args.dry_run, report: Counts::from(report), letters }, output)?;
    Ok(())
}

#[derive(Serialize)]
struct Redriven {
    dry_run: bool,
    #[serde(flatten)]
    report: Counts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    letters: Vec<Entry>,
}

#[derive(Serialize)]
struct Counts {
    sent: u64,
    redriven_before: u64,
    kept: u64,
    unsound: u64,
    repeats: u64,
    foreign: u64,
}

#[derive(Serialize)]
struct Entry {
    topic: String,
    partition: i32,
    offset: i64,
    stage: String,
    reason: String,
    fate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_to: Option<String>,
    /// Why it would be rejected once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
}

impl Entry {
    fn of(letter: &DeadLetter, fate: &Fate, now: Option<String>) -> Self {
        let (fate, why, sent_to) = match fate {
            Fate::Sent(place) => ("sent", None, place.as_ref().map(ToString::to_string)),
            Fate::Before => ("redriven before", None, None),
            Fate::Kept(why) => ("kept", Some(why.clone()), None),
        };
        Self {
            topic: letter.place.topic.to_string(),
            partition: letter.place.partition,
            offset: letter.place.offset,
            stage: letter.stage.clone(),
            reason: letter.reason.clone(),
            fate,
            why,
            sent_to,
            now,
        }
    }
}

impl From<RedriveReport> for Counts {
    fn from(report: RedriveReport) -> Self {
        let RedriveReport { sent, before, kept, unsound, repeats, foreign } = report;
        Self { sent, redriven_before: before, kept, unsound, repeats, foreign }
    }
}

impl fmt::Display for Redriven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in &self.letters {
            let Entry { topic, partition, offset, stage, reason, fate, .. } = letter;
            write!(f, "{topic}/{partition}/{offset}  {fate:<15}  {stage}: {reason}")?;
            if let Some(why) = &letter.why {
                write!(f, "  ({why})")?;
            }
            if let Some(now) = letter.now.as_ref().filter(|_| letter.why.is_none()) {
                write!(f, "  (still rejected: {now})")?;
            }
            writeln!(f)?;
        }
        let Counts { sent, redriven_before, kept, unsound, repeats, foreign } = &self.report;
        let verb = if self.dry_run { "would be sent" } else { "sent" };
        write!(f, "{sent} {verb}, {redriven_before} redriven before, {kept} kept")?;
        for (count, what) in [
            (unsound, "of those sent would still be rejected"),
            (repeats, "letters were there twice"),
            (foreign, "records are no dead letters"),
        ] {
            if *count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        writeln!(f)
    }
}
