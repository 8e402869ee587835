//! Columns that are read row by row: lists, texts that may be absent, maps.

use std::ops::Range;

use arrow::{
    array::{Array, ArrowPrimitiveType, PrimitiveArray, StringArray},
    buffer::{NullBuffer, OffsetBuffer},
};

/// Where each row's list begins and ends among the values of all rows.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
}

/// Text that may be absent: no column, null and empty mean the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct OptionalText(pub(super) Option<StringArray>);

/// A list of texts a row; without the column all are empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextLists(pub(super) Option<(Lists, StringArray)>);

/// A map of texts a row; without the column all are empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextMaps(pub(super) Option<(Lists, StringArray, StringArray)>);

// === impl Lists, OptionalText, TextLists, TextMaps ===

impl Lists {
    pub(super) fn new(offsets: OffsetBuffer<i32>, nulls: Option<NullBuffer>) -> Self {
        Self { offsets, nulls }
    }

    /// Where the values of a row lie.
    #[inline]
    pub(crate) fn range(&self, row: usize) -> Range<usize> {
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        match &self.nulls {
            Some(nulls) if nulls.is_null(row) => start..start,
            _ => start..end,
        }
    }

    /// The row that a value belongs to, and its place there.
    pub(super) fn row_of(&self, value: usize) -> (usize, usize) {
        let rows = self.offsets.len() - 1;
        let row = self.offsets[1..].partition_point(|&end| end as usize <= value).min(rows.saturating_sub(1));
        (row, value.saturating_sub(self.offsets[row] as usize))
    }
}

impl OptionalText {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        let texts = self.0.as_ref()?;
        let text = if texts.is_null(row) { "" } else { texts.value(row) };
        (!text.is_empty()).then_some(text)
    }

    /// Owned, empty where absent: as protobuf has it.
    pub(crate) fn owned(&self, row: usize) -> String {
        self.get(row).unwrap_or_default().to_owned()
    }

    pub(crate) fn column(&self) -> Option<&StringArray> {
        self.0.as_ref()
    }
}

impl TextLists {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> impl ExactSizeIterator<Item = &str> + Clone {
        let range = self.0.as_ref().map_or(0..0, |(lists, _)| lists.range(row));
        range.map(|i| self.0.as_ref().map_or("", |(_, texts)| texts.value(i)))
    }

    pub(crate) fn owned(&self, row: usize) -> Vec<String> {
        self.get(row).map(str::to_owned).collect()
    }
}

impl TextMaps {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        let range = self.0.as_ref().map_or(0..0, |(lists, ..)| lists.range(row));
        range.map(|i| self.0.as_ref().map_or(("", ""), |(_, keys, values)| (keys.value(i), values.value(i))))
    }

    pub(crate) fn owned<M: FromIterator<(String, String)>>(&self, row: usize) -> M {
        self.get(row).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// A value that may be null, of a column that may be absent.
#[inline]
pub(crate) fn value<T: ArrowPrimitiveType>(
    array: Option<&PrimitiveArray<T>>,
    row: usize,
) -> Option<T::Native> {
    array.filter(|array| array.is_valid(row)).map(|array| array.value(row))
}
