//! Columns in the making. Each builder makes exactly the Arrow type that its contract states.

use std::{mem, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, DictionaryArray, Int8Array, ListArray, MapArray, PrimitiveArray,
        StringArray, StringBuilder, StructArray, TimestampMillisecondArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Fields, Int8Type},
};
use endcap_proto::EventTime;

/// Text.
#[derive(Default)]
pub(crate) struct Texts {
    builder: StringBuilder,
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.builder.append_value(text);
    }

    /// Empty becomes null.
    pub(crate) fn push_optional(&mut self, text: Option<&str>) {
        self.builder.append_option(text.filter(|text| !text.is_empty()));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.builder.values_slice().len()
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

/// Numbers, or times, each of which may be null.
pub(crate) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<Option<T::Native>>,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self { values: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    pub(crate) fn push(&mut self, value: impl Into<Option<T::Native>>) {
        self.values.push(value.into());
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        Arc::new(mem::take(&mut self.values).into_iter().collect::<PrimitiveArray<T>>())
    }
}

/// Instants.
#[derive(Default)]
pub(crate) struct Times {
    values: Vec<Option<i64>>,
}

impl Times {
    pub(crate) fn push(&mut self, time: impl Into<Option<EventTime>>) {
        self.values.push(time.into().map(EventTime::as_millis));
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        let times: TimestampMillisecondArray = mem::take(&mut self.values).into_iter().collect();
        Arc::new(times.with_timezone("UTC"))
    }
}

/// Where lists begin and end.
pub(crate) struct Offsets {
    offsets: Vec<i32>,
}

impl Default for Offsets {
    fn default() -> Self {
        Self { offsets: vec![0] }
    }
}

impl Offsets {
    pub(crate) fn push(&mut self, length: usize) {
        let last = self.offsets.last().copied().unwrap_or_default();
        self.offsets.push(last.saturating_add(i32::try_from(length).unwrap_or(i32::MAX)));
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(mem::replace(&mut self.offsets, vec![0]).into())
    }

    /// Lists of these values.
    pub(crate) fn finish_lists(&mut self, values: ArrayRef) -> ArrayRef {
        let field = Field::new("item", values.data_type().clone(), false);
        Arc::new(ListArray::new(Arc::new(field), self.finish(), values, None))
    }

    /// Maps of these keys to these values.
    pub(crate) fn finish_maps(&mut self, keys: ArrayRef, values: ArrayRef) -> ArrayRef {
        let entries = structure([("key", false, keys), ("value", false, values)], None);
        let field = Field::new("entries", entries.data_type().clone(), false);
        Arc::new(MapArray::new(Arc::new(field), self.finish(), entries, None, false))
    }
}

/// Lists of text.
#[derive(Default)]
pub(crate) struct TextLists {
    offsets: Offsets,
    values: Texts,
}

impl TextLists {
    pub(crate) fn push<T: AsRef<str>>(&mut self, texts: &[T]) {
        self.offsets.push(texts.len());
        texts.iter().for_each(|text| self.values.push(text.as_ref()));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.bytes()
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        self.offsets.finish_lists(self.values.finish())
    }
}

/// Lists of numbers.
pub(crate) struct NumberLists<T: ArrowPrimitiveType> {
    offsets: Offsets,
    values: Vec<T::Native>,
}

impl<T: ArrowPrimitiveType> Default for NumberLists<T> {
    fn default() -> Self {
        Self { offsets: Offsets::default(), values: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType> NumberLists<T> {
    pub(crate) fn push(&mut self, numbers: &[T::Native]) {
        self.offsets.push(numbers.len());
        self.values.extend_from_slice(numbers);
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        let values = PrimitiveArray::<T>::from_iter_values(mem::take(&mut self.values));
        self.offsets.finish_lists(Arc::new(values))
    }
}

/// Maps of text to text.
#[derive(Default)]
pub(crate) struct TextMaps {
    offsets: Offsets,
    keys: Texts,
    values: Texts,
}

impl TextMaps {
    pub(crate) fn push<'m>(&mut self, entries: impl ExactSizeIterator<Item = (&'m String, &'m String)>) {
        self.offsets.push(entries.len());
        for (key, value) in entries {
            self.keys.push(key);
            self.values.push(value);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes()
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        self.offsets.finish_maps(self.keys.finish(), self.values.finish())
    }
}

/// One of few names, by its place among them; null where there is none.
pub(crate) struct Names {
    all: Arc<StringArray>,
    keys: Vec<Option<i8>>,
}

impl Names {
    /// `all` in a fixed order: every batch of a file has the same dictionary.
    pub(crate) fn of(all: impl IntoIterator<Item = &'static str>) -> Self {
        Self { all: Arc::new(StringArray::from_iter_values(all)), keys: Vec::new() }
    }

    pub(crate) fn push(&mut self, place: impl Into<Option<usize>>) {
        self.keys.push(place.into().and_then(|place| i8::try_from(place).ok()));
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        let keys = mem::take(&mut self.keys).into_iter().collect::<Int8Array>();
        Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::clone(&self.all) as ArrayRef))
    }
}

/// A structure of named columns: name, whether it may be null, column.
pub(crate) fn structure<const N: usize>(
    columns: [(&str, bool, ArrayRef); N],
    nulls: Option<NullBuffer>,
) -> StructArray {
    let field = |(name, nullable, array): &(&str, bool, ArrayRef)| {
        Arc::new(Field::new(*name, DataType::clone(array.data_type()), *nullable))
    };
    let fields: Fields = columns.iter().map(field).collect();
    StructArray::new(fields, columns.into_iter().map(|(_, _, array)| array).collect(), nulls)
}
