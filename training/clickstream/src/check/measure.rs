//! The counts behind a [`CheckReport`], gathered event by event.

use std::collections::{BTreeSet, HashMap, HashSet};

use endcap_proto::{EventKey, EventTime, EventType, Item, ItemKey, UserKey, VisitorKey};

use super::{
    BotStats, CheckOptions, CheckReport, ClockFaults, EventStats, Gap, ItemStats, TypeShare, Verdict,
    VisitorStats,
};
use crate::{DatasetInfo, EventRef, TimeKind};

const HOUR_MS: i64 = 60 * 60 * 1000;
const MINUTE_MS: i64 = 60 * 1000;
/// 1971-01-01T00:00:00Z.
const YEAR_1971_MS: i64 = 31_536_000_000;
/// 2000-01-01T00:00:00Z.
const YEAR_2000_MS: i64 = 946_684_800_000;
/// Gaps and bots that a report names.
const EXAMPLES: usize = 5;

pub(super) struct Measure<'o> {
    options: &'o CheckOptions,
    real_time: bool,
    counts: [u64; EventType::ALL.len()],
    first: Option<EventTime>,
    last: Option<EventTime>,
    without_consent: u64,
    attributed: u64,
    event_keys: Vec<EventKey>,
    clock: ClockFaults,
    /// Hours since the epoch with an event.
    hours: BTreeSet<i64>,
    visitors: HashMap<VisitorKey, Visitor>,
    users: HashSet<UserKey>,
    mentions: HashMap<ItemKey, u64>,
    catalogue: HashSet<ItemKey>,
    embedding_lengths: BTreeSet<usize>,
    items: ItemStats,
    impressions: u64,
}

#[derive(Default)]
struct Visitor {
    /// Kept for those who were fast, to name them.
    id: Option<Box<str>>,
    last: Option<EventTime>,
    last_session: Option<u64>,
    events: u32,
    interest: u32,
    sessions: u32,
    /// Events that came within the dwell time after the one before.
    quick: u32,
    minute: i64,
    in_minute: u32,
    most_in_minute: u32,
}

impl<'o> Measure<'o> {
    pub(super) fn new(time: TimeKind, options: &'o CheckOptions) -> Self {
        Self {
            options,
            real_time: time == TimeKind::Real,
            counts: [0; EventType::ALL.len()],
            first: None,
            last: None,
            without_consent: 0,
            attributed: 0,
            event_keys: Vec::new(),
            clock: ClockFaults::default(),
            hours: BTreeSet::new(),
            visitors: HashMap::new(),
            users: HashSet::new(),
            mentions: HashMap::new(),
            catalogue: HashSet::new(),
            embedding_lengths: BTreeSet::new(),
            items: ItemStats::default(),
            impressions: 0,
        }
    }

    pub(super) fn event(&mut self, event: &EventRef<'_>) {
        let place = EventType::ALL.iter().position(|&event_type| event_type == event.event_type);
        self.counts[place.unwrap_or_default()] += 1;
        self.first = Some(self.first.map_or(event.time, |first| first.min(event.time)));
        self.last = Some(self.last.map_or(event.time, |last| last.max(event.time)));
        self.without_consent += u64::from(!event.consent);
        self.attributed += u64::from(event.attribution_token.is_some());
        self.event_keys.push(EventKey::of(event.event_id));
        self.users.extend(event.user_id.map(UserKey::of));
        for item in event.items() {
            *self.mentions.entry(ItemKey::of(item.item_id)).or_default() += 1;
        }
        if self.real_time {
            self.clock.future += u64::from(self.options.now.is_some_and(|now| event.time > now));
            self.clock.in_1970 += u64::from(event.time.as_millis() < YEAR_1971_MS);
            self.clock.before_2000 += u64::from(event.time.as_millis() < YEAR_2000_MS);
            self.hours.insert(event.time.as_millis() / HOUR_MS);
        }
        let visitor = self.visitors.entry(VisitorKey::of(event.visitor_id)).or_default();
        self.clock.backwards += u64::from(visitor.last.is_some_and(|last| event.time < last));
        visitor.event(event, self.real_time, self.options);
    }

    pub(super) fn item(&mut self, item: &Item) {
        if !self.catalogue.insert(item.id.key()) {
            self.items.repeated_entries += 1;
            return;
        }
        self.items.without_title += u64::from(item.title.is_none());
        self.items.without_category += u64::from(item.categories.is_empty());
        self.items.without_price += u64::from(item.price.is_none());
        if !item.embedding.is_empty() {
            self.embedding_lengths.insert(item.embedding.len());
        }
    }

    pub(super) fn impressions(&mut self, count: u64) {
        self.impressions += count;
    }

    /// The counts; the judgement is still to come.
    pub(super) fn report(mut self, info: &DatasetInfo) -> CheckReport {
        CheckReport {
            verdict: Verdict::Go,
            reasons: Vec::new(),
            remarks: Vec::new(),
            source: info.source.clone(),
            time: info.time,
            gaps: self.gaps(),
            visitors: self.visitor_stats(),
            items: self.item_stats(),
            bots: self.bots(),
            events: self.event_stats(),
            clock: self.clock,
            impressions: self.impressions,
        }
    }

