//! How often each product is seen, clicked, viewed, put into carts and bought, and how lately.
//!
//! Counts are integers in fixed buckets, of an hour for the newest three days and of a day before
//! that, so that they do not depend on the order in which events come; they decay when they are
//! read, in one order of operations. Counting a repeat counts it twice: whoever applies events drops
//! repeats first.

use std::sync::LazyLock;

use endcap_proto::{EventTime, EventType};

use crate::bytes::{Reader, StateError, write_varint};

const HOUR_MS: i64 = 3_600_000;
/// Hours kept, back from the newest one counted.
const HOURS: u32 = 72;
/// Days kept, back from the day of the newest hour: five half-lives of the week's window.
const DAYS: u32 = 35;
const KINDS: usize = CounterKind::ALL.len();
/// Half-lives of [`Windows`], in hours.
const HALF_LIVES: [f64; 3] = [1.0, 24.0, 168.0];

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
    /// The newest [`HOURS`], oldest first, those without counts left out.
    hours: Vec<Bucket>,
    /// What was counted before those, within the newest [`DAYS`].
    days: Vec<Bucket>,
}

/// Counts of one hour or day since 1970.
type Bucket = (u32, [u32; KINDS]);

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
        let mut counts = [0; KINDS];
        counts[kind as usize] = 1;
        self.add((time.as_millis() / HOUR_MS) as u32, counts)
    }

    fn add(&mut self, hour: u32, counts: [u32; KINDS]) -> bool {
        let newest = self.hours.last().map_or(hour, |&(newest, _)| newest.max(hour));
        if newest - hour < HOURS {
            add(&mut self.hours, hour, counts);
            self.roll(newest);
            return true;
        }
        self.add_day(newest, hour / 24, counts)
    }

    fn add_day(&mut self, newest: u32, day: u32, counts: [u32; KINDS]) -> bool {
        let kept = newest / 24 - day < DAYS;
        if kept {
            add(&mut self.days, day, counts);
        }
        kept
    }

    /// Moves the hours that have grown too old to their days, and drops the days that have.
    fn roll(&mut self, newest: u32) {
        let old = self.hours.partition_point(|&(hour, _)| newest - hour >= HOURS);
        for i in 0..old {
            let (hour, counts) = self.hours[i];
            self.add_day(newest, hour / 24, counts);
        }
        self.hours.drain(..old);
        let old = self.days.partition_point(|&(day, _)| newest / 24 - day >= DAYS);
        self.days.drain(..old);
    }

    /// The counts of the events of both.
    pub fn merge(&self, other: &Self) -> Self {
        // The newest hours first, so that what is older than both is told apart at once.
        let (mut merged, older) =
            if self.newest() >= other.newest() { (self.clone(), other) } else { (other.clone(), self) };
        let Some(newest) = merged.newest() else { return merged };
        for &(hour, counts) in &older.hours {
            merged.add(hour, counts);
        }
        for &(day, counts) in &older.days {
            merged.add_day(newest, day, counts);
        }
        merged
    }

    fn newest(&self) -> Option<u32> {
        self.hours.last().map(|&(hour, _)| hour)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }

    /// The counts as of an instant. A bucket counts as its middle, or as `as_of` where that lies
    /// before; buckets that begin at or after `as_of` do not count.
    pub fn read(&self, as_of: EventTime) -> CounterFeatures {
        features(&self.hours, &self.days, &Decay::at(as_of))
    }

    /// Counts one event where the bytes of counts lie; false, and nothing done, where they have to be
    /// decoded, applied and encoded: when the event does not fall into a count of the newest hour that is
    /// there already, or its number would take more room.
    pub fn add_to(bytes: &mut [u8], event_type: EventType, time: EventTime) -> bool {
        Self::count_in_place(bytes, event_type, time).is_some()
    }

    fn count_in_place(bytes: &mut [u8], event_type: EventType, time: EventTime) -> Option<()> {
        let Some(kind) = CounterKind::of(event_type) else { return Some(()) };
        let mut at = 0;
        if *bytes.first()? != Self::FORMAT_VERSION {
            return None;
        }
        at += 1;
        if varint(bytes, &mut at)? == 0 || varint(bytes, &mut at)? != (time.as_millis() / HOUR_MS) as u64 {
            return None;
        }
        let mask = *bytes.get(at)?;
        at += 1;
        if mask >> kind as usize & 1 == 0 {
            return None;
        }
        for _ in 0..(mask & ((1 << kind as usize) - 1)).count_ones() {
            varint(bytes, &mut at)?;
        }
        // The low seven bits; where they overflow, the slow way carries.
        let byte = bytes.get_mut(at).filter(|byte| **byte & 0x7f < 0x7f)?;
        *byte += 1;
        Some(())
    }

    /// Whether encoded counts have an event within the hours kept before an instant, or after it.
    pub fn is_recent(bytes: &[u8], as_of: EventTime) -> bool {
        let mut at = 1;
        let newest = varint(bytes, &mut at).filter(|&hours| hours > 0).and_then(|_| varint(bytes, &mut at));
        newest.is_some_and(|newest| newest + u64::from(HOURS) >= (as_of.as_millis() / HOUR_MS) as u64)
    }

    /// As [`Self::decode`] and [`Self::read`], without allocating.
    ///
    /// # Errors
    /// Another format version, or bytes that are no counts. Never panics.
    pub fn read_encoded(bytes: &[u8], as_of: EventTime) -> Result<CounterFeatures, StateError> {
        Self::read_decayed(bytes, &Decay::at(as_of))
    }

    /// As [`Self::read_encoded`], for many products as of one instant.
    ///
    /// # Errors
    /// Another format version, or bytes that are no counts. Never panics.
    pub fn read_decayed(bytes: &[u8], as_of: &Decay) -> Result<CounterFeatures, StateError> {
        let mut reader = Reader::open("item counters", bytes, Self::FORMAT_VERSION)?;
        let (mut hours, mut days) = ([EMPTY; HOURS as usize], [EMPTY; DAYS as usize]);
        let hours = decode_into(&mut reader, HOURS, &mut hours)?;
        let days = decode_into(&mut reader, DAYS, &mut days)?;
        Ok(features(hours, days, as_of))
    }

    /// The counts as bytes. Equal counts give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::FORMAT_VERSION];
        encode(&self.hours, &mut out);
        encode(&self.days, &mut out);
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another format version, or bytes that are no counts. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open("item counters", bytes, Self::FORMAT_VERSION)?;
        let hours = decode(&mut reader, HOURS)?;
        let days = decode(&mut reader, DAYS)?;
        let newest = hours.last().map(|&(hour, _)| hour);
        let rolled = newest.and_then(|newest| newest.checked_sub(HOURS)).map(|hour| hour / 24);
        let within = |&(day, _): &Bucket| newest.is_some_and(|newest| newest / 24 - day < DAYS);
        if days.last().map(|&(day, _)| day) > rolled || !days.first().is_none_or(within) {
            return Err(reader.corrupt("a day lies outside of those kept"));
        }
        reader.finish()?;
        Ok(Self { hours, days })
    }
}

