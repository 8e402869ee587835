//! `movielens`: the same ratings as four publishers ship them, told apart by the files' names.
//!
//! | files | shipped by | times |
//! |---|---|---|
//! | `NAME.inter`, `NAME.item` | RecBole, for this and many other data sets | seconds |
//! | `ratings.csv`, `movies.csv` | GroupLens, since 20M | seconds |
//! | `ratings.dat`, `movies.dat` | GroupLens, 1M and 10M | seconds |
//! | `NAME_sasrec.txt`, `sasrec_item_to_movieid.tsv`, `movies.dat` | SASRec, with 1M's titles | none |

use std::{borrow::Cow, collections::HashMap, path::Path};

use endcap_proto::{Attribute, Event, EventType, Item, ItemId, VisitorId};

use super::{
    TimeFormat, UtcOffset,
    catalogue::{checked, id_fault},
    importer::{BadRow, Importer, RowOrigin, one},
    input::{Input, Lines, refuse},
    lists,
    table::{Cells, Table, number},
};
use crate::{ClickstreamError, Part};

/// Reads whichever files are there.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let ending = |ending: &str| input.all(|name| name.ends_with(ending)).first().copied();
    if let Some(path) = ending(".inter") {
        inter(path, importer)?;
        return ending(".item").map_or(Ok(()), |path| item(path, importer));
    }
    if let Some(path) = input.find(&["ratings.csv"]) {
        ratings_csv(path, importer)?;
        return input.find(&["movies.csv"]).map_or(Ok(()), |path| movies_csv(path, importer));
    }
    let movies = input.find(&["movies.dat"]);
    if let Some(path) = input.find(&["ratings.dat"]) {
        ratings_dat(path, importer)?;
        return movies.map_or(Ok(()), |path| movies_dat(path, None, importer));
    }
    if let Some(path) = ending("_sasrec.txt") {
        importer.ordinal();
        lists::users(path, importer, Part::All)?;
        return match (movies, input.find(&["sasrec_item_to_movieid.tsv"])) {
            (Some(movies), Some(renumbered)) => movies_dat(movies, Some(&renumbering(renumbered)?), importer),
            _ => Ok(()),
        };
    }
    Err(input.lacks("NAME.inter, ratings.csv, ratings.dat or NAME_sasrec.txt"))
}

/// A rating: who, what, how much, when.
pub(super) fn rating(mut origin: RowOrigin, [user, item, rating, time]: [&str; 4]) -> Result<Event, BadRow> {
    let time = TimeFormat::Auto.read("time", time, UtcOffset::default())?;
    let mut event = origin.event(EventType::Rate, time, VisitorId::new(user)?)?;
    event.items.push(one(item)?);
    number("rating", rating)?.ok_or_else(|| BadRow::new("rating", "must be a number"))?;
    event.attributes.insert("rating".to_owned(), rating.to_owned());
    Ok(event)
}

// === RecBole: a header of name:type, cells apart by tabs ===

/// The place of the column `name:type` with one of these names.
fn typed(table: &Table, names: &[&str]) -> Option<usize> {
    let plain = |column: &String| column.split(':').next().unwrap_or_default().to_owned();
    names.iter().find_map(|name| table.header().iter().position(|column| plain(column) == *name))
}