    fn event_stats(&mut self) -> EventStats {
        let total = self.event_keys.len() as u64;
        let repeated = count_repeated(&mut self.event_keys);
        let types = EventType::ALL.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        EventStats {
            total,
            interest: types
                .clone()
                .filter(|(event_type, _)| event_type.is_interest())
                .map(|(_, count)| count)
                .sum(),
            by_type: types
                .map(|(&event_type, count)| TypeShare {
                    event_type,
                    count,
                    share: count as f64 / total as f64,
                })
                .collect(),
            first: self.first,
            last: self.last,
            repeated,
            without_consent: self.without_consent,
            attributed: self.attributed,
        }
    }

    fn gaps(&self) -> Vec<Gap> {
        let least = self.options.data_gap_ms.max(HOUR_MS);
        let time = |hour: i64| EventTime::clamped(hour * HOUR_MS);
        let pairs = self.hours.iter().zip(self.hours.iter().skip(1));
        let mut gaps: Vec<_> = pairs
            .map(|(&from, &to)| Gap { from: time(from), to: time(to) })
            // From the end of the last hour with events to the begin of the next.
            .filter(|gap| gap.to.millis_since(gap.from) - HOUR_MS > least)
            .collect();
        gaps.sort_by_key(|gap| std::cmp::Reverse(gap.to.millis_since(gap.from)));
        gaps.truncate(EXAMPLES);
        gaps
    }

    fn visitor_stats(&self) -> VisitorStats {
        let mut events: Vec<u32> = self.visitors.values().map(|visitor| visitor.events).collect();
        events.sort_unstable();
        // Nearest rank: the smallest value with at least that share at or below it.
        let rank = |share: f64| {
            let rank = (share * events.len() as f64).ceil() as usize;
            events.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        VisitorStats {
            total: self.visitors.len() as u64,
            with_sequence: self.visitors.values().filter(|visitor| visitor.interest >= 2).count() as u64,
            users: self.users.len() as u64,
            sessions: self.visitors.values().map(|visitor| u64::from(visitor.sessions)).sum(),
            median_events: rank(0.5),
            p99_events: rank(0.99),
            most_events: rank(1.0),
        }
    }

    fn item_stats(&self) -> ItemStats {
        let unknown = || self.mentions.iter().filter(|(key, _)| !self.catalogue.contains(key));
        ItemStats {
            seen: self.mentions.len() as u64,
            catalogue: self.catalogue.len() as u64,
            mentions: self.mentions.values().sum(),
            unknown_mentions: unknown().map(|(_, count)| count).sum(),
            unknown: unknown().count() as u64,
            without_events: self.catalogue.iter().filter(|key| !self.mentions.contains_key(key)).count()
                as u64,
            embedding_lengths: self.embedding_lengths.len() as u64,
            ..self.items
        }
    }

    fn bots(&self) -> BotStats {
        let mut bots: Vec<_> =
            self.visitors.values().filter(|visitor| visitor.is_bot(self.options)).collect();
        bots.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.id.cmp(&b.id)));
        BotStats {
            visitors: bots.len() as u64,
            events: bots.iter().map(|visitor| u64::from(visitor.events)).sum(),
            examples: bots
                .iter()
                .filter_map(|visitor| visitor.id.as_deref())
                .take(EXAMPLES)
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl Visitor {
    fn event(&mut self, event: &EventRef<'_>, real_time: bool, options: &CheckOptions) {
        self.events += 1;
        self.interest += u32::from(event.event_type.is_interest());
        let session = event.session_id.map(|id| EventKey::of(id).0);
        if real_time {
            let passed = self.last.map(|last| event.time.millis_since(last));
            let fresh = match session {
                Some(_) => session != self.last_session,
                None => passed.is_none_or(|passed| passed > options.session_gap_ms),
            };
            self.sessions += u32::from(fresh);
            self.quick += u32::from(passed.is_some_and(|passed| (0..options.bot_dwell_ms).contains(&passed)));
            let minute = event.time.as_millis() / MINUTE_MS;
            self.in_minute = if minute == self.minute { self.in_minute + 1 } else { 1 };
            self.minute = minute;
            self.most_in_minute = self.most_in_minute.max(self.in_minute);
            if self.most_in_minute >= options.bot_events_per_minute && self.id.is_none() {
                self.id = Some(event.visitor_id.into());
            }
        } else if session.is_some() {
            self.sessions += u32::from(session != self.last_session);
        }
        self.last_session = session;
        self.last = Some(event.time);
    }

    /// Many events in one minute, and no time between most of all events.
    fn is_bot(&self, options: &CheckOptions) -> bool {
        self.most_in_minute >= options.bot_events_per_minute && self.quick > self.events / 2
    }
}

/// How many keys are there again. Keys are 64-bit hashes: of 10 million different ids, two share one with
/// a probability of 3 in a million.
fn count_repeated(keys: &mut [EventKey]) -> u64 {
    keys.sort_unstable();
    keys.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
}
