//! What every kind of file has in common: a reader that yields checked batches, and a writer of rows.

use std::{marker::PhantomData, path::Path};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::SchemaRef,
};
use endcap_proto::FieldError;

use crate::{
    ClickstreamError, Erased,
    columns::Columns,
    file::{BATCH_ROWS, RecordReader, RecordWriter},
    schema::Contract,
};

/// Bytes of text after which a batch is written before it has all its rows.
const BATCH_BYTES: usize = 32 << 20;

/// A kind of row, its contract, and how it goes into columns and comes out again.
pub trait Table: Sized {
    /// What one record batch is read as.
    type Batch;
    /// Gathers rows into columns.
    type Builder: Builder<Row = Self>;

    /// The columns.
    fn contract() -> Contract;

    /// Checks every value of a batch.
    fn decode(columns: &Columns<'_>, rows: usize) -> Result<Self::Batch, ClickstreamError>;

    /// The rows of a batch that are not of these shoppers.
    fn without(batch: Self::Batch, erased: &Erased) -> Result<Self::Batch, ClickstreamError>;
}

/// Gathers rows into columns.
pub trait Builder: Default {
    /// What is gathered.
    type Row;

    /// Adds a row, or says which field breaks which rule and adds nothing.
    fn append(&mut self, row: &Self::Row) -> Result<(), FieldError>;

    /// Bytes gathered so far, about.
    fn bytes(&self) -> usize;

    /// The columns in the contract's order; leaves none behind.
    fn finish(&mut self) -> Vec<ArrayRef>;
}

/// Reads one file, a record batch at a time.
pub struct TableReader<T> {
    records: RecordReader,
    contract: Contract,
    failed: bool,
    rows: PhantomData<fn() -> T>,
}

/// Writes rows to one file, which appears under its name when it is finished.
pub struct TableWriter<T: Table> {
    records: RecordWriter,
    schema: SchemaRef,
    builder: T::Builder,
    /// Rows in the builder.
    pending: u64,
    batches: u64,
    written: u64,
}

// === impl TableReader ===

impl<T: Table> TableReader<T> {
    /// Opens an Arrow IPC file or stream (the stream also within zstd or gzip) or a Parquet file;
    /// which one it is, its first bytes say.
    ///
    /// # Errors
    /// When it cannot be opened, is none of these, is cut off, or lacks a required column.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ClickstreamError> {
        let contract = T::contract();
        let records = RecordReader::open(path.as_ref(), &contract)?;
        Ok(Self { records, contract, failed: false, rows: PhantomData })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.records.path()
    }
}

impl<T: Table> Iterator for TableReader<T> {
    type Item = Result<T::Batch, ClickstreamError>;

    /// The next batch. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.records.next()?.and_then(|(number, record)| {
            T::decode(&Columns::new(self.records.path(), number, &record, &self.contract), record.num_rows())
        });
        self.failed = batch.is_err();
        Some(batch)
    }
}

impl<T> std::fmt::Debug for TableReader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TableReader").field(&self.records).finish()
    }
}

// === impl TableWriter ===

impl<T: Table> TableWriter<T> {
    /// The ending of the name says what is written: `.arrow` (IPC file), `.arrows` (IPC stream),
    /// `.arrows.zst`, `.arrows.gz`, `.parquet`.
    ///
    /// # Errors
    /// When the ending is none of these or the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, ClickstreamError> {
        let schema = T::contract().schema();
        let records = RecordWriter::create(path.as_ref(), &schema)?;
        Ok(Self { records, schema, builder: T::Builder::default(), pending: 0, batches: 0, written: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it breaks a rule of the contract (nothing is added then) or cannot be written.
    pub fn write(&mut self, row: &T) -> Result<(), ClickstreamError> {
        self.append(|builder| builder.append(row))
    }

    /// Adds what `add` adds: one row.
    pub(crate) fn append(
        &mut self,
        add: impl FnOnce(&mut T::Builder) -> Result<(), FieldError>,
    ) -> Result<(), ClickstreamError> {
        add(&mut self.builder).map_err(|FieldError { field, rule }| ClickstreamError::Value {
            path: self.records.path().to_owned(),
            batch: self.batches,
            row: self.pending,
            column: field,
            rule,
        })?;
        self.pending += 1;
        if self.pending >= BATCH_ROWS as u64 || self.builder.bytes() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.written + self.pending
    }

    /// Writes what is buffered, makes it durable and gives the file its name. Returns the number of
    /// rows. A writer that is dropped instead leaves nothing behind.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<u64, ClickstreamError> {
        self.flush()?;
        self.records.finish()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<(), ClickstreamError> {
        if self.pending == 0 {
            return Ok(());
        }
        let batch = record_batch(&self.schema, self.builder.finish(), self.records.path())?;
        self.records.write(&batch)?;
        self.written += self.pending;
        self.batches += 1;
        self.pending = 0;
        Ok(())
    }
}

impl<T: Table> std::fmt::Debug for TableWriter<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableWriter").field("records", &self.records).field("rows", &self.rows()).finish()
    }
}

/// Columns as a record batch.
pub(crate) fn record_batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    path: &Path,
) -> Result<RecordBatch, ClickstreamError> {
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| ClickstreamError::Format { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
