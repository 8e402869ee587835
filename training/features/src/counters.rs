//! How often each product is seen, clicked, viewed, put into carts and bought, and how lately.
//!
//! Counts are integers in fixed buckets of an hour and of a day, so that they do not depend on the
//! order in which events come; they decay when they are read, in one order of operations. Counting
//! a repeat counts it twice: whoever applies events drops repeats first.

use endcap_proto::{EventTime, EventType};

use crate::bytes::{Reader, StateError, write_varint};

const HOUR_MS: i64 = 3_600_000;
/// Hours kept: three half-lives of the day's window.
const HOURS: u32 = 72;
/// Days kept: five half-lives of the week's window.
const DAYS: u32 = 35;
const KINDS: usize = CounterKind::ALL.len();

/// What is counted of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CounterKind {
    /// Seen on a slate.
    Impression,
    /// Clicked on a slate.
    Click,
    /// Its page was opened.
    View,
    /// Put into a cart.
    Cart,
    /// Bought.
    Purchase,
}

/// The counts of one product.
///
/// `merge` of the counts of two sets of events is the counts of both; it is commutative and
/// associative (and not idempotent). Equal counts have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemCounters {
    hours: Buckets<HOURS>,
    days: Buckets<DAYS>,
}

/// A product's counts as of an instant, decayed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CounterFeatures {
    /// Seen on a slate.
    pub impressions: Windows,
    /// Clicked on a slate.
    pub clicks: Windows,
    /// Its page was opened.
    pub views: Windows,
    /// Put into a cart.
    pub carts: Windows,
    /// Bought.
    pub purchases: Windows,
    /// How fast it rises: `ln((d + 1) / (w + 1))`, where d and w are its clicks, views, carts and
    /// purchases per day, by the day's window and by the week's. 0 when steady.
    pub trending: f32,
}

/// Decayed counts `Σ 2^(−age / half-life)` for half-lives of an hour, a day and a week.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Windows {
    /// Half-life of an hour.
    pub hour: f32,
    /// Half-life of a day.
    pub day: f32,
    /// Half-life of a week.
    pub week: f32,
}

/// Counts by bucket of time, oldest first: the newest `KEEP` buckets, those without counts left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Buckets<const KEEP: u32>(Vec<(u32, [u32; KINDS])>);

// === impl ItemCounters ===

impl CounterKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Impression, Self::Click, Self::View, Self::Cart, Self::Purchase];

    /// What an event of this type counts as, if anything.
    pub fn of(event_type: EventType) -> Option<Self> {
        match event_type {
            EventType::Impression => Some(Self::Impression),
            EventType::Click => Some(Self::Click),
            EventType::View => Some(Self::View),
            EventType::AddToCart => Some(Self::Cart),
            EventType::Purchase => Some(Self::Purchase),
            _ => None,
        }
    }
}

impl ItemCounters {
    /// Version of the bytes that [`Self::encode`] writes.
    pub const FORMAT_VERSION: u8 = 1;

    /// Counts one event that names this product; whether that changed anything. An event older than
    /// the buckets kept changes nothing.
    ///
    /// The newest event decides which buckets are kept, so an event from a wrong clock in the far
    /// future must be held off by the caller.
    pub fn apply(&mut self, event_type: EventType, time: EventTime) -> bool {
        let Some(kind) = CounterKind::of(event_type) else { return false };
        // At most 2^31 hours until the year 9999.
        let hour = (time.as_millis() / HOUR_MS) as u32;
        let hours = self.hours.add(hour, kind);
        self.days.add(hour / 24, kind) || hours
    }

    /// The counts of the events of both.
    pub fn merge(&self, other: &Self) -> Self {
        Self { hours: self.hours.merge(&other.hours), days: self.days.merge(&other.days) }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.days.0.is_empty()
    }

    /// The counts as of an instant. A bucket counts as its middle, or as `as_of` where that lies
    /// before; buckets that begin at or after `as_of` do not count.
    pub fn read(&self, as_of: EventTime) -> CounterFeatures {
        let hour = self.hours.decayed(as_of, HOUR_MS, HOUR_MS);
        let day = self.hours.decayed(as_of, HOUR_MS, 24 * HOUR_MS);
        let week = self.days.decayed(as_of, 24 * HOUR_MS, 7 * 24 * HOUR_MS);
        let windows = |kind: CounterKind| {
            let kind = kind as usize;
            Windows { hour: hour[kind] as f32, day: day[kind] as f32, week: week[kind] as f32 }
        };
        // A steady rate r a day gives a decayed count of about r · half-life / ln 2.
        let interest = |counts: &[f64; KINDS], days: f64| {
            counts[CounterKind::Click as usize..].iter().sum::<f64>() * std::f64::consts::LN_2 / days
        };
        CounterFeatures {
            impressions: windows(CounterKind::Impression),
            clicks: windows(CounterKind::Click),
            views: windows(CounterKind::View),
            carts: windows(CounterKind::Cart),
            purchases: windows(CounterKind::Purchase),
            trending: ((interest(&day, 1.0) + 1.0) / (interest(&week, 7.0) + 1.0)).ln() as f32,
        }
    }

