//! `amazon_timed`: product ratings with unix time, brands and categories, all as numbers.
//!
//! `user_item.dat` is `user, item, rating, time` by tabs; `item_brand.dat` and `item_category.dat` are
//! `item,id` pairs, an item having one brand and several categories. `item_view.dat` (also viewed) is
//! not read.

use std::{collections::HashMap, path::Path};

use endcap_proto::{Item, ItemId};

use super::{
    importer::{BadRow, Importer},
    input::{Input, Lines},
    movielens::rating,
};
use crate::{ClickstreamError, Part};

/// Reads the folder, or `user_item.dat` alone.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let path = input.main(&["user_item.dat"])?;
    let origin = importer.reading(path);
    let mut lines = Lines::open(path)?;
    while lines.advance_to_text()? {
        let event = lines.text().and_then(|text| {
            let cells: Vec<_> = text.split('\t').collect();
            let cells = cells
                .try_into()
                .map_err(|_| BadRow("must be user, item, rating, time by tabs".to_owned()))?;
            rating(origin.row(lines.at()), cells)
        });
        importer.event(lines.at(), event, Part::All)?;
    }
    let mut items = Vec::new();
    let mut places = HashMap::new();
    let mut found = |id: ItemId, items: &mut Vec<Item>| {
        *places.entry(id.clone()).or_insert_with(|| {
            items.push(Item::bare(id));
            items.len() - 1
        })
    };
    if let Some(path) = input.find(&["item_brand.dat"]) {
        pairs(path, importer, |id, brand| {
            let place = found(id, &mut items);
            items[place].brand.get_or_insert(brand);
        })?;
    }
    if let Some(path) = input.find(&["item_category.dat"]) {
        pairs(path, importer, |id, category| {
            let place = found(id, &mut items);
            items[place].categories.push(category);
        })?;
    }
    items.iter().try_for_each(|item| importer.list(item))
}

/// Reads `item,id` a line.
fn pairs(
    path: &Path,
    importer: &mut Importer<'_>,
    mut take: impl FnMut(ItemId, String),
) -> Result<(), ClickstreamError> {
    importer.reading(path);
    let mut lines = Lines::open(path)?;
    while lines.advance_to_text()? {
        let pair = lines.text().and_then(|text| {
            let (item, id) = text.split_once(',').ok_or_else(|| BadRow("must be item,id".to_owned()))?;
            Ok((ItemId::new(item.trim())?, id.trim().to_owned()))
        });
        match pair {
            Ok((item, id)) => take(item, id),
            Err(bad) => importer.bad_row(lines.at(), bad)?,
        }
    }
    Ok(())
}
