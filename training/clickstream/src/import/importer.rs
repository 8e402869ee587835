//! The importer's books: what a format reads goes through here into the data set.
//!
//! A format reads a row ([`At`]), makes an [`Event`] or [`Item`] of it, or says why not
//! ([`BadRow`]), and offers the outcome. The importer checks it, counts it, puts events in the order
//! of time and writes them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use endcap_proto::{
    Event, EventId, EventItem, EventTime, EventType, FieldError, Item, ItemId, ItemKey, VisitorId, VisitorKey,
};
use twox_hash::XxHash3_64;

use super::{
    Format, ImportOptions, ImportProgress, ImportReport, Mapping, input,
    sort::{InTime, RUN_ENTRIES},
};
use crate::{BadRows, ClickstreamError, DatasetInfo, DatasetWriter, Part, TimeKind};

/// How many rows pass between two calls of the observer.
const OBSERVE_EVERY: u64 = 8192;
/// How many kinds of sound but unused rows are told apart.
const SKIPPED_KINDS: usize = 100;

/// Takes what a format reads and writes the data set.
pub(super) struct Importer<'a> {
    pub(super) options: &'a ImportOptions,
    /// Of the source being read: the events' or the catalogue's.
    pub(super) mapping: &'a Mapping,
    writer: DatasetWriter,
    in_time: InTime,
    bad_rows: BadRows,
    report: ImportReport,
    observe: &'a mut dyn FnMut(ImportProgress),
    rows: u64,
    /// The next event's place in the sequence, where times are ordinal.
    step: i64,
    visitors: HashSet<VisitorKey>,
    /// Ids that events name, and their order of appearance.
    named: HashMap<ItemKey, ItemId>,
    named_order: Vec<ItemKey>,
    listed: HashSet<ItemKey>,
}

/// Where a row stands, and its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// From 1.
    pub(super) line: u64,
    /// As read, without the line's end.
    pub(super) raw: &'a [u8],
}

/// Why a row cannot be taken. Names the field and the rule; the value only where it helps, so that
/// rows with the same fault are counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadRow(pub(super) String);

/// Begins the events of one file: they carry ids derived from where they stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    stamp: u64,
    consent: bool,
}

/// Begins the events of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowOrigin {
    digest: u64,
    events: u64,
    consent: bool,
}

// === impl Importer ===

impl<'a> Importer<'a> {
    pub(super) fn create(
        format: Format,
        options: &'a ImportOptions,
        out: &Path,
        observe: &'a mut dyn FnMut(ImportProgress),
    ) -> Result<Self, ClickstreamError> {
        let source = options.source.clone().unwrap_or_else(|| format.to_string());
        let writer = DatasetWriter::create(out, DatasetInfo::new(&source))?;
        let bad_rows = BadRows::create(out.join("bad-rows.jsonl"), options.max_bad_rows)?;
        let report = ImportReport::begun(format, source, out);
        Ok(Self {
            options,
            mapping: &options.mapping,
            writer,
            in_time: InTime::new(&out.join(".sorting"), RUN_ENTRIES),
            bad_rows,
            report,
            observe,
            rows: 0,
            step: 0,
            visitors: HashSet::new(),
            named: HashMap::new(),
            named_order: Vec::new(),
            listed: HashSet::new(),
        })
    }

    /// Says that the rows to come are from `path`.
    pub(super) fn reading(&mut self, path: &Path) -> Origin {
        self.bad_rows.reading(path);
        self.report.files.push(path.to_owned());
        Origin::of(&format!("{}\0{}", self.report.source, input::name(path)), self.options.consent)
    }

    /// Says that the source has no times: each event offered from now on happens a step after the
    /// one before.
    pub(super) fn ordinal(&mut self) {
        self.writer.info_mut().time = TimeKind::Ordinal;
        self.report.time = TimeKind::Ordinal;
    }