fn inter(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let origin = importer.reading(path);
    let mut table = Table::open_unquoted(path, b'\t')?;
    let must = |name: &str| {
        typed(&table, &[name])
            .ok_or_else(|| refuse(path, format!("the header must name a column `{name}:token`")))
    };
    let (user, item) = (must("user_id")?, must("item_id")?);
    let (rated, time) = (typed(&table, &["rating"]), typed(&table, &["timestamp"]));
    if time.is_none() {
        importer.ordinal();
    }
    while let Some(row) = table.next()? {
        let event = row.cells().and_then(|cells| match (rated, time) {
            (Some(rated), Some(time)) => {
                rating(origin.row(row.at), [user, item, rated, time].map(|i| cells.get(i)))
            }
            _ => {
                let time = match time {
                    Some(time) => TimeFormat::Auto.read("time", cells.get(time), UtcOffset::default())?,
                    None => importer.next_step(),
                };
                let visitor = VisitorId::new(cells.get(user))?;
                let event_type = if rated.is_some() { EventType::Rate } else { importer.options.event_type };
                let mut event = origin.row(row.at).event(event_type, time, visitor)?;
                event.items.push(one(cells.get(item))?);
                event.attributes.extend(rated.map(|i| ("rating".to_owned(), cells.get(i).to_owned())));
                Ok(event)
            }
        });
        importer.event(row.at, event, Part::All)?;
    }
    Ok(())
}

fn item(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    importer.reading(path);
    let mut table = Table::open_unquoted(path, b'\t')?;
    let Some(id) = typed(&table, &["item_id"]) else {
        return Err(refuse(path, "the header must name a column `item_id:token`"));
    };
    let title = typed(&table, &["movie_title", "title", "name"]);
    let classes = typed(&table, &["class", "genre", "genres", "categories", "category"]);
    let (brand, price) = (typed(&table, &["brand"]), typed(&table, &["price"]));
    let fields = [Some(id), title, classes, brand, price];
    let others: Vec<_> = (0..table.header().len()).filter(|&i| !fields.contains(&Some(i))).collect();
    let header = table.header().to_vec();
    let text =
        |cells: Cells<'_>, column: usize| Some(cells.get(column).to_owned()).filter(|text| !text.is_empty());
    while let Some(row) = table.next()? {
        let item = row.cells().and_then(|cells| {
            let attributes = others.iter().filter_map(|&i| {
                let (name, kind) = header[i].split_once(':').unwrap_or((&header[i], "token"));
                let value = text(cells, i)?;
                let number = if kind == "float" { value.parse().ok() } else { None };
                Some((name.to_owned(), number.map_or(Attribute::Text(value), Attribute::Number)))
            });
            checked(Item {
                title: title.and_then(|i| text(cells, i)),
                categories: classes.map(|i| words(cells.get(i))).unwrap_or_default(),
                brand: brand.and_then(|i| text(cells, i)),
                price: price.map(|i| cells.number(i, "price")).transpose()?.flatten(),
                attributes: attributes.collect(),
                ..Item::bare(ItemId::new(cells.get(id)).map_err(id_fault)?)
            })
        });
        importer.item(row.at, item)?;
    }
    Ok(())
}

/// A `token_seq`: words, or `'quoted, words', 'more'`.
fn words(text: &str) -> Vec<String> {
    match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(quoted) => quoted.split("', '").map(str::to_owned).collect(),
        None => text.split_whitespace().map(str::to_owned).collect(),
    }
}

// === GroupLens ===

fn ratings_csv(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let origin = importer.reading(path);
    let mut table = Table::open(path, b',')?;
    let column = |name| table.column(name);
    let columns = [column("userId")?, column("movieId")?, column("rating")?, column("timestamp")?];
    while let Some(row) = table.next()? {
        let event = row.cells().and_then(|cells| rating(origin.row(row.at), columns.map(|i| cells.get(i))));
        importer.event(row.at, event, Part::All)?;
    }
    Ok(())
}

fn movies_csv(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    importer.reading(path);
    let mut table = Table::open(path, b',')?;
    let column = |name| table.column(name);
    let columns = [column("movieId")?, column("title")?, column("genres")?];
    while let Some(row) = table.next()? {
        let item = row.cells().and_then(|cells| {
            let [id, title, genres] = columns.map(|i| cells.get(i));
            movie(id, title, genres)
        });
        importer.item(row.at, item)?;
    }
    Ok(())
}

