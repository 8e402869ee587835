//! Imports of the real data sets, where `ENDCAP_DATA` names the folder that they lie in.
//!
//! The counts are those of the files' own readme and of plain line counts.

use std::path::PathBuf;

use endcap_clickstream::{
    BadRowLimit, Dataset, Part,
    import::{Format, ImportOptions, ImportReport, import},
};
use endcap_proto::EventType;
use tempfile::TempDir;

/// The folder, or `None` after saying that the test was skipped.
fn data(name: &str) -> Option<PathBuf> {
    match std::env::var_os("ENDCAP_DATA") {
        Some(data) => Some(PathBuf::from(data).join(name)),
        None => {
            let required = std::env::var("ENDCAP_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|what| what.trim() == "data"), "ENDCAP_DATA is not set");
            println!("SKIPPED: needs ENDCAP_DATA");
            None
        }
    }
}

/// Events, visitors, items in events, items in the catalogue.
type Counts = [u64; 4];

/// Imports a folder in which no row may be bad, reads the events back, and compares the counts.
fn counts(
    name: &str,
    format: Format,
    options: ImportOptions,
    want: Counts,
) -> Option<(ImportReport, Dataset, TempDir)> {
    let input = data(name)?;
    let out = tempfile::tempdir().unwrap();
    let options = ImportOptions { max_bad_rows: BadRowLimit::AtMost(0), ..options };
    let report = import(format, &options, &input, out.path()).unwrap();
    assert_eq!([report.events, report.visitors, report.items_in_events, report.items], want, "{report}");
    let dataset = Dataset::open(out.path()).unwrap();
    let mut times = Vec::new();
    for batch in dataset.events().unwrap() {
        times.extend(batch.unwrap().iter().map(|event| event.time));
    }
    assert_eq!(times.len() as u64, report.events);
    assert!(report.test_events.is_some() || times.is_sorted(), "events are in the order of time");
    assert_eq!(dataset.items().unwrap().len() as u64, report.items);
    Some((report, dataset, out))
}

fn plain() -> ImportOptions {
    ImportOptions::default()
}

#[test]
fn diginetica() {
    let want = [906_140 + 76_821, 186_670 + 15_963, 43_097, 43_097];
    let Some((report, dataset, _out)) = counts("diginetica", Format::Sessions, plain(), want) else { return };
    assert_eq!(report.notes, ["60858 cases of test_pairs.tsv are 60858 prefixes of 15963 sessions"]);
    assert_eq!(report.test_events, Some(76_821));
    let train: usize = dataset.events_of(Part::Train).unwrap().map(|batch| batch.unwrap().len()).sum();
    assert_eq!(train, 906_140);
}

#[test]
fn amazon_beauty() {
    counts("amazon_beauty", Format::Sequences, plain(), [198_502, 22_363, 12_101, 12_101]);
}

#[test]
fn amazon_timed() {
    counts("amazon_timed", Format::AmazonTimed, plain(), [195_791, 6170, 2753, 2753]);
}

#[test]
fn movielens_1m() {
    counts("ml-1m", Format::Movielens, plain(), [999_611, 6040, 3416, 3416]);
}

#[test]
fn movielens_100k() {
    counts("ml-100k", Format::Movielens, plain(), [100_000, 943, 1682, 1682]);
}

#[test]
fn gowalla() {
    let want = [810_128 + 217_242, 29_858, 40_981, 40_981];
    let Some((report, dataset, _out)) = counts("gowalla", Format::FixedSplit, plain(), want) else { return };
    assert_eq!((report.test_events, dataset.info.ordered), (Some(217_242), false));
}

#[test]
fn trivago() {
    let want = [100_003 - 4 + 13_597, 6593, 107_603, 107_603];
    let Some((report, ..)) = counts("trivago", Format::Trivago, plain(), want) else { return };
    assert_eq!(report.events_by_type[&EventType::Impression], 13_597);
    assert_eq!(report.skipped.values().sum::<u64>(), 4, "items that the publisher calls unknown");
}

#[test]
fn jd() {
    let Some((report, ..)) = counts("jd", Format::Jd, plain(), [27_183, 3520, 12_195, 12_195]) else {
        return;
    };
    let types: Vec<_> = report.events_by_type.values().copied().collect();
    assert_eq!(types, [24_365, 448, 1906, 464], "view, add_to_wishlist, purchase, rate");
}

#[test]
fn alibaba_brand() {
    let options = ImportOptions { year: Some(2012), ..plain() };
    let want = [182_880, 884, 9531, 9531];
    let Some((report, ..)) = counts("alibaba_brand", Format::AlibabaBrand, options, want) else { return };
    assert_eq!(report.first_time.unwrap().to_string(), "2012-04-15T00:00:00.000Z");
    assert_eq!(report.last_time.unwrap().to_string(), "2012-08-15T00:00:00.000Z");
}
