//! Lists of item ids without times: `sessions`, `sequences` and `fixed-split`.
//!
//! The order of lines and of ids on a line is all the time there is: event n of the data set happens
//! n milliseconds after 1970, and `dataset.json` says that times are ordinal.

use std::{io::Read, path::Path};

use endcap_proto::{EventItem, Item, ItemId, VisitorId};

use super::{
    importer::{At, BadRow, Importer, Origin, one},
    input::{Input, Lines, name, open, refuse},
};
use crate::{ClickstreamError, Part};

/// A file that is read whole must not be larger.
const MAX_WHOLE_BYTES: u64 = 1 << 30;

/// A session a line; the sessions of `test_pairs.tsv`, where it is there, are the test set.
pub(super) fn sessions(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    importer.ordinal();
    let train = match input.find(&["train_sessions.txt", "sessions.txt", "train.txt"]) {
        Some(path) => path,
        None => only(input, ".txt")?,
    };
    let test = if input.file().is_some() { None } else { input.find(&["test_pairs.tsv"]) };
    let part = if test.is_some() { Part::Train } else { Part::All };
    let mut lines = Lines::open(train)?;
    let origin = importer.reading(train);
    while lines.advance_to_text()? {
        let session = lines.text().and_then(|text| text.split_whitespace().map(one).collect());
        list(importer, lines.at(), origin, &format!("s{}", lines.at().line), session, part)?;
    }
    test.map_or(Ok(()), |path| test_pairs(path, importer))
}

/// `user item` or `user item item …` a line.
pub(super) fn sequences(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    importer.ordinal();
    let path = only(input, ".txt")?;
    users(path, importer, Part::All)?;
    let attributes = format!("{}_item2attributes.json", name(path).trim_end_matches(".txt"));
    match input.find(&[&attributes]) {
        Some(path) if input.file().is_none() => item_attributes(path, importer),
        _ => Ok(()),
    }
}

/// `train.txt` and `test.txt` of `user item item …`, in no order.
pub(super) fn fixed_split(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let find = |name| input.find(&[name]).ok_or_else(|| input.lacks("train.txt and test.txt"));
    let (train, test) = (find("train.txt")?, find("test.txt")?);
    importer.ordinal();
    importer.unordered();
    users(train, importer, Part::Train)?;
    users(test, importer, Part::Test)
}

/// Reads lines that begin with a user.
pub(super) fn users(path: &Path, importer: &mut Importer<'_>, part: Part) -> Result<(), ClickstreamError> {
    let mut lines = Lines::open(path)?;
    let origin = importer.reading(path);
    while lines.advance_to_text()? {
        let mut words = lines.text().unwrap_or_default().split_whitespace();
        let user = words.next().unwrap_or_default();
        let items = lines.text().and_then(|_| words.map(one).collect());
        list(importer, lines.at(), origin, user, items, part)?;
    }
    Ok(())
}

/// Takes a line's items, one event each; all or none.
fn list(
    importer: &mut Importer<'_>,
    at: At<'_>,
    origin: Origin,
    visitor: &str,
    items: Result<Vec<EventItem>, BadRow>,
    part: Part,
) -> Result<(), ClickstreamError> {
    let sound = items.and_then(|items| match items[..] {
        [] => Err(BadRow("names no item".to_owned())),
        _ => Ok((VisitorId::new(visitor)?, items)),
    });
    let (visitor, items) = match sound {
        Ok(sound) => sound,
        Err(bad) => return importer.bad_row(at, bad),
    };
    let mut row = origin.row(at);
    for item in items {
        let mut event = row.event(importer.options.event_type, importer.next_step(), visitor.clone());
        if let Ok(event) = &mut event {
            event.items.push(item);
        }
        importer.event(at, event, part)?;
    }
    Ok(())
}

/// The file that the input is, or the only one in the folder with this ending.
fn only<'a>(input: &'a Input, ending: &str) -> Result<&'a Path, ClickstreamError> {
    match input.ending(&[ending])?[..] {
        [path] => Ok(path),
        _ => Err(refuse(input.path(), format!("holds several files *{ending}; name the one to import"))),
    }
}

