//! The vocabulary: which products and words have rows in a model's embedding tables.
//!
//! Built from a catalogue and the counts of training, kept beside the weights, and extended when
//! training goes on: rows are only ever added. A word that has no row of its own falls, by its
//! hash, onto one of the rows that its kind shares, so a product described in words never seen
//! before still has a place. On disk it is a file of [`Term`]s: the configuration (kind `config`),
//! the products (`item`), the words (a kind each).

use std::path::{Path, PathBuf};

use endcap_clickstream::{ClickstreamError, Term, TermReader, TermWriter};
use endcap_proto::{Item, ItemKey};
use serde::{Deserialize, Serialize};

use crate::{KeyMap, WordKind, words::each_word};

/// Which products and words get rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyConfig {
    /// Interactions that a product needs for an embedding of its own id.
    pub min_item_count: u64,
    /// Products that must share a word for it to get a row.
    pub min_word_count: u64,
    /// The most words with a row of their own; the commonest are taken.
    pub max_words: usize,
    /// Rows that the unknown words of each kind share: 1 to 65,536.
    pub shared_rows: u32,
    /// Tokens of a title that are read.
    pub title_tokens: usize,
    /// Characters in a run within a title's token; 0 for none.
    pub ngram: usize,
}

/// Maps products and words to rows of two embedding tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    config: VocabularyConfig,
    vector_dim: usize,
    items: Vec<ItemTerm>,
    item_rows: KeyMap<ItemKey, u32>,
    words: Vec<WordTerm>,
    word_rows: KeyMap<u64, u32>,
}

/// What the item tower reads of a product.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemFeatures {
    /// Which product.
    pub key: ItemKey,
    /// Its row in the table of ids, `0..Vocabulary::items()`; `None` where training never met it.
    pub id_row: Option<u32>,
    /// Rows in the table of words, `0..Vocabulary::words()`, rising; empty where it says nothing.
    pub words: Vec<u32>,
    /// The shop's own vector, [`Vocabulary::vector_dim`] long; empty where there is none of that
    /// length.
    pub vector: Vec<f32>,
}

/// How many rows [`Vocabulary::extend`] added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extension {
    /// To the table of ids.
    pub items: usize,
    /// To the table of words.
    pub words: usize,
}

