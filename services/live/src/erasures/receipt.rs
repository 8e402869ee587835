//! The receipt of an erasure: what went, what goes by itself and when, and what is left to others.

use std::fmt;

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};

use super::Gone;
use crate::kafka::Retention;

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Who, as was asked: `user ID` or `visitor ID`.
    pub shopper: String,
    /// What they did before this instant is forgotten.
    pub before: String,
    /// Where on the topic of erasures it is written.
    pub written: Vec<String>,
    /// What became of the state.
    pub state: StateReceipt,
    /// What became of archives.
    pub archives: Vec<ArchiveReceipt>,
    /// When the topics themselves have forgotten.
    pub topics: Vec<TopicReceipt>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// What became of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReceipt {
    /// Nothing of it is left there, on disk either.
    pub forgotten: bool,
    /// Which state, and where it is not forgotten what comes next.
    pub said: String,
    /// What there was.
    #[serde(flatten)]
    pub gone: Gone,
}

/// What became of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArchiveReceipt {
    /// Which.
    pub archive: String,
    /// It is without them.
    pub rewritten: bool,
    /// Events that are gone.
    pub events: u64,
    /// Slates that are gone.
    pub impressions: u64,
    /// Files that were written anew.
    pub files: u64,
    /// What there is to know of it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub said: String,
}

/// When a topic has forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicReceipt {
    /// Which.
    pub topic: String,
    /// By this day, in UTC; none where it never does, or where that is not known.
    pub forgotten_on: Option<String>,
    /// What decides it.
    pub because: String,
}

impl TopicReceipt {
    /// Of what was written to a topic until `now`.
    pub fn new(retention: Retention, now: EventTime) -> Self {
        let day = retention.forgets_within_ms.map(|within| {
            let at = now.plus_millis(i64::try_from(within).unwrap_or(i64::MAX));
            // Not the day in which it is forgotten, but one at whose beginning it is.
            at.plus_millis(DAY_MS - 1).to_string().chars().take(DATE).collect()
        });
        Self { topic: retention.topic, forgotten_on: day, because: retention.because }
    }
}

const DAY_MS: i64 = 86_400_000;
/// Letters of a date: `2026-11-26`.
const DATE: usize = 10;

/// What holds of every erasure.
pub const NOTES: [&str; 6] = [
    "other services over these topics forget as they read the topic of erasures, at the latest when they are started",
    "counters of items are sums over all shoppers and name nobody: they stay, and fade within weeks",
    "what was done without consent in a session that has a name is kept until the session is over, 90 minutes at most",
    "the bundle that serves was trained before: the next training is without them",
    "backups of the state and copies of an archive are yours to remove; a state that is restored forgets again when it is started",
    "slates on their way to the broker, also those on disk while it is away, go where their topic goes",
];

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shopper, before, written, state, archives, topics, notes } = self;
        writeln!(f, "{shopper}: forgotten as of {before}")?;
        writeln!(f, "  written    {}", written.join("; "))?;
        let Gone { linked, visitors, entries } = &state.gone;
        let done = |done: &bool| if *done { "" } else { "NOT YET: " };
        writeln!(
            f,
            "  state      {}{}; {visitors} visitors with {entries} entries of history, {} of them linked to the account",
            done(&state.forgotten),
            state.said,
            linked.len()
        )?;
        for ArchiveReceipt { archive, rewritten, events, impressions, files, said } in archives {
            let said = if said.is_empty() { String::new() } else { format!("; {said}") };
            writeln!(
                f,
                "  archive    {}{archive}: {events} events and {impressions} slates taken out of {files} files{said}",
                done(rewritten)
            )?;
        }
        for TopicReceipt { topic, forgotten_on, because } in topics {
            match forgotten_on {
                Some(day) => writeln!(f, "  topic      {topic} has forgotten by {day} ({because})")?,
                None => writeln!(f, "  topic      {topic}: {because}")?,
            }
        }
        for note in notes {
            writeln!(f, "  note       {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_one_at_whose_beginning_it_is_forgotten() {
        let now = EventTime::clamped(1_764_129_600_000); // 2025-11-26T04:00:00Z
        let of = |within| {
            let retention =
                Retention { topic: "events".into(), forgets_within_ms: within, because: String::new() };
            TopicReceipt::new(retention, now).forgotten_on
        };
        assert_eq!(of(Some(0)).as_deref(), Some("2025-11-27"));
        assert_eq!(of(Some(20 * 3_600_000)).as_deref(), Some("2025-11-27"), "at midnight sharp");
        assert_eq!(of(Some(20 * 3_600_000 + 1)).as_deref(), Some("2025-11-28"));
        assert_eq!(of(None), None);
    }
}