fn ratings_dat(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let origin = importer.reading(path);
    let mut lines = Lines::open(path)?;
    while lines.advance_to_text()? {
        let event = lines.text().and_then(|text| {
            let cells: Vec<_> = text.split("::").collect();
            let cells =
                cells.try_into().map_err(|_| BadRow("must be user::item::rating::time".to_owned()))?;
            rating(origin.row(lines.at()), cells)
        });
        importer.event(lines.at(), event, Part::All)?;
    }
    Ok(())
}

/// `id::Title (year)::Genre|Genre`, in UTF-8 or Latin-1; with a renumbering, the movies that have a
/// new id, under it.
fn movies_dat(
    path: &Path,
    renumbered: Option<&HashMap<String, String>>,
    importer: &mut Importer<'_>,
) -> Result<(), ClickstreamError> {
    importer.reading(path);
    let mut lines = Lines::open(path)?;
    while lines.advance_to_text()? {
        let at = lines.at();
        let text = lines.text().map_or_else(|_| latin_1(at.raw), Cow::Borrowed);
        let mut cells = text.split("::");
        let (Some(id), Some(title), Some(genres), None) =
            (cells.next(), cells.next(), cells.next(), cells.next())
        else {
            importer.bad_row(at, BadRow("must be id::title::genres".to_owned()))?;
            continue;
        };
        let id = match renumbered.map(|ids| ids.get(id)) {
            None => id,
            Some(Some(id)) => id,
            Some(None) => {
                importer.skip("movie that no event names");
                continue;
            }
        };
        importer.item(at, movie(id, title, genres))?;
    }
    Ok(())
}

fn latin_1(bytes: &[u8]) -> Cow<'_, str> {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn movie(id: &str, title: &str, genres: &str) -> Result<Item, BadRow> {
    let mut item = Item::bare(ItemId::new(id).map_err(id_fault)?);
    let year = title.strip_suffix(')').and_then(|title| title.rsplit_once(" ("));
    let year = year.filter(|(_, year)| year.len() == 4 && year.bytes().all(|digit| digit.is_ascii_digit()));
    if let Some((_, year)) = year {
        item.attributes.insert("release_year".to_owned(), Attribute::Text(year.to_owned()));
    }
    item.title = Some(year.map_or(title, |(title, _)| title).to_owned()).filter(|title| !title.is_empty());
    item.categories = genres.split('|').filter(|genre| !genre.is_empty()).map(str::to_owned).collect();
    checked(item)
}

// === SASRec ===

/// MovieLens's id → SASRec's.
fn renumbering(path: &Path) -> Result<HashMap<String, String>, ClickstreamError> {
    let mut table = Table::open(path, b'\t')?;
    let (new, old) = (table.column("sasrec_item")?, table.column("movieid")?);
    let mut ids = HashMap::new();
    while let Some(row) = table.next()? {
        let cells = row.cells().map_err(|bad| super::input::refuse_line(path, row.at.line, bad.0))?;
        ids.insert(cells.get(old).to_owned(), cells.get(new).to_owned());
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_sequences_are_words_or_quoted() {
        assert_eq!(words("Animation Children's Comedy"), ["Animation", "Children's", "Comedy"]);
        assert_eq!(words("'Beauty', 'Hair Care', 'Tools'"), ["Beauty", "Hair Care", "Tools"]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn a_year_is_taken_from_the_title() {
        let movie = |title| movie("1", title, "Comedy|Drama").unwrap();
        assert_eq!(movie("Seven (Se7en) (1995)").title.as_deref(), Some("Seven (Se7en)"));
        assert_eq!(movie("Seven (Se7en)").title.as_deref(), Some("Seven (Se7en)"));
        assert_eq!(movie("A (1995)").attributes["release_year"], Attribute::Text("1995".to_owned()));
        assert_eq!(movie("A (1995)").categories, ["Comedy", "Drama"]);
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_latin_1() {
        assert_eq!(latin_1(b"\xc9t\xe9"), "Été");
    }
}