/// Why there is no vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// Two products share a 64-bit key.
    #[error("items {first:?} and {second:?} share the key {key:#018x}: rename one of them")]
    Collision {
        /// One id.
        first: String,
        /// The other.
        second: String,
        /// Their key.
        key: u64,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] ClickstreamError),
    /// The file ends too early.
    #[error("{path}: the setting {setting} is missing: the file is no vocabulary, or cut short")]
    Incomplete {
        /// Which file.
        path: PathBuf,
        /// The first setting that is missing.
        setting: &'static str,
    },
    /// The file is no vocabulary.
    #[error("{path}: term {term:?} of kind {kind:?}: {rule}")]
    Term {
        /// Which file.
        path: PathBuf,
        /// The term's kind.
        kind: String,
        /// The term.
        term: String,
        /// The rule broken.
        rule: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ItemTerm {
    id: Box<str>,
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct WordTerm {
    kind: WordKind,
    word: Box<str>,
    count: u64,
}

/// Version of a vocabulary's file.
const FORMAT_VERSION: u32 = 1;

/// What terms of kind `config` say, in their order.
const SETTINGS: [&str; 8] = [
    "format_version",
    "min_item_count",
    "min_word_count",
    "max_words",
    "shared_rows",
    "title_tokens",
    "ngram",
    "vector_dim",
];

/// The most rows that the unknown words of a kind can share.
const MAX_SHARED_ROWS: u32 = 1 << 16;

impl Default for VocabularyConfig {
    fn default() -> Self {
        Self {
            min_item_count: 1,
            min_word_count: 2,
            max_words: 200_000,
            shared_rows: 64,
            title_tokens: 24,
            ngram: 4,
        }
    }
}

// === impl Vocabulary ===

impl Vocabulary {
    /// The vocabulary of a catalogue and of how often each product (by id, whether it is in the
    /// catalogue or not) was met in training. Rows go by count, the largest first, then by key: the
    /// order of the input does not matter.
    ///
    /// # Errors
    /// When two ids share a key.
    pub fn build<'a>(
        items: &[Item],
        counts: impl IntoIterator<Item = (&'a str, u64)>,
        config: &VocabularyConfig,
    ) -> Result<Self, VocabularyError> {
        let mut vocabulary = Self::empty(config.clone());
        vocabulary.vector_dim = common_vector_dim(items);
        vocabulary.extend(items, counts)?;
        Ok(vocabulary)
    }

    fn empty(config: VocabularyConfig) -> Self {
        let shared_rows = config.shared_rows.clamp(1, MAX_SHARED_ROWS);
        Self {
            config: VocabularyConfig { shared_rows, ..config },
            vector_dim: 0,
            items: Vec::new(),
            item_rows: KeyMap::default(),
            words: Vec::new(),
            word_rows: KeyMap::default(),
        }
    }

    /// Adds rows for products and words that now have the counts they need, after the rows there
    /// are; renumbers nothing. Counts of products add up; counts of words are those of `items`.
    ///
    /// # Errors
    /// When two ids share a key.
    pub fn extend<'a>(
        &mut self,
        items: &[Item],
        counts: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<Extension, VocabularyError> {
        let before = Extension { items: self.items.len(), words: self.words.len() };
        self.extend_items(counts)?;
        self.extend_words(items);
        Ok(Extension { items: self.items.len() - before.items, words: self.words.len() - before.words })
    }

    fn extend_items<'a>(
        &mut self,
        counts: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<(), VocabularyError> {
        let mut fresh = KeyMap::<ItemKey, ItemTerm>::default();
        for (id, count) in counts {
            let key = ItemKey::of(id);
            let term = match self.item_rows.get(&key) {
                Some(&row) => &mut self.items[row as usize],
                None => fresh.entry(key).or_insert_with(|| ItemTerm { id: id.into(), count: 0 }),
            };
            if &*term.id != id {
                let (first, second) = (term.id.to_string(), id.to_owned());
                return Err(VocabularyError::Collision { first, second, key: key.0 });
            }
            term.count += count;
        }
        let mut fresh: Vec<_> =
            fresh.into_iter().filter(|(_, term)| term.count >= self.config.min_item_count).collect();
        fresh.sort_unstable_by_key(|(key, term)| (std::cmp::Reverse(term.count), *key));
        for (key, term) in fresh {
            self.item_rows.insert(key, self.items.len() as u32);
            self.items.push(term);
        }
        Ok(())
    }

    fn extend_words(&mut self, items: &[Item]) {
        let mut fresh = KeyMap::<u64, WordTerm>::default();
        self.words.iter_mut().for_each(|term| term.count = 0);
        let mut met = Vec::new();
        for item in items {
            met.clear();
            each_word(item, &self.config, |kind, word| {
                let hash = kind.hash(word);
                if met.contains(&hash) {
                    return;
                }
                met.push(hash);
                let term = match self.word_rows.get(&hash) {
                    Some(&row) => &mut self.words[(row - shared_rows(&self.config)) as usize],
                    None => {
                        fresh.entry(hash).or_insert_with(|| WordTerm { kind, word: word.into(), count: 0 })
                    }
                };
                term.count += 1;
            });
        }
        let mut fresh: Vec<_> =
            fresh.into_iter().filter(|(_, term)| term.count >= self.config.min_word_count.max(1)).collect();
        fresh.sort_unstable_by(|(_, a), (_, b)| {
            b.count.cmp(&a.count).then(a.kind.cmp(&b.kind)).then_with(|| a.word.cmp(&b.word))
        });
        fresh.truncate(self.config.max_words.saturating_sub(self.words.len()));
        for (hash, term) in fresh {
            self.word_rows.insert(hash, self.words() as u32);
            self.words.push(term);
        }
    }

    /// Rows of the table of ids.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Rows of the table of words: those shared by unknown words first, then one for each word.
    pub fn words(&self) -> usize {
        shared_rows(&self.config) as usize + self.words.len()
    }

    /// Length of the shop's own vectors, the commonest in the catalogue; 0 where there are none.
    pub fn vector_dim(&self) -> usize {
        self.vector_dim
    }

    /// The configuration it was built with.
    pub fn config(&self) -> &VocabularyConfig {
        &self.config
    }

    /// The row of a product in the table of ids.
    pub fn item_row(&self, item: ItemKey) -> Option<u32> {
        self.item_rows.get(&item).copied()
    }

    /// The id of the product at `row` of the table of ids.
    pub fn item_id(&self, row: u32) -> Option<&str> {
        self.items.get(row as usize).map(|term| &*term.id)
    }

    /// How often the product at `row` was met in training.
    pub fn item_count(&self, row: u32) -> Option<u64> {
        self.items.get(row as usize).map(|term| term.count)
    }

    /// The row of a word in the table of words: its own, or one of those shared.
    pub fn word_row(&self, kind: WordKind, word: &str) -> u32 {
        let hash = kind.hash(word);
        self.word_rows.get(&hash).copied().unwrap_or_else(|| {
            let shared = self.config.shared_rows;
            kind as u32 * shared + (hash % u64::from(shared)) as u32
        })
    }

    /// What the item tower reads of a product.
    pub fn item_features(&self, item: &Item) -> ItemFeatures {
        let mut words = Vec::with_capacity(32);
        each_word(item, &self.config, |kind, word| words.push(self.word_row(kind, word)));
        words.sort_unstable();
        words.dedup();
        let has_vector = self.vector_dim > 0 && item.embedding.len() == self.vector_dim;
        ItemFeatures {
            key: item.id.key(),
            id_row: self.item_row(item.id.key()),
            words,
            vector: if has_vector { item.embedding.clone() } else { Vec::new() },
        }
    }

    /// What the item tower reads of a product that the catalogue does not hold.
    pub fn bare_features(&self, item: ItemKey) -> ItemFeatures {
        ItemFeatures { key: item, id_row: self.item_row(item), words: Vec::new(), vector: Vec::new() }
    }

    /// Writes the vocabulary to a file of terms.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), VocabularyError> {
        let mut writer = TermWriter::create(path)?;
        let mut write = |kind: &str, term: &str, row: u32, count: u64| {
            writer.write(&Term { kind: kind.to_owned(), term: term.to_owned(), row, count })
        };
        for (row, (name, value)) in (0..).zip(SETTINGS.into_iter().zip(self.settings())) {
            write("config", name, row, value)?;
        }
        for (row, term) in (0..).zip(&self.items) {
            write("item", &term.id, row, term.count)?;
        }
        for (row, term) in (shared_rows(&self.config)..).zip(&self.words) {
            write(term.kind.as_str(), &term.word, row, term.count)?;
        }
        writer.finish()?;
        Ok(())
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read, is of another version, or its rows are not dense and rising.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, VocabularyError> {
        let path = path.as_ref();
        let mut vocabulary = Self::empty(VocabularyConfig::default());
        let mut settings = Vec::with_capacity(SETTINGS.len());
        for terms in TermReader::open(path)? {
            for term in terms? {
                vocabulary.take(&term, &mut settings).map_err(|rule| VocabularyError::Term {
                    path: path.to_owned(),
                    kind: term.kind,
                    term: term.term,
                    rule,
                })?;
            }
        }
        if settings.len() < SETTINGS.len() {
            let path = path.to_owned();
            return Err(VocabularyError::Incomplete { path, setting: SETTINGS[settings.len()] });
        }
        Ok(vocabulary)
    }

    /// The values of [`SETTINGS`].
    fn settings(&self) -> [u64; SETTINGS.len()] {
        let VocabularyConfig { min_item_count, min_word_count, max_words, shared_rows, title_tokens, ngram } =
            self.config;
        [
            u64::from(FORMAT_VERSION),
            min_item_count,
            min_word_count,
            max_words as u64,
            u64::from(shared_rows),
            title_tokens as u64,
            ngram as u64,
            self.vector_dim as u64,
        ]
    }

    /// Takes a setting in; with the last one, configures this.
    fn take_setting(&mut self, term: &Term, settings: &mut Vec<u64>) -> Result<(), String> {
        match SETTINGS.get(settings.len()) {
            Some(&name) if name == term.term && term.row as usize == settings.len() => {}
            Some(name) => return Err(format!("the setting in its place must be {name}")),
            None => return Err("there is one setting too many".to_owned()),
        }
        if settings.is_empty() && term.count != u64::from(FORMAT_VERSION) {
            let version = term.count;
            return Err(format!("this build reads version {FORMAT_VERSION}, found {version}: train again"));
        }
        settings.push(term.count);
        let Ok([_, min_item_count, min_word_count, max_words, shared_rows, title_tokens, ngram, vector_dim]) =
            <[u64; SETTINGS.len()]>::try_from(&settings[..])
        else {
            return Ok(());
        };
        let size = |value: u64| u32::try_from(value).map_err(|_| format!("{value} is too large"));
        self.config = VocabularyConfig {
            min_item_count,
            min_word_count,
            max_words: size(max_words)? as usize,
            shared_rows: size(shared_rows)?.clamp(1, MAX_SHARED_ROWS),
            title_tokens: size(title_tokens)? as usize,
            ngram: size(ngram)? as usize,
        };
        self.vector_dim = size(vector_dim)? as usize;
        Ok(())
    }

    fn take(&mut self, term: &Term, settings: &mut Vec<u64>) -> Result<(), String> {
        if term.kind != "config" && settings.len() < SETTINGS.len() {
            return Err("the configuration must come first".to_owned());
        }
        let dense = |rows: usize| match term.row as usize == rows {
            true => Ok(()),
            false => Err(format!("its row must be {rows}, is {}", term.row)),
        };
        match term.kind.as_str() {
            "config" => self.take_setting(term, settings),
            "item" => {
                dense(self.items.len())?;
                self.items.push(ItemTerm { id: term.term.as_str().into(), count: term.count });
                match self.item_rows.insert(ItemKey::of(&term.term), term.row) {
                    None => Ok(()),
                    Some(row) => Err(format!("row {row} has its key")),
                }
            }
            kind => {
                let kind = WordKind::from_name(kind).ok_or("the kind is unknown")?;
                dense(self.words())?;
                self.words.push(WordTerm { kind, word: term.term.as_str().into(), count: term.count });
                match self.word_rows.insert(kind.hash(&term.term), term.row) {
                    None => Ok(()),
                    Some(row) => Err(format!("row {row} has its hash")),
                }
            }
        }
    }
}

/// Rows shared by the unknown words of all kinds: the first rows of the table of words.
fn shared_rows(config: &VocabularyConfig) -> u32 {
    WordKind::ALL.len() as u32 * config.shared_rows
}

/// The commonest length of the shop's own vectors, the larger of two equally common ones.
fn common_vector_dim(items: &[Item]) -> usize {
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    for item in items.iter().filter(|item| !item.embedding.is_empty()) {
        *counts.entry(item.embedding.len()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|&(dim, count)| (count, dim)).map_or(0, |(dim, _)| dim)
}