    /// Says that the order of a visitor's events means nothing.
    pub(super) fn unordered(&mut self) {
        self.writer.info_mut().ordered = false;
        self.note("the order of a visitor's events means nothing (ordered = false)");
    }

    /// What a publisher's codes are taken to mean: `usual`, with the mapping's word on top. Noted.
    pub(super) fn types(&mut self, usual: &[(&str, EventType)]) -> BTreeMap<String, EventType> {
        let mut types: BTreeMap<_, _> =
            usual.iter().map(|(code, kind)| ((*code).to_owned(), *kind)).collect();
        types.extend(self.mapping.event_types.clone());
        let meanings: Vec<_> = types.iter().map(|(code, kind)| format!("{code} {kind}")).collect();
        self.note(format!("types are taken as {}", meanings.join(", ")));
        types
    }

    /// The ordinal time of the next event.
    pub(super) fn next_step(&self) -> EventTime {
        EventTime::clamped(self.step)
    }

    /// Keeps a sentence about what was assumed.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }

    /// Says which columns nothing is read from.
    pub(super) fn unread(&mut self, columns: impl IntoIterator<Item = String>) {
        self.report.unread_columns.extend(columns);
    }

    /// Takes an event, or notes why there is none. Parts are for sources with ordinal times, whose
    /// events are in order as they are.
    pub(super) fn event(
        &mut self,
        at: At<'_>,
        event: Result<Event, BadRow>,
        part: Part,
    ) -> Result<(), ClickstreamError> {
        self.tick();
        let event = match event {
            Ok(event) if event.event_type.needs_items() && event.items.is_empty() => {
                return self
                    .bad_row(at, BadRow(format!("item_id: must not be empty for {}", event.event_type)));
            }
            Ok(event) => event,
            Err(reason) => return self.bad_row(at, reason),
        };
        self.step += 1;
        self.visitors.insert(event.visitor_id.key());
        for item in &event.items {
            self.named.entry(item.item_id.key()).or_insert_with_key(|&key| {
                self.named_order.push(key);
                item.item_id.clone()
            });
        }
        let report = &mut self.report;
        report.events += 1;
        if part != Part::All {
            *report.test_events.get_or_insert(0) += u64::from(part == Part::Test);
        }
        *report.events_by_type.entry(event.event_type).or_insert(0) += 1;
        report.first_time = Some(report.first_time.map_or(event.time, |time| time.min(event.time)));
        report.last_time = Some(report.last_time.map_or(event.time, |time| time.max(event.time)));
        match report.time {
            TimeKind::Real => self.in_time.push(event),
            TimeKind::Ordinal => self.writer.event(&event, part),
        }
    }

    /// Takes an item of the catalogue, or notes why there is none.
    pub(super) fn item(&mut self, at: At<'_>, item: Result<Item, BadRow>) -> Result<(), ClickstreamError> {
        self.tick();
        match item {
            Ok(item) => self.list(&item),
            Err(reason) => self.bad_row(at, reason),
        }
    }

    /// Takes an item that was put together from several rows.
    pub(super) fn list(&mut self, item: &Item) -> Result<(), ClickstreamError> {
        self.report.catalogue = true;
        self.listed.insert(item.id.key());
        self.writer.item(item)
    }

    /// Notes a row that cannot be taken.
    pub(super) fn bad_row(&mut self, at: At<'_>, reason: BadRow) -> Result<(), ClickstreamError> {
        self.bad_rows.record(at.line, reason.0, &String::from_utf8_lossy(at.raw))
    }