fn features(hours: &[Bucket], days: &[Bucket], as_of: &Decay) -> CounterFeatures {
    let mut sums = [[0.0; KINDS]; 3];
    as_of.days.add(days, &DAY_STEPS, &mut sums);
    as_of.hours.add(hours, &HOUR_STEPS, &mut sums);
    let windows = |kind: CounterKind| {
        let [hour, day, week] = sums.map(|sums| sums[kind as usize] as f32);
        Windows { hour, day, week }
    };
    // A steady rate r a day gives a decayed count of about r · half-life / ln 2.
    let interest = |window: usize| {
        let count: f64 = sums[window][CounterKind::Click as usize..].iter().sum();
        count * std::f64::consts::LN_2 / (HALF_LIVES[window] / 24.0)
    };
    CounterFeatures {
        impressions: windows(CounterKind::Impression),
        clicks: windows(CounterKind::Click),
        views: windows(CounterKind::View),
        carts: windows(CounterKind::Cart),
        purchases: windows(CounterKind::Purchase),
        trending: ((interest(1) + 1.0) / (interest(2) + 1.0)).ln() as f32,
    }
}

fn add(buckets: &mut Vec<Bucket>, bucket: u32, counts: [u32; KINDS]) {
    // Mostly the newest.
    let place = match buckets.last() {
        Some(&(last, _)) if last == bucket => buckets.len() - 1,
        _ => buckets.partition_point(|&(other, _)| other < bucket),
    };
    match buckets.get_mut(place) {
        Some((other, total)) if *other == bucket => {
            for (total, count) in total.iter_mut().zip(counts) {
                *total = total.saturating_add(count);
            }
        }
        _ => buckets.insert(place, (bucket, counts)),
    }
}

/// What a count loses in whole steps of a bucket's width, for each of [`HALF_LIVES`].
type Steps = [[f64; 3]];

