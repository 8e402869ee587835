//! Is this clickstream sound, and is it enough to learn from?
//!
//! One pass over events and catalogue gathers counts ([`CheckReport`]); thresholds ([`CheckOptions`])
//! turn them into a verdict, with a reason for every no. Memory: about 80 bytes a visitor, 16 a
//! product and 8 an event (its id's key, to find repeats).

mod measure;
mod report;

use endcap_proto::{EventTime, EventType};
use serde::{Deserialize, Serialize};

use crate::{ClickstreamError, Dataset, TimeKind};
use measure::Measure;

/// What is judged, and how strictly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckOptions {
    /// Events later than this are from the future; when `None`, none is. The caller's clock says it.
    #[serde(skip)]
    pub now: Option<EventTime>,
    /// The fewest events that show interest (view, click, cart, wishlist, purchase, rating).
    pub min_interest_events: u64,
    /// The fewest visitors.
    pub min_visitors: u64,
    /// The fewest visitors with two such events or more: a single one says nothing of what comes next.
    pub min_sequences: u64,
    /// The fewest products with events.
    pub min_items: u64,
    /// The largest share of events whose id was there before.
    pub max_repeated_share: f64,
    /// The largest share of events from the future, and of events from 1970.
    pub max_clock_fault_share: f64,
    /// The largest share of mentions of products that the catalogue lacks, where there is one.
    pub max_unknown_item_share: f64,
    /// The largest share of events by suspected bots.
    pub max_bot_share: f64,
    /// Without an event for longer than this, a session ends, in milliseconds; where events name
    /// their session, that counts.
    pub session_gap_ms: i64,
    /// Without any event for longer than this, there is a gap in the data, in milliseconds.
    pub data_gap_ms: i64,
    /// A visitor with at least this many events in one minute of the clock …
    pub bot_events_per_minute: u32,
    /// … and with less than this between most of them, in milliseconds, is suspected to be a bot.
    pub bot_dwell_ms: i64,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            now: None,
            min_interest_events: 1000,
            min_visitors: 50,
            min_sequences: 50,
            min_items: 20,
            max_repeated_share: 0.05,
            max_clock_fault_share: 0.05,
            max_unknown_item_share: 0.5,
            max_bot_share: 0.5,
            session_gap_ms: 30 * 60 * 1000,
            data_gap_ms: 24 * 60 * 60 * 1000,
            bot_events_per_minute: 60,
            bot_dwell_ms: 1000,
        }
    }
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Train on it.
    Go,
    /// Do not; the reasons say why.
    NoGo,
}

/// What was found. [`std::fmt::Display`] writes it for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// The judgement.
    pub verdict: Verdict,
    /// Why not: one sentence each, with what to do. Empty for [`Verdict::Go`].
    pub reasons: Vec<String>,
    /// What to mind all the same.
    pub remarks: Vec<String>,
    /// Where the events come from.
    pub source: String,
    /// What their times are.
    pub time: TimeKind,
    /// Counts of events.
    pub events: EventStats,
    /// Faults of clocks.
    pub clock: ClockFaults,
    /// The longest times without any event, longest first, five at most; none for ordinal times.
    pub gaps: Vec<Gap>,
    /// Counts of visitors.
    pub visitors: VisitorStats,
    /// Counts of products.
    pub items: ItemStats,
    /// Suspected bots; none for ordinal times.
    pub bots: BotStats,
    /// Slates that were served.
    pub impressions: u64,
}

/// Counts of events.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EventStats {
    /// All.
    pub total: u64,
    /// Those that show interest.
    pub interest: u64,
    /// How many of each type, and their share of all, in the order of types.
    pub by_type: Vec<TypeShare>,
    /// The earliest.
    pub first: Option<EventTime>,
    /// The latest.
    pub last: Option<EventTime>,
    /// Events whose id was there before.
    pub repeated: u64,
    /// Events without consent: they act on their own session alone.
    pub without_consent: u64,
    /// Events that name the slate that led to them.
    pub attributed: u64,
}

/// Events of one type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TypeShare {
    /// Which type.
    pub event_type: EventType,
    /// How many.
    pub count: u64,
    /// Share of all events.
    pub share: f64,
}

/// Faults of clocks, in events. All but the last are not judged where times are ordinal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ClockFaults {
    /// Later than now.
    pub future: u64,
    /// Within 1970: seconds taken for milliseconds, or a clock that was never set.
    pub in_1970: u64,
    /// Before 2000-01-01, those of 1970 among them.
    pub before_2000: u64,
    /// Earlier than the event before, of the same visitor, in the order of the files. Histories are
    /// put in order when they are read, so this is no fault of its own.
    pub backwards: u64,
}

/// A time without any event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last event before, cut down to its hour.
    pub from: EventTime,
    /// The first event after, cut down to its hour.
    pub to: EventTime,
}

/// Counts of visitors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VisitorStats {
    /// All.
    pub total: u64,
    /// Those with two events that show interest, or more.
    pub with_sequence: u64,
    /// Accounts.
    pub users: u64,
    /// Sessions; none for ordinal times where events do not name them.
    pub sessions: u64,
    /// Events of the visitor in the middle.
    pub median_events: u32,
    /// Events of which 99 % of visitors have no more.
    pub p99_events: u32,
    /// Events of the busiest.
    pub most_events: u32,
}

