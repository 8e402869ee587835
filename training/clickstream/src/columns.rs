//! Columns of a record batch, by name and in the contract's types, with the place of every bad value.
//!
//! A file may write a column in any type that says the same: large or dictionary-encoded text,
//! integers where text is meant, any precision of time. [`Columns`] turns each into the one type that
//! the rest of the crate reads; where it is that type already, nothing is copied. Rules are checked on
//! whole columns; only once one is broken is the row looked for.

mod rows;

use std::{path::Path, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Float64Array, MapArray, PrimitiveArray,
        RecordBatch, StringArray, StructArray,
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Fields, Float64Type, TimeUnit, TimestampMillisecondType},
};
use endcap_proto::{EventTime, FieldError};

pub(crate) use rows::{Lists, OptionalText, TextLists, TextMaps, value};

use crate::{ClickstreamError, file::column_names, schema::Contract};

/// The columns of a record batch, or the fields of a structure within it.
pub struct Columns<'a> {
    path: &'a Path,
    batch: u64,
    parent: Parent<'a>,
    fields: &'a Fields,
    arrays: &'a [ArrayRef],
    aliases: &'static [(&'static str, &'static str)],
}

/// What the rows of [`Columns`] are part of.
#[derive(Clone, Copy)]
enum Parent<'a> {
    Batch,
    /// The field `name` of `outer`.
    Struct {
        name: &'static str,
        outer: &'a Columns<'a>,
    },
    /// The values of the lists in the field `name` of `outer`.
    List {
        name: &'static str,
        outer: &'a Columns<'a>,
        lists: &'a Lists,
    },
}

impl<'a> Columns<'a> {
    pub(crate) fn new(path: &'a Path, batch: u64, record: &'a RecordBatch, contract: &Contract) -> Self {
        Self {
            path,
            batch,
            parent: Parent::Batch,
            fields: record.schema_ref().fields(),
            arrays: record.columns(),
            aliases: contract.aliases(),
        }
    }

    /// The fields of a structure that is a column of these.
    pub(crate) fn of_struct(&'a self, name: &'static str, structure: &'a StructArray) -> Self {
        self.inner(Parent::Struct { name, outer: self }, structure)
    }

    /// The fields of structures that are the values of a list column of these.
    pub(crate) fn of_list(&'a self, name: &'static str, lists: &'a Lists, values: &'a StructArray) -> Self {
        self.inner(Parent::List { name, outer: self, lists }, values)
    }

    fn inner(&'a self, parent: Parent<'a>, structure: &'a StructArray) -> Self {
        Self {
            path: self.path,
            batch: self.batch,
            parent,
            fields: structure.fields(),
            arrays: structure.columns(),
            aliases: &[],
        }
    }

