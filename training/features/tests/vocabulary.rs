//! A vocabulary gives every product a place, keeps its rows for good, and survives its file.

use endcap_clickstream::{Term, TermWriter};
use endcap_features::{Extension, Vocabulary, VocabularyConfig, VocabularyError, WordKind};
use endcap_proto::{Item, ItemId, ItemKey};
use proptest::prelude::*;

fn item(id: &str, title: &str, category: &str) -> Item {
    let mut item = Item::bare(ItemId::new(id).unwrap());
    item.title = Some(title.to_owned());
    item.categories = vec![category.to_owned()];
    item
}

fn shop() -> Vec<Item> {
    vec![
        item("b1", "Red boot", "Shoes > Boots"),
        item("b2", "Blue boot", "Shoes > Boots"),
        item("h1", "Red hat", "Hats"),
    ]
}

fn config() -> VocabularyConfig {
    VocabularyConfig { ngram: 0, shared_rows: 4, ..VocabularyConfig::default() }
}

/// Rows shared by unknown words: 6 kinds of 4.
const SHARED: u32 = 24;

fn vocabulary() -> Vocabulary {
    Vocabulary::build(&shop(), [("b1", 3), ("gone", 9), ("h1", 3)], &config()).unwrap()
}

#[test]
fn rows_go_by_count_and_words_that_products_share_get_their_own() {
    let vocabulary = vocabulary();
    assert_eq!(vocabulary.items(), 3);
    assert_eq!(vocabulary.item_id(0), Some("gone"));
    assert_eq!(vocabulary.item_count(0), Some(9));
    assert_eq!(vocabulary.item_row(ItemKey::of("b2")), None, "training never met it");
    // Two products each: shoes, shoes > boots, red, boot. By kind, then by word.
    assert_eq!(vocabulary.words() as u32, SHARED + 4);
    assert_eq!(vocabulary.word_row(WordKind::Category, "shoes"), SHARED);
    assert_eq!(vocabulary.word_row(WordKind::Category, "shoes > boots"), SHARED + 1);
    assert_eq!(vocabulary.word_row(WordKind::Title, "boot"), SHARED + 2);
    assert_eq!(vocabulary.word_row(WordKind::Title, "red"), SHARED + 3);
}

#[test]
fn unknown_words_fall_onto_the_rows_of_their_kind() {
    let vocabulary = vocabulary();
    for (kind, first) in WordKind::ALL.iter().zip((0..).step_by(4)) {
        let row = vocabulary.word_row(*kind, "never seen");
        assert!((first..first + 4).contains(&row), "{kind:?} fell onto {row}");
    }
    let features = vocabulary.item_features(&item("new", "Green boot", "Shoes > Clogs"));
    assert_eq!(features.id_row, None);
    assert!(features.words.contains(&SHARED) && features.words.contains(&(SHARED + 2)));
    assert_eq!(features.words.iter().filter(|&&row| row < SHARED).count(), 2, "green and clogs are unknown");
    assert!(features.words.is_sorted());
}

#[test]
fn extending_adds_rows_and_renumbers_nothing() {
    let mut vocabulary = vocabulary();
    let before = vocabulary.clone();
    let mut items = shop();
    items.push(item("h2", "Blue hat", "Hats"));
    let extension = vocabulary.extend(&items, [("h2", 100), ("b1", 1)]).unwrap();
    // New words that two products share now: hats, blue, hat.
    assert_eq!(extension, Extension { items: 1, words: 3 });
    assert_eq!(vocabulary.item_row(ItemKey::of("h2")), Some(3));
    assert_eq!(vocabulary.item_count(vocabulary.item_row(ItemKey::of("b1")).unwrap()), Some(4));
    for row in 0..before.items() as u32 {
        assert_eq!(vocabulary.item_id(row), before.item_id(row));
    }
    for (kind, word) in [(WordKind::Category, "shoes"), (WordKind::Title, "boot"), (WordKind::Title, "red")] {
        assert_eq!(vocabulary.word_row(kind, word), before.word_row(kind, word));
    }
    assert_eq!(vocabulary.extend(&items, []).unwrap(), Extension::default());
}

