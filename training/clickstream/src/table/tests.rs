//! Laws that hold for every kind of file: what is written is read again, and damage is an error.

use std::{fmt::Debug, fs};

use endcap_proto::{Event, EventType, Item, v1::Impression};
use proptest::{collection::vec, prelude::*, strategy::ValueTree};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    EventBatch, EventWriter, LogPosition, Term,
    testing::{any_event, any_impression, any_item, event},
};

const ENDINGS: [&str; 5] = ["arrow", "arrows", "arrows.zst", "arrows.gz", "parquet"];

fn write<T: Table>(path: &Path, rows: &[T]) {
    let mut writer = TableWriter::create(path).unwrap();
    rows.iter().for_each(|row| writer.write(row).unwrap());
    assert_eq!(writer.finish().unwrap(), rows.len() as u64);
}

fn read<T: Table>(path: &Path) -> Result<Vec<T::Batch>, ClickstreamError> {
    TableReader::<T>::open(path)?.collect()
}

/// Writes and reads again in each format.
fn survives<T: Table + PartialEq + Debug>(
    rows: &[T],
    flatten: impl Fn(Vec<T::Batch>) -> Vec<T>,
) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    for ending in ENDINGS {
        let path = dir.path().join(format!("rows.{ending}"));
        write(&path, rows);
        let again = flatten(read::<T>(&path).unwrap());
        prop_assert_eq!(&again, rows, "{}", ending);
    }
    Ok(())
}

fn events(batches: Vec<EventBatch>) -> Vec<Event> {
    batches.iter().flat_map(|batch| batch.iter().map(|event| event.to_event())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_field_of_an_event_survives_every_format(rows in vec(any_event(), 0..20)) {
        survives(&rows, events)?;
        let batch = EventBatch::from_events(&rows).unwrap();
        prop_assert_eq!(events(vec![batch]), rows);
    }

    #[test]
    fn every_field_of_an_item_survives_every_format(rows in vec(any_item(), 0..20)) {
        survives(&rows, |batches: Vec<Vec<Item>>| batches.concat())?;
    }

    #[test]
    fn every_field_of_an_impression_survives_every_format(rows in vec(any_impression(), 0..20)) {
        survives(&rows, |batches: Vec<Vec<Impression>>| batches.concat())?;
    }

    #[test]
    fn terms_survive_every_format(rows in vec(("[a-z]{0,3}", "\\PC{0,9}", any::<u32>(), any::<u64>()), 0..20)) {
        let rows: Vec<_> =
            rows.into_iter().map(|(kind, term, row, count)| Term { kind, term, row, count }).collect();
        survives(&rows, |batches: Vec<Vec<Term>>| batches.concat())?;
    }
}

#[test]
fn where_an_event_was_in_its_topic_survives_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: usize| event(&format!("e{i}"), EventType::View, 0, "v", &["a"]);
    let places = [None, Some((0, 0)), Some((7, i64::MAX)), None, Some((i32::MAX, 1))];
    let places = places.map(|at| at.map(|(partition, offset)| LogPosition { partition, offset }));
    for ending in ENDINGS {
        let path = dir.path().join(format!("rows.{ending}"));
        let mut writer = EventWriter::create(&path).unwrap();
        for (i, at) in places.iter().enumerate() {
            match at {
                Some(at) => writer.write_from_log(&row(i), *at).unwrap(),
                None => writer.write(&row(i)).unwrap(),
            }
        }
        writer.finish().unwrap();
        let batches = read::<Event>(&path).unwrap();
        let again: Vec<_> = batches.iter().flat_map(EventBatch::iter).map(|row| row.log_position()).collect();
        assert_eq!(again, places, "{ending}");
    }
    let path = dir.path().join("negative.arrow");
    let mut writer = EventWriter::create(&path).unwrap();
    writer.write_from_log(&row(0), LogPosition { partition: 0, offset: -1 }).unwrap();
    writer.finish().unwrap();
    let message = read::<Event>(&path).unwrap_err().to_string();
    assert!(message.ends_with("row 0: kafka_offset: must not be negative, is -1"), "{message}");
}