    /// The counts as bytes. Equal counts give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::FORMAT_VERSION];
        self.hours.encode(&mut out);
        self.days.encode(&mut out);
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another format version, or bytes that are no counts. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open("item counters", bytes, Self::FORMAT_VERSION)?;
        let counters = Self { hours: Buckets::decode(&mut reader)?, days: Buckets::decode(&mut reader)? };
        reader.finish()?;
        Ok(counters)
    }
}

// === impl Buckets ===

impl<const KEEP: u32> Buckets<KEEP> {
    fn add(&mut self, bucket: u32, kind: CounterKind) -> bool {
        let mut counts = [0; KINDS];
        counts[kind as usize] = 1;
        self.add_all(bucket, counts)
    }

    fn add_all(&mut self, bucket: u32, counts: [u32; KINDS]) -> bool {
        let newest = self.0.last().map_or(bucket, |&(newest, _)| newest);
        if newest.saturating_sub(bucket) >= KEEP {
            return false;
        }
        let place = self.0.partition_point(|&(other, _)| other < bucket);
        match self.0.get_mut(place) {
            Some((other, total)) if *other == bucket => {
                for (total, count) in total.iter_mut().zip(counts) {
                    *total = total.saturating_add(count);
                }
            }
            _ => {
                self.0.insert(place, (bucket, counts));
                let kept = self.0.partition_point(|&(other, _)| bucket.saturating_sub(other) >= KEEP);
                self.0.drain(..kept);
            }
        }
        true
    }

    fn merge(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for &(bucket, counts) in &other.0 {
            merged.add_all(bucket, counts);
        }
        merged
    }

    fn decayed(&self, as_of: EventTime, width_ms: i64, half_life_ms: i64) -> [f64; KINDS] {
        let mut sums = [0.0; KINDS];
        for &(bucket, counts) in &self.0 {
            let start = i64::from(bucket) * width_ms;
            if start >= as_of.as_millis() {
                break;
            }
            let age = (as_of.as_millis() - (start + width_ms / 2)).max(0);
            let weight = (-(age as f64) / half_life_ms as f64).exp2();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += f64::from(count) * weight;
            }
        }
        sums
    }

    /// Newest first: the step back from the bucket before, a mask of the kinds counted, the counts.
    fn encode(&self, out: &mut Vec<u8>) {
        write_varint(out, self.0.len() as u64);
        let mut previous = None;
        for &(bucket, counts) in self.0.iter().rev() {
            write_varint(out, u64::from(previous.map_or(bucket, |previous: u32| previous - bucket)));
            out.push((0..KINDS).filter(|&kind| counts[kind] > 0).fold(0, |mask, kind| mask | 1 << kind));
            for count in counts.into_iter().filter(|&count| count > 0) {
                write_varint(out, u64::from(count));
            }
            previous = Some(bucket);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let len = reader.count(KEEP as usize)?;
        let mut buckets = Vec::<(u32, [u32; KINDS])>::with_capacity(len);
        for _ in 0..len {
            let step = u32::try_from(reader.varint()?).ok();
            let bucket = match (buckets.first(), buckets.last()) {
                (Some(&(newest, _)), Some(&(previous, _))) => step
                    .filter(|&step| step > 0)
                    .and_then(|step| previous.checked_sub(step))
                    .filter(|&bucket| newest - bucket < KEEP),
                _ => step.filter(|&step| i64::from(step) <= EventTime::MAX.as_millis() / HOUR_MS),
            };
            let bucket = bucket.ok_or_else(|| reader.corrupt("a bucket lies outside of those kept"))?;
            let mask = reader.byte()?;
            if mask == 0 || mask >> KINDS != 0 {
                return Err(reader.corrupt("a bucket counts no kind or an unknown one"));
            }
            let mut counts = [0; KINDS];
            for (_, count) in counts.iter_mut().enumerate().filter(|(kind, _)| mask >> kind & 1 == 1) {
                let read = u32::try_from(reader.varint()?).ok().filter(|&read| read > 0);
                *count = read.ok_or_else(|| reader.corrupt("a count must be 1 to 2^32 - 1"))?;
            }
            buckets.push((bucket, counts));
        }
        buckets.reverse();
        Ok(Self(buckets))
    }
}