    fn get(&self, name: &str) -> Option<&'a ArrayRef> {
        let aliases = self.aliases.iter().filter(|(own, _)| *own == name).map(|(_, alias)| *alias);
        let (index, _) = std::iter::once(name).chain(aliases).find_map(|name| self.fields.find(name))?;
        // What pyarrow makes of a column of None.
        self.arrays.get(index).filter(|array| !matches!(array.data_type(), DataType::Null))
    }

    // --- columns of one type

    pub(crate) fn text(&self, name: &'static str) -> Result<Option<StringArray>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        let fits = |data_type: &DataType| data_type.is_integer() || is_text(data_type);
        Ok(Some(self.cast(name, array, &DataType::Utf8, "text", fits)?.as_string::<i32>().clone()))
    }

    pub(crate) fn optional_text(&self, name: &'static str) -> Result<OptionalText, ClickstreamError> {
        self.text(name).map(OptionalText)
    }

    /// Numbers of type `T`.
    pub(crate) fn numbers<T: ArrowPrimitiveType>(
        &self,
        name: &'static str,
    ) -> Result<Option<PrimitiveArray<T>>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        let expected = T::DATA_TYPE.to_string().to_lowercase();
        let integer = T::DATA_TYPE.is_integer();
        let fits = |data_type: &DataType| {
            data_type.is_integer() || !integer && (data_type.is_floating() || data_type.is_decimal())
        };
        Ok(Some(self.cast(name, array, &T::DATA_TYPE, &expected, fits)?.as_primitive::<T>().clone()))
    }

    /// Finite numbers.
    pub(crate) fn amounts(&self, name: &'static str) -> Result<Option<Float64Array>, ClickstreamError> {
        let Some(array) = self.numbers::<Float64Type>(name)? else { return Ok(None) };
        if !array.values().iter().all(|value| value.is_finite())
            && let Some(i) = (0..array.len()).find(|&i| array.is_valid(i) && !array.value(i).is_finite())
        {
            return Err(self.bad(i, name, format!("must be finite, is {}", array.value(i))));
        }
        Ok(Some(array))
    }

    /// Milliseconds since the epoch, within the valid range.
    pub(crate) fn times(
        &self,
        name: &'static str,
    ) -> Result<Option<PrimitiveArray<TimestampMillisecondType>>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        let zone = match array.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let target = DataType::Timestamp(TimeUnit::Millisecond, zone);
        let fits = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..) | DataType::Int64);
        let expected = "a timestamp, or milliseconds since 1970 as int64";
        let times = self.cast(name, array, &target, expected, fits)?;
        let times =
            times.as_primitive::<TimestampMillisecondType>().clone().with_timezone_opt(None::<Arc<str>>);
        let range = EventTime::MIN.as_millis()..=EventTime::MAX.as_millis();
        if !times.values().iter().all(|millis| range.contains(millis))
            && let Some(i) = (0..times.len()).find(|&i| times.is_valid(i) && !range.contains(&times.value(i)))
        {
            let rule = format!("must lie within the years 1970 to 9999, is {} ms since 1970", times.value(i));
            return Err(self.bad(i, name, rule));
        }
        Ok(Some(times))
    }

    pub(crate) fn bools(&self, name: &'static str) -> Result<Option<BooleanArray>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        match array.as_boolean_opt() {
            Some(array) => Ok(Some(array.clone())),
            None => Err(self.wrong_type(name, array.data_type(), "bool")),
        }
    }

    /// The values of a column of few names, such as event types: each distinct text is parsed once.
    pub(crate) fn names<T: Copy>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<Option<T>>>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        let parse = |row: usize, text: &str| parse(text).map_err(|rule| self.bad(row, name, rule));
        if let Some(dictionary) = array.as_any_dictionary_opt().filter(|array| !array.values().is_empty()) {
            let values = &Arc::clone(dictionary.values());
            let is_not_text = || self.wrong_type(name, array.data_type(), "text");
            let values =
                self.cast(name, values, &DataType::Utf8, "text", is_text).map_err(|_| is_not_text())?;
            let values = values.as_string::<i32>();
            // A value that no row uses may be anything.
            let mut parsed = vec![None; values.len()];
            let rows = dictionary.normalized_keys().into_iter().enumerate().map(|(row, key)| {
                if dictionary.is_null(row) || values.is_null(key) {
                    return Ok(None);
                }
                if parsed[key].is_none() {
                    parsed[key] = Some(parse(row, values.value(key))?);
                }
                Ok(parsed[key])
            });
            return rows.collect::<Result<_, _>>().map(Some);
        }
        let Some(texts) = self.text(name)? else { return Ok(None) };
        let rows = texts.iter().enumerate().map(|(row, text)| text.map(|text| parse(row, text)).transpose());
        rows.collect::<Result<_, _>>().map(Some)
    }

    // --- columns of lists, structures and maps

    /// A list column: where each row's values lie, and all values.
    pub(crate) fn lists(&self, name: &'static str) -> Result<Option<(Lists, ArrayRef)>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        let (value, is_list) = match array.data_type() {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::ListView(field)
            | DataType::LargeListView(field) => (field.data_type().clone(), true),
            other => (other.clone(), false),
        };
        let target = match array.data_type() {
            list @ DataType::List(_) => list.clone(),
            _ => DataType::List(Arc::new(Field::new("item", value, true))),
        };
        let array = self.cast(name, array, &target, "a list", |_| is_list)?;
        let list = array.as_list::<i32>();
        let lists = Lists::new(list.offsets().clone(), list.nulls().cloned());
        Ok(Some((lists, Arc::clone(list.values()))))
    }

    /// A list column of structures, none of them null.
    pub(crate) fn struct_lists(
        &self,
        name: &'static str,
    ) -> Result<Option<(Lists, StructArray)>, ClickstreamError> {
        let Some((lists, values)) = self.lists(name)? else { return Ok(None) };
        let Some(values) = values.as_struct_opt() else {
            return Err(self.wrong_type(name, values.data_type(), "a list of structs"));
        };
        if let Some(i) = (0..values.len()).find(|&i| values.is_null(i)) {
            return Err(self.bad_value(&lists, i, name, "must not be null".into()));
        }
        Ok(Some((lists, values.clone())))
    }

    pub(crate) fn structs(&self, name: &'static str) -> Result<Option<StructArray>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        match array.as_struct_opt() {
            Some(array) => Ok(Some(array.clone())),
            None => Err(self.wrong_type(name, array.data_type(), "a struct")),
        }
    }

    /// A list column of texts, none of them null.
    pub(crate) fn text_lists(&self, name: &'static str) -> Result<TextLists, ClickstreamError> {
        let Some((lists, values)) = self.lists(name)? else { return Ok(TextLists(None)) };
        let values = self.cast(name, &values, &DataType::Utf8, "a list of text", |data_type| {
            data_type.is_integer() || data_type.is_null() || is_text(data_type)
        })?;
        if let Some(i) = first_null(values.as_ref()) {
            return Err(self.bad_value(&lists, i, name, "must not be null".into()));
        }
        Ok(TextLists(Some((lists, values.as_string::<i32>().clone()))))
    }

    /// A list column of numbers, none of them null.
    pub(crate) fn number_lists<T: ArrowPrimitiveType>(
        &self,
        name: &'static str,
    ) -> Result<Option<(Lists, PrimitiveArray<T>)>, ClickstreamError> {
        let Some((lists, values)) = self.lists(name)? else { return Ok(None) };
        let expected = format!("a list of {}", T::DATA_TYPE).to_lowercase();
        let values = self.cast(name, &values, &T::DATA_TYPE, &expected, DataType::is_numeric)?;
        if let Some(i) = first_null(values.as_ref()) {
            return Err(self.bad_value(&lists, i, name, "must not be null".into()));
        }
        Ok(Some((lists, values.as_primitive::<T>().clone())))
    }

    /// A map column: where each row's entries lie, keys, values.
    fn maps(&self, name: &'static str) -> Result<Option<(Lists, ArrayRef, ArrayRef)>, ClickstreamError> {
        let Some(array) = self.get(name) else { return Ok(None) };
        let Some(map): Option<&MapArray> = array.as_map_opt() else {
            return Err(self.wrong_type(name, array.data_type(), "a map"));
        };
        let lists = Lists::new(map.offsets().clone(), map.nulls().cloned());
        let keys = self.cast(name, map.keys(), &DataType::Utf8, "a map with text as keys", is_text)?;
        Ok(Some((lists, keys, Arc::clone(map.values()))))
    }

    pub(crate) fn text_maps(&self, name: &'static str) -> Result<TextMaps, ClickstreamError> {
        let Some((lists, keys, values)) = self.maps(name)? else { return Ok(TextMaps(None)) };
        let values = self.cast(name, &values, &DataType::Utf8, "a map of text to text", is_text)?;
        if let Some(i) = first_null(keys.as_ref()).or_else(|| first_null(values.as_ref())) {
            return Err(self.bad_value(&lists, i, name, "must not be null".into()));
        }
        Ok(TextMaps(Some((lists, keys.as_string::<i32>().clone(), values.as_string::<i32>().clone()))))
    }

    pub(crate) fn number_maps(
        &self,
        name: &'static str,
    ) -> Result<Option<(Lists, StringArray, Float64Array)>, ClickstreamError> {
        let Some((lists, keys, values)) = self.maps(name)? else { return Ok(None) };
        let values =
            self.cast(name, &values, &DataType::Float64, "a map of text to float64", DataType::is_numeric)?;
        if let Some(i) = first_null(values.as_ref()) {
            return Err(self.bad_value(&lists, i, name, "must not be null".into()));
        }
        Ok(Some((lists, keys.as_string::<i32>().clone(), values.as_primitive::<Float64Type>().clone())))
    }

    // --- rules

    /// A column that must be there and must not hold nulls.
    pub(crate) fn required<A: Array>(
        &self,
        name: &'static str,
        array: Option<A>,
    ) -> Result<A, ClickstreamError> {
        let array = array.ok_or_else(|| self.missing(name))?;
        match first_null(&array) {
            Some(row) => Err(self.bad(row, name, "must not be null".into())),
            None => Ok(array),
        }
    }

    /// An error about a column that must be there.
    pub(crate) fn missing(&self, name: &str) -> ClickstreamError {
        ClickstreamError::MissingColumn {
            path: self.path.to_owned(),
            column: self.column_path(name),
            present: column_names(self.fields),
        }
    }

    /// Checks identifiers: the rule itself only where a length or byte is not beyond doubt.
    pub(crate) fn ids(
        &self,
        name: &'static str,
        ids: &StringArray,
        may_be_empty: bool,
        rule: impl Fn(&str) -> Result<(), FieldError>,
    ) -> Result<(), ClickstreamError> {
        let offsets = ids.value_offsets();
        let (Some(&start), Some(&end)) = (offsets.first(), offsets.last()) else { return Ok(()) };
        let bytes = &ids.value_data()[start as usize..end as usize];
        // Control characters are 00 to 1F, 7F, and C2 80 to C2 9F. No early exit: this vectorises.
        let plain =
            !bytes.iter().fold(false, |odd, &byte| odd | (byte < 0x20) | (byte == 0x7f) | (byte == 0xc2));
        let least = i32::from(!may_be_empty);
        let longest = endcap_proto::MAX_ID_BYTES as i32;
        let of_length = offsets.windows(2).fold(true, |ok, pair| {
            let length = pair[1] - pair[0];
            ok & (length >= least) & (length <= longest)
        });
        if plain && of_length {
            return Ok(());
        }
        for (row, id) in ids.iter().enumerate() {
            match id {
                None | Some("") if may_be_empty => {}
                Some(id) => rule(id).map_err(|error| self.bad(row, name, error.rule))?,
                None => {}
            }
        }
        Ok(())
    }

    /// An error about row `row` of these columns.
    pub(crate) fn bad(&self, row: usize, column: impl Into<String>, rule: String) -> ClickstreamError {
        let (row, column) = self.locate(row, column.into());
        ClickstreamError::Value {
            path: self.path.to_owned(),
            batch: self.batch,
            row: row as u64,
            column,
            rule,
        }
    }

    /// An error about value `i` among the lists of a column.
    fn bad_value(&self, lists: &Lists, i: usize, column: &str, rule: String) -> ClickstreamError {
        let (row, place) = lists.row_of(i);
        self.bad(row, format!("{column}[{place}]"), rule)
    }

    /// The row of the batch, and the path from there.
    fn locate(&self, row: usize, column: String) -> (usize, String) {
        match self.parent {
            Parent::Batch => (row, column),
            Parent::Struct { name, outer } => outer.locate(row, format!("{name}.{column}")),
            Parent::List { name, outer, lists } => {
                let (outer_row, place) = lists.row_of(row);
                outer.locate(outer_row, format!("{name}[{place}].{column}"))
            }
        }
    }

    fn column_path(&self, column: &str) -> String {
        match self.parent {
            Parent::Batch => column.to_owned(),
            Parent::Struct { name, outer } => outer.column_path(&format!("{name}.{column}")),
            Parent::List { name, outer, .. } => outer.column_path(&format!("{name}[].{column}")),
        }
    }

    fn wrong_type(&self, name: &str, found: &DataType, expected: &str) -> ClickstreamError {
        ClickstreamError::ColumnType {
            path: self.path.to_owned(),
            column: self.column_path(name),
            expected: expected.to_owned(),
            found: found.to_string(),
        }
    }

    fn cast(
        &self,
        name: &'static str,
        array: &ArrayRef,
        target: &DataType,
        expected: &str,
        fits: impl Fn(&DataType) -> bool,
    ) -> Result<ArrayRef, ClickstreamError> {
        let found = array.data_type();
        if found == target {
            return Ok(Arc::clone(array));
        }
        let value = match found {
            DataType::Dictionary(_, value) => value,
            other => other,
        };
        if !fits(value) {
            return Err(self.wrong_type(name, found, expected));
        }
        // `safe`: what does not fit becomes null, and so the row can be found.
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let cast =
            cast_with_options(array, target, &options).map_err(|_| self.wrong_type(name, found, expected))?;
        if cast.null_count() != array.null_count()
            && let Some(row) = (0..cast.len()).find(|&row| cast.is_null(row) && array.is_valid(row))
        {
            return Err(self.bad(row, name, format!("must fit into {expected}")));
        }
        Ok(cast)
    }
}

fn is_text(data_type: &DataType) -> bool {
    use DataType::{Binary, LargeBinary, LargeUtf8, Utf8, Utf8View};
    matches!(data_type, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary)
}

fn first_null(array: &dyn Array) -> Option<usize> {
    if array.null_count() == 0 {
        return None;
    }
    (0..array.len()).find(|&i| array.is_null(i))
}
