//! Cuts in time: what a model may learn from, and what it is asked about.

use std::path::Path;

use arrow::array::Array;
use endcap_proto::{Event, EventTime};

use crate::{ClickstreamError, Dataset, Part, columns::Columns, file::RecordReader, table::Table};

/// For each share the latest instant before which no more than that share of all events lies.
/// Events of one instant stay together, on the later side, so that fewer may lie before it.
///
/// With `cut = time_cuts(&dataset, &[0.8])?[0]`, train on `time < cut` and test on `time >= cut`.
/// Only the column of times is read; 8 bytes of memory are needed per event.
///
/// # Errors
/// When a share does not lie between 0 and 1, when there is no event, or when a file cannot be read.
pub fn time_cuts(dataset: &Dataset, shares: &[f64]) -> Result<Vec<EventTime>, ClickstreamError> {
    let refuse = |reason: String| ClickstreamError::Dataset { path: dataset.dir.clone(), reason };
    if let Some(share) = shares.iter().find(|share| !(0.0..=1.0).contains(*share)) {
        return Err(refuse(format!("a share of events must lie between 0 and 1, is {share}")));
    }
    let mut times = Vec::new();
    for file in dataset.event_files(Part::All)? {
        read_times(&file, &mut times)?;
    }
    let last = times.len().checked_sub(1).ok_or_else(|| refuse("holds no events to cut".into()))?;
    times.sort_unstable();
    let cut = |share: &f64| {
        let before = (share * times.len() as f64).floor() as usize;
        EventTime::clamped(times[before.min(last)])
    };
    Ok(shares.iter().map(cut).collect())
}

fn read_times(path: &Path, times: &mut Vec<i64>) -> Result<(), ClickstreamError> {
    let contract = Event::contract().only(&["event_time"]);
    for record in RecordReader::open(path, &contract)? {
        let (batch, record) = record?;
        let columns = Columns::new(path, batch, &record, &contract);
        let column = columns.required("event_time", columns.times("event_time")?)?;
        debug_assert_eq!(column.null_count(), 0);
        times.extend_from_slice(column.values());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use endcap_proto::EventType;
    use proptest::prelude::*;

    use super::*;
    use crate::{DatasetInfo, DatasetWriter, testing::event};

    fn dataset(times: &[i64]) -> (tempfile::TempDir, Dataset) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = DatasetWriter::create(dir.path(), DatasetInfo::new("test")).unwrap();
        for (i, &millis) in times.iter().enumerate() {
            let event = event(&i.to_string(), EventType::HomeView, millis, "v", &[]);
            writer.event(&event, Part::All).unwrap();
        }
        writer.finish().unwrap();
        let dataset = Dataset::open(dir.path()).unwrap();
        (dir, dataset)
    }

    #[test]
    fn events_of_one_instant_stay_together_on_the_later_side() {
        // Sorted: 1 2 3 3 3 3 3 8 9 10. Eight of ten lie before 9. Five of ten would cut the 3s.
        let (_dir, dataset) = dataset(&[3, 1, 9, 3, 3, 10, 3, 3, 8, 2]);
        let cuts: Vec<i64> = time_cuts(&dataset, &[0.8, 0.5, 0.0, 1.0])
            .unwrap()
            .into_iter()
            .map(EventTime::as_millis)
            .collect();
        assert_eq!(cuts, [9, 3, 1, 10]);
    }

    #[test]
    fn shares_out_of_range_and_empty_data_are_refused() {
        let (_dir, full) = dataset(&[1]);
        assert!(time_cuts(&full, &[1.5]).unwrap_err().to_string().contains("between 0 and 1"));
        assert!(time_cuts(&full, &[f64::NAN]).is_err());
        let (_dir, empty) = dataset(&[]);
        assert!(time_cuts(&empty, &[0.5]).unwrap_err().to_string().contains("no events"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_more_than_the_share_lies_before_a_cut_and_no_later_instant_would_do(
            times in prop::collection::vec(0i64..20, 1..60), share in 0.0f64..1.0,
        ) {
            let (_dir, dataset) = dataset(&times);
            let cut = time_cuts(&dataset, &[share]).unwrap()[0].as_millis();
            let before = |cut: i64| times.iter().filter(|&&time| time < cut).count();
            let allowed = (share * times.len() as f64).floor() as usize;
            prop_assert!(before(cut) <= allowed);
            if let Some(&later) = times.iter().filter(|&&time| time > cut).min() {
                prop_assert!(before(later) > allowed);
            }
        }
    }
}