/// Counts of products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ItemStats {
    /// Products with events.
    pub seen: u64,
    /// Products in the catalogue; 0 when there is none.
    pub catalogue: u64,
    /// Entries of the catalogue beyond the first for one product.
    pub repeated_entries: u64,
    /// Mentions of products in events.
    pub mentions: u64,
    /// Mentions of products that the catalogue lacks.
    pub unknown_mentions: u64,
    /// Products with events that the catalogue lacks.
    pub unknown: u64,
    /// Products of the catalogue without events.
    pub without_events: u64,
    /// Products of the catalogue without a title.
    pub without_title: u64,
    /// Products of the catalogue without a category.
    pub without_category: u64,
    /// Products of the catalogue without a price.
    pub without_price: u64,
    /// Lengths of the shop's own vectors; more than one is an error.
    pub embedding_lengths: u64,
}

/// Suspected bots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BotStats {
    /// How many visitors.
    pub visitors: u64,
    /// Their events.
    pub events: u64,
    /// Ids of the busiest, five at most.
    pub examples: Vec<String>,
}

/// Reads the whole data set once and judges it.
///
/// # Errors
/// When a file cannot be read; what is merely wrong with its contents is in the report.
pub fn check(dataset: &Dataset, options: &CheckOptions) -> Result<CheckReport, ClickstreamError> {
    let mut measure = Measure::new(dataset.info.time, options);
    for batch in dataset.events()? {
        batch?.iter().for_each(|event| measure.event(&event));
    }
    for batch in dataset.item_batches()? {
        batch?.iter().for_each(|item| measure.item(item));
    }
    for batch in dataset.impressions()? {
        measure.impressions(batch?.len() as u64);
    }
    let mut report = measure.report(&dataset.info);
    judge(&mut report, options);
    Ok(report)
}

fn judge(report: &mut CheckReport, options: &CheckOptions) {
    let CheckReport { events, clock, visitors, items, bots, .. } = &*report;
    let (mut reasons, mut remarks) = (Vec::new(), Vec::new());
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);

    let mut enough = |found: u64, least: u64, what: &str| {
        if found < least {
            reasons.push(format!("too few {what}: {found}, where at least {least} are needed"));
        }
    };
    enough(events.interest, options.min_interest_events, "events that show interest in a product");
    enough(visitors.total, options.min_visitors, "visitors");
    enough(visitors.with_sequence, options.min_sequences, "visitors with two such events or more");
    enough(items.seen, options.min_items, "products with events");

    let mut at_most = |part: u64, whole: u64, most: f64, what: &str, advice: &str| {
        let found = share(part, whole);
        if found > most {
            reasons.push(format!(
                "{} of {what}, where at most {} is sound: {advice}",
                percent(found),
                percent(most)
            ));
        } else if part > 0 {
            remarks.push(format!("{part} ({}) of {what}", percent(found)));
        }
    };
    let (total, clocks) = (events.total, options.max_clock_fault_share);
    let what = "events have an id that was there before";
    at_most(events.repeated, total, options.max_repeated_share, what, "is a file there twice?");
    let what = "events are from 1970";
    at_most(clock.in_1970, total, clocks, what, "are seconds taken for milliseconds?");
    let what = "events are from the future";
    at_most(clock.future, total, clocks, what, "are the clients' clocks or time zones wrong?");
    let what = "events are by suspected bots";
    at_most(bots.events, total, options.max_bot_share, what, "leave those visitors out");
    if items.catalogue > 0 {
        let what = "mentions are of products that the catalogue lacks";
        let advice = "is it the catalogue of these events?";
        at_most(items.unknown_mentions, items.mentions, options.max_unknown_item_share, what, advice);
    }
    if items.embedding_lengths > 1 {
        let lengths = items.embedding_lengths;
        reasons
            .push(format!("the catalogue's embeddings have {lengths} lengths: one model must make them all"));
    }

    if items.catalogue == 0 && items.seen > 0 {
        let remark =
            "there is no catalogue: products are known by their ids only, and new ones have no place";
        remarks.push(remark.to_owned());
    }
    if items.repeated_entries > 0 {
        remarks.push(format!(
            "{} catalogue entries repeat a product: the last one counts",
            items.repeated_entries
        ));
    }
    if clock.backwards > 0 {
        let found = percent(share(clock.backwards, total));
        let remark =
            "of events are earlier than the one before of the same visitor: the files are not in time order";
        remarks.push(format!("{found} {remark}"));
    }
    if events.without_consent > 0 {
        let found = percent(share(events.without_consent, total));
        remarks.push(format!("{} ({found}) of events are without consent", events.without_consent));
    }
    if !report.gaps.is_empty() {
        remarks.push("there are times without any event: was tracking interrupted?".to_owned());
    }
    if report.time == TimeKind::Ordinal {
        remarks
            .push("times only order the events: clocks, gaps, sessions and bots cannot be judged".to_owned());
    }
    report.verdict = if reasons.is_empty() { Verdict::Go } else { Verdict::NoGo };
    report.reasons = reasons;
    report.remarks = remarks;
}

#[cfg(test)]
mod tests;