    /// Counts a sound row that says nothing a data set holds.
    pub(super) fn skip(&mut self, kind: &str) {
        self.tick();
        let full = self.report.skipped.len() >= SKIPPED_KINDS;
        match self.report.skipped.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                let kind = if full { "other" } else { kind };
                *self.report.skipped.entry(kind.to_owned()).or_insert(0) += 1;
            }
        }
    }

    fn tick(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(OBSERVE_EVERY) {
            (self.observe)(ImportProgress {
                events: self.report.events,
                items: self.listed.len() as u64,
                bad_rows: self.bad_rows.total(),
            });
        }
    }

    /// Lists the items that events name where the source has no catalogue, and finishes the data
    /// set. A catalogue that the source does have is left as it is: an item that it does not know
    /// is not made up.
    pub(super) fn finish(mut self, input: &Path) -> Result<ImportReport, ClickstreamError> {
        if self.report.events == 0 && self.listed.is_empty() {
            let reason = match self.bad_rows.finish()?.by_reason.iter().max_by_key(|(_, count)| **count) {
                Some((reason, _)) => {
                    format!("no row could be taken as `{}`; most often: {reason}", self.report.format)
                }
                None => format!("nothing to import as `{}`", self.report.format),
            };
            return Err(input::refuse(input, reason));
        }
        self.in_time.drain(|event| self.writer.event(event, Part::All))?;
        if !self.report.catalogue {
            for key in &self.named_order {
                let item = Item::bare(self.named[key].clone());
                self.writer.item(&item)?;
                self.listed.insert(*key);
            }
        }
        self.writer.info_mut().notes.clone_from(&self.report.notes);
        self.writer.finish()?;
        let bad_rows = self.bad_rows.finish()?;
        let bad_rows_file = (bad_rows.total > 0).then(|| self.report.out.join("bad-rows.jsonl"));
        Ok(ImportReport {
            input: input.to_owned(),
            visitors: self.visitors.len() as u64,
            items_in_events: self.named.len() as u64,
            items: self.listed.len() as u64,
            bad_rows,
            bad_rows_file,
            ..self.report
        })
    }
}

// === impl Origin, RowOrigin ===

impl Origin {
    pub(super) fn of(place: &str, consent: bool) -> Self {
        Self { stamp: XxHash3_64::oneshot(place.as_bytes()), consent }
    }

    pub(super) fn row(self, at: At<'_>) -> RowOrigin {
        let place = XxHash3_64::oneshot_with_seed(self.stamp, &at.line.to_le_bytes());
        RowOrigin { digest: XxHash3_64::oneshot_with_seed(place, at.raw), events: 0, consent: self.consent }
    }
}

impl RowOrigin {
    /// The next event of the row, without items.
    pub(super) fn event(
        &mut self,
        event_type: EventType,
        time: EventTime,
        visitor_id: VisitorId,
    ) -> Result<Event, BadRow> {
        let id = XxHash3_64::oneshot_with_seed(self.digest, &self.events.to_le_bytes());
        self.events += 1;
        Ok(Event {
            event_id: EventId::new(format!("{id:016x}"))?,
            event_type,
            time,
            visitor_id,
            user_id: None,
            session_id: None,
            items: Vec::new(),
            transaction: None,
            search_query: None,
            page_categories: Vec::new(),
            placement: None,
            attribution_token: None,
            experiment_ids: Vec::new(),
            attributes: BTreeMap::new(),
            consent: self.consent,
        })
    }
}

// === impl BadRow ===

impl From<FieldError> for BadRow {
    /// Without the value, which the contract's rules put last.
    fn from(error: FieldError) -> Self {
        let rule = error.rule.split_once(", is ").map_or(error.rule.as_str(), |(rule, _)| rule);
        let rule = rule.split_once(": \"").map_or(rule, |(rule, _)| rule);
        Self(format!("{}: {rule}", error.field))
    }
}

impl BadRow {
    /// `field` breaks `rule`.
    pub(super) fn new(field: &str, rule: &str) -> Self {
        Self(format!("{field}: {rule}"))
    }
}

/// One of an item, without price or place.
pub(super) fn one(item_id: &str) -> Result<EventItem, BadRow> {
    Ok(EventItem { item_id: ItemId::new(item_id)?, quantity: 1, unit_price: None, position: None })
}
