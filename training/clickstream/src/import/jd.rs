//! `jd`: a CSV with a header: action_time, user_id, sku_id, type, sessionId, index.
//!
//! What the types mean was not published with the file. By default 1 to 4 are taken as view, order,
//! follow and comment; the mapping can say otherwise (`type.2=add_to_cart`). A type without a meaning
//! ends the import: guessing would poison a model without a trace.

use endcap_proto::{EventType, VisitorId};

use super::{
    TimeFormat, UtcOffset,
    importer::{Importer, one},
    input::{Input, refuse_line},
    table::Table,
};
use crate::{ClickstreamError, Part};

const TYPES: &[(&str, EventType)] = &[
    ("1", EventType::View),
    ("2", EventType::Purchase),
    ("3", EventType::AddToWishlist),
    ("4", EventType::Rate),
];

/// Reads the file, or `train.csv` of the folder: the other files there hold other people's sessions
/// for a contest's test.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let path = input.main(&["train.csv"])?;
    let origin = importer.reading(path);
    let types = importer.types(TYPES);
    let mut table = Table::open(path, b',')?;
    let column = |name| table.column(name);
    let (time, user, item) = (column("action_time")?, column("user_id")?, column("sku_id")?);
    let (kind, session) = (column("type")?, column("sessionId")?);
    while let Some(row) = table.next()? {
        if let Ok(cells) = row.cells()
            && !types.contains_key(cells.get(kind))
        {
            return Err(refuse_line(path, row.at.line, unknown_type(cells.get(kind))));
        }
        let event = row.cells().and_then(|cells| {
            let time = TimeFormat::Auto.read("action_time", cells.get(time), UtcOffset::default())?;
            let mut event =
                origin.row(row.at).event(types[cells.get(kind)], time, VisitorId::new(cells.get(user))?)?;
            event.session_id = Some(cells.get(session).to_owned()).filter(|session| !session.is_empty());
            event.items.push(one(cells.get(item))?);
            Ok(event)
        });
        importer.event(row.at, event, Part::All)?;
    }
    Ok(())
}

/// Why a number without a meaning ends an import.
pub(super) fn unknown_type(kind: &str) -> String {
    format!("type {kind:?} has no meaning; say which event type it stands for (type.{kind}=EVENT_TYPE)")
}
