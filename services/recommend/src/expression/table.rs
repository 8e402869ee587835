//! The catalogue in columns, in the order of the index's base rows: what expressions are compiled against.
//!
//! A table belongs to one generation of the index. Items that change later leave the base, so their columns are never
//! asked again; a compaction makes another generation, and another table. A column is made when a filter first names it.

use std::{
    collections::{HashMap, HashSet},
    ops::{Range, RangeBounds},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use endcap_index::Snapshot;
use endcap_proto::ItemKey;
use roaring::RoaringBitmap;

use super::{
    Predicate,
    column::{Column, Test, Wanted},
};
use crate::{Entry, catalogue::Catalogue};

/// The columns over the base rows of one generation.
pub(crate) struct Table {
    snapshot: Snapshot,
    catalogue: Arc<Catalogue>,
    columns: Mutex<HashMap<Column, Arc<OnceLock<Values>>>>,
    /// The keys that attributes have.
    attributes: OnceLock<HashSet<Box<str>>>,
    popularity: [OnceLock<Ranking>; 2],
}

/// The values of a column: texts as a dictionary with the rows of each, numbers as they are.
#[derive(Default)]
struct Values {
    /// Text → where in `rows` its rows are.
    texts: HashMap<Box<str>, Range<u32>>,
    rows: Vec<u32>,
    /// One for each row, NaN where it has none; empty where no row has one.
    numbers: Vec<f64>,
    present: RoaringBitmap,
}

/// Rows by a share, the largest first.
struct Ranking {
    shares: Vec<f32>,
    order: Vec<u32>,
}

/// Which share ranks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Popularity {
    Overall = 0,
    Recent = 1,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(snapshot: Snapshot, catalogue: Arc<Catalogue>) -> Self {
        let (attributes, popularity) = (OnceLock::new(), Default::default());
        Self { snapshot, catalogue, columns: Mutex::default(), attributes, popularity }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.snapshot.generation()
    }

    fn len(&self) -> usize {
        self.snapshot.base_labels().len()
    }

    /// The base rows for which `predicate` holds.
    pub(super) fn rows(&self, predicate: &Predicate) -> RoaringBitmap {
        match predicate {
            Predicate::And(all) => {
                let mut rows = all.iter().map(|one| self.rows(one));
                let first = rows.next().unwrap_or_default();
                rows.fold(first, |rows, more| rows & more)
            }
            Predicate::Or(any) => {
                any.iter().map(|one| self.rows(one)).fold(RoaringBitmap::new(), |a, b| a | b)
            }
            Predicate::Not(one) => {
                let mut rows = RoaringBitmap::new();
                rows.insert_range(0..self.len() as u32);
                rows - self.rows(one)
            }
            Predicate::Test(test) => self.test(test),
        }
    }

    fn test(&self, Test { column, wanted }: &Test) -> RoaringBitmap {
        let Some(values) = self.values(column) else { return RoaringBitmap::new() };
        let Some(values) = values.get() else { return RoaringBitmap::new() };
        let numbered = |holds: &dyn Fn(f64) -> bool| {
            let rows = (0..).zip(&values.numbers).filter(|&(_, &number)| !number.is_nan() && holds(number));
            RoaringBitmap::from_sorted_iter(rows.map(|(row, _)| row)).unwrap_or_default()
        };
        match wanted {
            Wanted::Present => values.present.clone(),
            Wanted::Within(range) => numbered(&|number| range.contains(&number)),
            Wanted::OneOf { texts, numbers } => {
                let lists = texts.iter().filter_map(|text| values.texts.get(text));
                let lists = lists.map(|list| &values.rows[list.start as usize..list.end as usize]);
                let listed = lists.map(|rows| RoaringBitmap::from_sorted_iter(rows.iter().copied()));
                let rows = listed.filter_map(Result::ok).reduce(|a, b| a | b).unwrap_or_default();
                match numbers.is_empty() {
                    true => rows,
                    false => rows | numbered(&|number| numbers.contains(&number)),
                }
            }
        }
    }

    /// The values of a column, made where they are not there; none of an attribute that no row has.
    fn values(&self, column: &Column) -> Option<Arc<OnceLock<Values>>> {
        if let Column::Attribute(key) = column {
            let known = self.attributes.get_or_init(|| {
                let mut keys = HashSet::new();
                self.each_entry(|_, entry| {
                    for key in entry.item.attributes.keys() {
                        if !keys.contains(key.as_str()) {
                            keys.insert(key.as_str().into());
                        }
                    }
                });
                keys
            });
            known.get(key)?;
        }
        let values = {
            let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(columns.entry(column.clone()).or_default())
        };
        values.get_or_init(|| self.read(column));
        Some(values)
    }

    fn read(&self, column: &Column) -> Values {
        let mut ids = HashMap::<Box<str>, u32>::new();
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let mut counts: Vec<u32> = Vec::new();
        let mut numbers = Vec::new();
        let mut present = RoaringBitmap::new();
        self.each_entry(|row, entry| {
            let before = pairs.len();
            column.each_text(&entry.item, |text| {
                let id = match ids.get(text) {
                    Some(&id) => id,
                    None => {
                        let id = ids.len() as u32;
                        ids.insert(text.into(), id);
                        counts.push(0);
                        id
                    }
                };
                if !pairs[before..].contains(&(id, row)) {
                    pairs.push((id, row));
                    counts[id as usize] += 1;
                }
            });
            if let Some(number) = column.number(&entry.item) {
                numbers.resize(self.len(), f64::NAN);
                numbers[row as usize] = number;
                present.insert(row);
            } else if pairs.len() > before {
                present.insert(row);
            }
        });
        // Pairs come by row; counting sort puts them by text, rows still ascending.
        let mut ends: Vec<u32> =
            counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
        let mut rows = vec![0; pairs.len()];
        for (id, row) in pairs {
            let end = &mut ends[id as usize];
            rows[*end as usize] = row;
            *end += 1;
        }
        let list = |id: u32| ends[id as usize] - counts[id as usize]..ends[id as usize];
        let texts = ids.into_iter().map(|(text, id)| (text, list(id))).collect();
        Values { texts, rows, numbers, present }
    }

    /// The `most` rows of `among` with the largest share, as keys.
    pub(super) fn most_popular(
        &self,
        which: Popularity,
        among: &RoaringBitmap,
        most: usize,
    ) -> Box<[ItemKey]> {
        let Ranking { shares, order } = self.popularity[which as usize].get_or_init(|| self.rank(which));
        let labels = self.snapshot.base_labels();
        let key = |row: u32| ItemKey(labels[row as usize]);
        if among.len() as usize * 8 > self.len() {
            return order
                .iter()
                .filter(|&&row| among.contains(row))
                .take(most)
                .map(|&row| key(row))
                .collect();
        }
        let mut rows: Vec<u32> = among.iter().filter(|&row| shares[row as usize] > 0.0).collect();
        rows.sort_unstable_by(|&a, &b| {
            shares[b as usize].total_cmp(&shares[a as usize]).then(key(a).cmp(&key(b)))
        });
        rows.into_iter().take(most).map(key).collect()
    }

    fn rank(&self, which: Popularity) -> Ranking {
        let mut shares = vec![0.0; self.len()];
        self.each_entry(|row, entry| {
            shares[row as usize] = match which {
                Popularity::Overall => entry.popularity,
                Popularity::Recent => entry.recent_popularity,
            };
        });
        let labels = self.snapshot.base_labels();
        let mut order: Vec<u32> = (0..self.len() as u32).filter(|&row| shares[row as usize] > 0.0).collect();
        order.sort_unstable_by(|&a, &b| {
            let by_share = shares[b as usize].total_cmp(&shares[a as usize]);
            by_share.then(labels[a as usize].cmp(&labels[b as usize]))
        });
        Ranking { shares, order }
    }

    fn each_entry(&self, mut take: impl FnMut(u32, &Entry)) {
        let pinned = self.catalogue.pin();
        for (row, &label) in (0..).zip(self.snapshot.base_labels()) {
            if let Some(entry) = pinned.get(ItemKey(label)) {
                take(row, entry);
            }
        }
    }
}

// === impl Tables ===

/// The table of the present generation.
#[derive(Default)]
pub(crate) struct Tables(Mutex<Option<Arc<Table>>>);

impl Tables {
    /// The table of the snapshot's generation.
    pub(super) fn of(&self, snapshot: &Snapshot, catalogue: &Arc<Catalogue>) -> Arc<Table> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(table) if table.generation() == snapshot.generation() => Arc::clone(table),
            _ => Arc::clone(kept.insert(Arc::new(Table::new(snapshot.clone(), Arc::clone(catalogue))))),
        }
    }
}
