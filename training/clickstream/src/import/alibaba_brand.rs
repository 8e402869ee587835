//! `alibaba_brand`: a CSV with a header: user_id, brand_id, type, visit_datetime (month-day).
//!
//! Types are 0 click, 1 buy, 2 favourite, 3 cart; a click is on a product's page, so it is a view. The
//! days have no year, so the option `year` gives one; an event happens at its day's midnight, UTC.

use endcap_proto::{EventType, VisitorId};

use super::{
    TimeFormat, UtcOffset,
    importer::{BadRow, Importer, one},
    input::{Input, refuse, refuse_line},
    jd::unknown_type,
    table::Table,
};
use crate::{ClickstreamError, Part};

const TYPES: &[(&str, EventType)] = &[
    ("0", EventType::View),
    ("1", EventType::Purchase),
    ("2", EventType::AddToWishlist),
    ("3", EventType::AddToCart),
];

/// Reads the file, or `t_alibaba_data.csv` of the folder.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let path = input.main(&["t_alibaba_data.csv"])?;
    let Some(year) = importer.options.year else {
        return Err(refuse(path, "its days have no year: say which one (--year 2012)"));
    };
    let origin = importer.reading(path);
    let types = importer.types(TYPES);
    let mut table = Table::open(path, b',')?;
    let column = |name| table.column(name);
    let (user, item) = (column("user_id")?, column("brand_id")?);
    let (kind, day) = (column("type")?, column("visit_datetime")?);
    let format = TimeFormat::Pattern("%Y-%m-%d".to_owned());
    while let Some(row) = table.next()? {
        if let Ok(cells) = row.cells()
            && !types.contains_key(cells.get(kind))
        {
            return Err(refuse_line(path, row.at.line, unknown_type(cells.get(kind))));
        }
        let event = row.cells().and_then(|cells| {
            let time = format
                .read("visit_datetime", &format!("{year:04}-{}", cells.get(day)), UtcOffset::default())
                .map_err(|_| BadRow(format!("visit_datetime: must be a month and a day of {year}")))?;
            let mut event =
                origin.row(row.at).event(types[cells.get(kind)], time, VisitorId::new(cells.get(user))?)?;
            event.items.push(one(cells.get(item))?);
            Ok(event)
        });
        importer.event(row.at, event, Part::All)?;
    }
    importer.note(format!("days are of the year {year}, events at midnight, UTC"));
    Ok(())
}