#[test]
fn the_shops_vectors_must_have_the_commonest_length() {
    let mut items = shop();
    items[0].embedding = vec![1.0, 2.0];
    items[1].embedding = vec![3.0, 4.0];
    items[2].embedding = vec![5.0];
    let vocabulary = Vocabulary::build(&items, [], &config()).unwrap();
    assert_eq!(vocabulary.vector_dim(), 2);
    assert_eq!(vocabulary.item_features(&items[1]).vector, [3.0, 4.0]);
    assert!(vocabulary.item_features(&items[2]).vector.is_empty());
}

#[test]
fn a_vocabulary_survives_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocabulary.arrow");
    let mut items = shop();
    items[0].embedding = vec![1.0];
    let vocabulary = Vocabulary::build(&items, [("b1", 3)], &config()).unwrap();
    vocabulary.write(&path).unwrap();
    assert_eq!(Vocabulary::read(&path).unwrap(), vocabulary);
}

#[test]
fn a_file_that_is_no_vocabulary_is_refused_by_rule() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocabulary.arrow");
    let message = |terms: &[(&str, &str, u32, u64)]| {
        let mut writer = TermWriter::create(&path).unwrap();
        for &(kind, term, row, count) in terms {
            writer.write(&Term { kind: kind.to_owned(), term: term.to_owned(), row, count }).unwrap();
        }
        writer.finish().unwrap();
        let error = Vocabulary::read(&path).unwrap_err();
        assert!(!matches!(error, VocabularyError::File(_)), "{error}");
        error.to_string()
    };
    let names = [
        "min_item_count",
        "min_word_count",
        "max_words",
        "shared_rows",
        "title_tokens",
        "ngram",
        "vector_dim",
    ];
    let mut terms = vec![("config", "format_version", 0, 1)];
    assert!(message(&terms).contains("the setting min_item_count is missing"));
    terms.extend(names.iter().zip(1..).map(|(&name, row)| ("config", name, row, 4)));
    let with = |term| message(&[&terms[..], &[term]].concat());
    assert!(with(("item", "b1", 1, 1)).contains("its row must be 0, is 1"));
    assert!(with(("verb", "run", 24, 1)).contains("the kind is unknown"));
    assert!(with(("title", "boot", 3, 1)).contains("its row must be 24, is 3"));
    assert!(message(&[("item", "b1", 0, 1)]).contains("the configuration must come first"));
    assert!(message(&[("config", "format_version", 0, 2)]).contains("reads version 1, found 2"));
}

proptest! {
    #[test]
    fn rows_do_not_depend_on_the_order_of_the_input(
        (titles, shuffled) in proptest::collection::vec("[a-c]{1,2}( [a-c]{1,2}){0,3}", 0..30)
            .prop_flat_map(|titles| {
                let indexed: Vec<_> = titles.into_iter().enumerate().collect();
                (Just(indexed.clone()), Just(indexed).prop_shuffle())
            })
    ) {
        let build = |titles: &[(usize, String)]| {
            let items: Vec<_> = titles.iter().map(|(i, title)| item(&format!("i{i}"), title, title)).collect();
            let counts = items.iter().map(|item| (item.id.as_str(), item.id.key().0 % 3));
            Vocabulary::build(&items, counts, &VocabularyConfig { ngram: 2, ..config() }).unwrap()
        };
        let (vocabulary, other) = (build(&titles), build(&shuffled));
        prop_assert_eq!(&vocabulary, &other);
        // Every product has its features within the tables.
        for (i, title) in &titles {
            let features = vocabulary.item_features(&item(&format!("i{i}"), title, title));
            prop_assert!(features.words.iter().all(|&row| (row as usize) < vocabulary.words()));
            prop_assert!(features.id_row.is_none_or(|row| (row as usize) < vocabulary.items()));
        }
    }
}