/// A few hundred varied events, in several batches where the format has them.
fn sample() -> Vec<Event> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = any_event();
    (0..300).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn batches_end_at_8192_rows_and_nothing_is_lost_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<_> =
        (0..20_000).map(|i| event(&format!("e{i}"), EventType::View, i, "v", &["a", "b"])).collect();
    for ending in ["arrow", "arrows", "parquet"] {
        let path = dir.path().join(format!("rows.{ending}"));
        write(&path, &rows);
        let batches = read::<Event>(&path).unwrap();
        let lengths: Vec<_> = batches.iter().map(EventBatch::len).collect();
        assert_eq!(lengths, [8192, 8192, 3616], "{ending}");
        assert!(events(batches) == rows, "{ending}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let rows = sample();
    for ending in ENDINGS {
        let whole = dir.path().join(format!("whole.{ending}"));
        write(&whole, &rows);
        let bytes = fs::read(&whole).unwrap();
        let path = dir.path().join(format!("cut.{ending}"));
        for length in (0..50).map(|i| bytes.len() * i / 50).chain([bytes.len() - 1]) {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = read::<Event>(&path).map(drop);
            let error = error.expect_err(&format!("{length} of {} bytes pass for {ending}", bytes.len()));
            let message = error.to_string();
            assert!(message.contains(&format!("cut.{ending}: ")), "{message}");
            if ending != "parquet" {
                assert!(
                    matches!(error, ClickstreamError::Truncated { .. }),
                    "{ending}, {length} bytes: {message}"
                );
            }
        }
    }
}

/// Seeded bit flips: an error or a batch, never a panic that escapes, never memory without end.
fn survives_flips(ending: &str, flips: usize) {
    let dir = tempfile::tempdir().unwrap();
    let rows = sample();
    let path = dir.path().join(format!("flipped.{ending}"));
    write(&path, &rows);
    let bytes = fs::read(&path).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut errors = 0;
    for _ in 0..flips {
        let mut damaged = bytes.clone();
        let bit = random.random_range(0..damaged.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        match read::<Event>(&path) {
            Ok(batches) => drop(events(batches)),
            Err(error) => {
                errors += 1;
                assert!(error.to_string().contains("flipped."), "{error}");
            }
        }
    }
    assert!(errors > 0, "no flip was ever noticed: the test flips nothing");
}

#[test]
fn a_flipped_bit_in_an_ipc_file_is_an_error_or_other_data() {
    survives_flips("arrow", 2000);
}

#[test]
fn a_flipped_bit_in_an_ipc_stream_is_an_error_or_other_data() {
    survives_flips("arrows", 2000);
    survives_flips("arrows.zst", 300);
    survives_flips("arrows.gz", 300);
}

#[test]
fn a_flipped_bit_in_a_parquet_file_is_an_error_or_other_data() {
    survives_flips("parquet", 2000);
}

#[test]
fn what_is_no_data_file_is_refused_by_its_first_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let message = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        read::<Event>(&path).unwrap_err().to_string()
    };
    assert!(message("a.arrow", b"user,item,time\n").contains("neither Arrow IPC nor Parquet"));
    assert!(message("b.arrow", b"").contains("it is empty"));
    assert!(message("c.gz", &[0x1f, 0x8b, 8, 0]).contains("cut off"));
    assert!(read::<Event>(&dir.path().join("absent.arrow")).unwrap_err().to_string().contains("cannot open"));
    assert!(read::<Event>(dir.path()).unwrap_err().to_string().contains("is a folder"));
    let error = TableWriter::<Event>::create(dir.path().join("events.csv")).unwrap_err().to_string();
    assert!(error.contains(".arrow, .arrows, .arrows.zst, .arrows.gz, .parquet"), "{error}");
}

#[test]
fn a_file_has_its_name_only_when_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.arrow");
    let names = || fs::read_dir(dir.path()).unwrap().count();
    let mut writer = TableWriter::create(&path).unwrap();
    writer.write(&event("e", EventType::View, 0, "v", &["a"])).unwrap();
    assert!(!path.exists());
    assert_eq!(names(), 1);
    drop(writer);
    assert_eq!(names(), 0, "a dropped writer leaves nothing behind");
    write(&path, &[event("e", EventType::View, 0, "v", &["a"])]);
    assert!(path.exists());
    assert_eq!(names(), 1);
}

#[test]
fn a_row_that_breaks_a_rule_is_refused_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.arrow");
    let mut writer = TableWriter::create(&path).unwrap();
    let good = event("e1", EventType::View, 0, "v", &["a"]);
    writer.write(&good).unwrap();
    let mut bad = good.clone();
    bad.items[0].unit_price = Some(f64::INFINITY);
    let message = writer.write(&bad).unwrap_err().to_string();
    assert!(
        message.ends_with("record batch 0, row 1: items[0].unit_price: must be finite, is inf"),
        "{message}"
    );
    let message = writer.write(&event("e", EventType::View, 0, "v", &[])).unwrap_err().to_string();
    assert!(message.ends_with("items: must not be empty for view"), "{message}");
    writer.finish().unwrap();
    assert_eq!(events(read::<Event>(&path).unwrap()), [good]);
}
