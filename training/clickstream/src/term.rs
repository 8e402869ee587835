//! Terms: how a vocabulary is kept on disk.

use arrow::{
    array::ArrayRef,
    datatypes::{UInt32Type, UInt64Type},
};
use endcap_proto::FieldError;
use serde::{Deserialize, Serialize};

use crate::{
    ClickstreamError, Erased,
    builders::{Numbers, Texts},
    columns::Columns,
    schema::Contract,
    table::{Builder, Table, TableReader, TableWriter},
};

/// One row of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// What the term is: `item`, `word` …
    pub kind: String,
    /// The term itself.
    pub term: String,
    /// Its row in the table.
    pub row: u32,
    /// How often it was seen.
    pub count: u64,
}

/// Reads terms from one file, a `Vec` of them at a time.
pub type TermReader = TableReader<Term>;

/// Writes terms to one file.
pub type TermWriter = TableWriter<Term>;

/// Gathers terms into columns.
#[derive(Default)]
pub struct TermBuilder {
    kind: Texts,
    term: Texts,
    row: Numbers<UInt32Type>,
    count: Numbers<UInt64Type>,
}

impl Builder for TermBuilder {
    type Row = Term;

    fn append(&mut self, term: &Term) -> Result<(), FieldError> {
        self.kind.push(&term.kind);
        self.term.push(&term.term);
        self.row.push(term.row);
        self.count.push(term.count);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.kind.bytes() + self.term.bytes()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![self.kind.finish(), self.term.finish(), self.row.finish(), self.count.finish()]
    }
}

impl Table for Term {
    type Batch = Vec<Term>;
    type Builder = TermBuilder;

    fn contract() -> Contract {
        Contract::term()
    }

    fn decode(columns: &Columns<'_>, rows: usize) -> Result<Vec<Term>, ClickstreamError> {
        let kind = columns.required("kind", columns.text("kind")?)?;
        let term = columns.required("term", columns.text("term")?)?;
        let row = columns.required("row", columns.numbers::<UInt32Type>("row")?)?;
        let count = columns.required("count", columns.numbers::<UInt64Type>("count")?)?;
        let decode = |i: usize| Term {
            kind: kind.value(i).to_owned(),
            term: term.value(i).to_owned(),
            row: row.value(i),
            count: count.value(i),
        };
        Ok((0..rows).map(decode).collect())
    }

    /// Words are no shoppers.
    fn without(batch: Vec<Term>, _: &Erased) -> Result<Vec<Term>, ClickstreamError> {
        Ok(batch)
    }
}