// === test_pairs.tsv ===

/// A session of the test set, put together from its cases.
///
/// The file has a case a line: the item to be foretold, a tab, the items before it, oldest first.
/// The cases of a session stand together, longest first or shortest first; the longest is the session,
/// and asking about every prefix of it gives the cases again.
#[derive(Default)]
struct TestSession {
    line: u64,
    raw: Vec<u8>,
    /// History and target of the longest case.
    longest: Vec<EventItem>,
    /// Items of the case read last.
    last: usize,
    growing: Option<bool>,
}

impl TestSession {
    /// Whether `case` is of this session: one item more or less than the case before.
    fn takes(&mut self, at: At<'_>, case: &[EventItem]) -> bool {
        let shared = case.len().min(self.last);
        if self.longest.is_empty() || case[..shared] != self.longest[..shared] {
            return false;
        }
        let growing = case.len() > self.last;
        if case.len().abs_diff(self.last) != 1 || self.growing.is_some_and(|so_far| so_far != growing) {
            return false;
        }
        if growing {
            *self = Self::begun(at, case.to_vec());
        }
        (self.growing, self.last) = (Some(growing), case.len());
        true
    }

    fn begun(at: At<'_>, longest: Vec<EventItem>) -> Self {
        let last = longest.len();
        Self { line: at.line, raw: at.raw.to_vec(), longest, last, growing: None }
    }
}

fn test_pairs(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let mut lines = Lines::open(path)?;
    let origin = importer.reading(path);
    let (mut cases, mut prefixes, mut sessions) = (0, 0, 0);
    let mut session = TestSession::default();
    let mut close = |session: &mut TestSession, importer: &mut Importer<'_>| {
        let TestSession { line, raw, longest, .. } = std::mem::take(session);
        if longest.is_empty() {
            return Ok(());
        }
        sessions += 1;
        prefixes += longest.len() - 1;
        list(importer, At { line, raw: &raw }, origin, &format!("t{sessions}"), Ok(longest), Part::Test)
    };
    while lines.advance_to_text()? {
        let at = lines.at();
        let case = lines.text().and_then(|text| {
            let (target, history) = text.split_once('\t').unwrap_or((text, ""));
            let case: Vec<_> =
                history.split_whitespace().chain([target.trim()]).map(one).collect::<Result<_, _>>()?;
            if case.len() < 2 { Err(BadRow("must be: target, tab, history".to_owned())) } else { Ok(case) }
        });
        match case {
            Err(bad) => importer.bad_row(at, bad)?,
            Ok(case) => {
                cases += 1;
                if !session.takes(at, &case) {
                    close(&mut session, importer)?;
                    session = TestSession::begun(at, case);
                }
            }
        }
    }
    close(&mut session, importer)?;
    importer.note(format!("{cases} cases of {} are {prefixes} prefixes of {sessions} sessions", name(path)));
    Ok(())
}

// === NAME_item2attributes.json ===

/// One JSON object: item → its attributes' ids, kept as tags.
fn item_attributes(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    importer.reading(path);
    let reader = open(path)?.take(MAX_WHOLE_BYTES);
    let items: serde_json::Map<String, serde_json::Value> =
        serde_json::from_reader(reader).map_err(|error| refuse(path, format!("no JSON object: {error}")))?;
    for (id, attributes) in items {
        let item = ItemId::new(&id).map_err(BadRow::from).and_then(|id| match attributes {
            serde_json::Value::Array(values) => Ok(Item {
                tags: values.iter().filter_map(super::table::scalar).map(|tag| tag.into_owned()).collect(),
                ..Item::bare(id)
            }),
            _ => Err(BadRow::new("attributes", "must be a list")),
        });
        importer.item(At { line: 1, raw: id.as_bytes() }, item)?;
    }
    Ok(())
}
