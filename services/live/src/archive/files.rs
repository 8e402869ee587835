//! The names of the archive's files, which say what has been archived.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};

use super::{At as _, Error};

/// A roll: the offsets `first` to `last` of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Roll {
    pub(super) last: i64,
    pub(super) first: i64,
}

/// The newest roll of a partition, and the hours that it has files for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewestRoll {
    pub(super) roll: Roll,
    pub(super) hours: BTreeSet<String>,
}

/// The folder of an hour: `date=2026-11-24/hour=13`.
pub(super) fn hour_of(time: EventTime) -> String {
    let text = time.to_string();
    format!("date={}/hour={}", text.get(..10).unwrap_or_default(), text.get(11..13).unwrap_or_default())
}

/// The name of a finished file. Names sort by partition, then offset.
pub(super) fn name(topic: &str, partition: i32, roll: Roll) -> String {
    format!("part-{topic}-{partition:05}-{:020}-{:020}.arrow", roll.first, roll.last)
}

/// The name of a file that is being written: one for each hour that a partition's roll touches.
pub(super) fn staged_name(topic: &str, partition: i32, hour: &str) -> String {
    format!("{topic}-{partition:05}-{}.arrow", hour.replace('/', ","))
}

fn parse(topic: &str, name: &str) -> Option<(i32, Roll)> {
    let numbers =
        name.strip_prefix("part-")?.strip_prefix(topic)?.strip_prefix('-')?.strip_suffix(".arrow")?;
    let mut numbers = numbers.split('-');
    let partition = numbers.next()?.parse().ok()?;
    let first = numbers.next()?.parse().ok()?;
    let last = numbers.next()?.parse().ok()?;
    (numbers.next().is_none() && first <= last).then_some((partition, Roll { last, first }))
}

/// The newest roll of each partition of a topic, and the hours that it has files for.
pub(super) fn newest_rolls(dir: &Path, topic: &str) -> Result<BTreeMap<i32, NewestRoll>, Error> {
    let newest = |(partition, mut rolls): (i32, BTreeMap<Roll, Vec<PathBuf>>)| {
        let (roll, files) = rolls.pop_last()?;
        Some((partition, NewestRoll { roll, hours: files.iter().map(|path| hour_folder(path)).collect() }))
    };
    Ok(rolls(dir, topic)?.into_iter().filter_map(newest).collect())
}

/// Every roll of each partition of a topic in order, with its files by hour.
pub(super) fn rolls(dir: &Path, topic: &str) -> Result<BTreeMap<i32, BTreeMap<Roll, Vec<PathBuf>>>, Error> {
    let mut rolls = BTreeMap::<i32, BTreeMap<Roll, Vec<PathBuf>>>::new();
    let mut dates = folders(dir, "date=")?;
    dates.sort();
    for date in dates {
        let mut hours = folders(&date, "hour=")?;
        hours.sort();
        for hour in hours {
            for entry in fs::read_dir(&hour).at(&hour, "list")? {
                let path = entry.at(&hour, "list")?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                if let Some((partition, roll)) = name.and_then(|name| parse(topic, name)) {
                    rolls.entry(partition).or_default().entry(roll).or_default().push(path);
                }
            }
        }
    }
    Ok(rolls)
}

fn folders(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>, Error> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).at(dir, "list")? {
        let path = entry.at(dir, "list")?.path();
        if file_name(&path).starts_with(prefix) && path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// The folder of the hour that a file is of: `date=2026-11-24/hour=13`.
fn hour_folder(path: &Path) -> String {
    let mut parents = path.ancestors().skip(1).map(file_name);
    let (hour, date) = (parents.next().unwrap_or_default(), parents.next().unwrap_or_default());
    format!("{date}/{hour}")
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_topic_partition_and_offsets() {
        let roll = Roll { first: 1000, last: 1999 };
        let name = name("shop-1.events", 3, roll);
        assert_eq!(name, "part-shop-1.events-00003-00000000000000001000-00000000000000001999.arrow");
        assert_eq!(parse("shop-1.events", &name), Some((3, roll)));
        assert_eq!(parse("shop-1", &name), None);
        assert_eq!(parse("events", "part-events-3-5-4.arrow"), None);
    }

    #[test]
    fn an_hour_is_utc() {
        assert_eq!(hour_of(EventTime::clamped(951_827_696_789)), "date=2000-02-29/hour=12");
    }
}