static HOUR_STEPS: LazyLock<Vec<[f64; 3]>> = LazyLock::new(|| steps(1, 2 * HOURS));
static DAY_STEPS: LazyLock<Vec<[f64; 3]>> = LazyLock::new(|| steps(24, 2 * DAYS));

fn steps(hours: u32, count: u32) -> Vec<[f64; 3]> {
    (0..count).map(|step| HALF_LIVES.map(|half_life| (-f64::from(step * hours) / half_life).exp2())).collect()
}

/// How counts have decayed by an instant.
#[derive(Debug, Clone, Copy)]
pub struct Decay {
    hours: BucketDecay,
    days: BucketDecay,
}

/// The same for buckets of one width.
#[derive(Debug, Clone, Copy)]
struct BucketDecay {
    /// Width, in hours.
    hours: u32,
    as_of: EventTime,
    /// The bucket that the instant lies in, and what is left of a count in its middle, for each of [`HALF_LIVES`].
    now: u32,
    first: [f64; 3],
}

impl Decay {
    /// As of an instant.
    pub fn at(as_of: EventTime) -> Self {
        Self { hours: BucketDecay::at(as_of, 1), days: BucketDecay::at(as_of, 24) }
    }
}

impl BucketDecay {
    fn at(as_of: EventTime, hours: u32) -> Self {
        let width_ms = i64::from(hours) * HOUR_MS;
        let now = (as_of.as_millis() / width_ms) as u32;
        // Age of the middle of the bucket that `as_of` lies in, in hours; the older ones are whole steps
        // older.
        let phase = (as_of.as_millis() % width_ms - width_ms / 2) as f64 / HOUR_MS as f64;
        let first = HALF_LIVES.map(|half_life| (-phase / half_life).exp2());
        Self { hours, as_of, now, first }
    }

    /// Adds the decayed counts of buckets, oldest first.
    fn add(&self, buckets: &[Bucket], steps: &Steps, sums: &mut [[f64; KINDS]; 3]) {
        for &(bucket, counts) in buckets {
            if i64::from(bucket) * i64::from(self.hours) * HOUR_MS >= self.as_of.as_millis() {
                break;
            }
            let step = self.now - bucket;
            let weights: [f64; 3] = std::array::from_fn(|window| {
                let whole = steps.get(step as usize).map_or_else(
                    || (-f64::from(step) * f64::from(self.hours) / HALF_LIVES[window]).exp2(),
                    |steps| steps[window],
                );
                (self.first[window] * whole).min(1.0)
            });
            for (sums, weight) in sums.iter_mut().zip(weights) {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += f64::from(count) * weight;
                }
            }
        }
    }
}

/// Newest first: the step back from the bucket before, a mask of the kinds counted, the counts.
fn encode(buckets: &[Bucket], out: &mut Vec<u8>) {
    write_varint(out, buckets.len() as u64);
    let mut previous = None;
    for &(bucket, counts) in buckets.iter().rev() {
        write_varint(out, u64::from(previous.map_or(bucket, |previous: u32| previous - bucket)));
        out.push((0..KINDS).filter(|&kind| counts[kind] > 0).fold(0, |mask, kind| mask | 1 << kind));
        for count in counts.into_iter().filter(|&count| count > 0) {
            write_varint(out, u64::from(count));
        }
        previous = Some(bucket);
    }
}

fn decode(reader: &mut Reader<'_>, keep: u32) -> Result<Vec<Bucket>, StateError> {
    let mut buckets = [EMPTY; HOURS as usize];
    decode_into(reader, keep, &mut buckets).map(|buckets| buckets.to_vec())
}

const EMPTY: Bucket = (0, [0; KINDS]);

/// Fills the end of `room`, which holds `keep` buckets at least: oldest first.
fn decode_into<'a>(
    reader: &mut Reader<'_>,
    keep: u32,
    room: &'a mut [Bucket],
) -> Result<&'a [Bucket], StateError> {
    let len = reader.count(keep as usize)?;
    let begin = room.len() - len;
    let buckets = &mut room[begin..];
    for i in (0..len).rev() {
        let step = u32::try_from(reader.varint()?).ok();
        let bucket = match (buckets.last(), buckets.get(i + 1)) {
            (Some(&(newest, _)), Some(&(previous, _))) => step
                .filter(|&step| step > 0)
                .and_then(|step| previous.checked_sub(step))
                .filter(|&bucket| newest - bucket < keep),
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
        buckets[i] = (bucket, counts);
    }
    Ok(buckets)
}

/// The number at a place, which moves behind it.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
