use endcap_proto::{EventType, ItemId};

use super::*;
use crate::{EventWriter, testing::event};

fn view(event_id: &str, item_id: &str) -> Event {
    event(event_id, EventType::View, 1_700_000_000_000, "v", &[item_id])
}

fn item(id: &str, title: &str) -> Item {
    Item { title: Some(title.to_owned()), ..Item::bare(ItemId::new(id).unwrap()) }
}

fn ids(dataset: &Dataset, part: Part) -> Vec<String> {
    let batches: Vec<_> = dataset.events_of(part).unwrap().collect::<Result<_, _>>().unwrap();
    batches.iter().flat_map(|batch| batch.iter().map(|event| event.event_id.to_owned())).collect()
}

fn write_file(path: &Path, ids: &[&str]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = EventWriter::create(path).unwrap();
    ids.iter().for_each(|id| writer.write(&view(id, "i")).unwrap());
    writer.finish().unwrap();
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/folder");
    let mut writer = DatasetWriter::create(&dir, DatasetInfo::new("test")).unwrap();
    writer.event(&view("e1", "a"), Part::All).unwrap();
    writer.event(&view("e2", "b"), Part::All).unwrap();
    writer.item(&item("b", "first")).unwrap();
    writer.item(&item("a", "other")).unwrap();
    writer.item(&item("b", "last")).unwrap();
    writer.info_mut().notes.push("assumed".into());
    let summary = writer.finish().unwrap();
    assert_eq!((summary.events, summary.items, summary.impressions), (2, 2, 0));
    let dataset = Dataset::open(&dir).unwrap();
    assert_eq!(dataset.info, DatasetInfo { notes: vec!["assumed".into()], ..DatasetInfo::new("test") });
    assert_eq!(ids(&dataset, Part::All), ["e1", "e2"]);
    assert_eq!(dataset.items().unwrap(), [item("b", "last"), item("a", "other")]);
    assert_eq!(dataset.impressions().unwrap().count(), 0);
    let message = dataset.event_files(Part::Test).unwrap_err().to_string();
    assert!(message.contains("has no fixed split"), "{message}");
}

#[test]
fn a_fixed_split_keeps_its_parts_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create(dir.path(), DatasetInfo::new("test")).unwrap();
    writer.event(&view("e1", "a"), Part::Test).unwrap();
    writer.event(&view("e2", "a"), Part::Train).unwrap();
    writer.event(&view("e3", "a"), Part::Train).unwrap();
    writer.finish().unwrap();
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(ids(&dataset, Part::Train), ["e2", "e3"]);
    assert_eq!(ids(&dataset, Part::Test), ["e1"]);
    assert_eq!(ids(&dataset, Part::All).len(), 3);
    fs::remove_file(dir.path().join("events/test-00000.arrow")).unwrap();
    assert!(Dataset::open(dir.path()).unwrap_err().to_string().contains("no such file"));
}

#[test]
fn an_archive_is_read_in_the_order_of_its_partitions_and_past_hidden_files() {
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("events");
    write_file(&events.join("date=2026-11-24/hour=09/b.parquet"), &["e3"]);
    write_file(&events.join("date=2026-11-24/hour=09/a.arrow"), &["e2"]);
    write_file(&events.join("date=2026-11-23/hour=23/z.arrows.zst"), &["e1"]);
    fs::write(events.join("_SUCCESS"), "").unwrap();
    fs::write(events.join(".a.arrow.1.0.tmp"), "half").unwrap();
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.info.source, "archive");
    assert_eq!(ids(&dataset, Part::All), ["e1", "e2", "e3"]);
    fs::write(events.join("more.csv"), "a,b").unwrap();
    let message = dataset.event_files(Part::All).unwrap_err().to_string();
    assert!(message.contains("more.csv") && message.contains("is no data file"), "{message}");
}

#[test]
fn several_folders_are_read_as_one_and_the_last_catalogue_counts() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for (dir, id, title) in [(&one, "e1", "old"), (&two, "e2", "new")] {
        let mut writer = DatasetWriter::create(dir, DatasetInfo::new(id)).unwrap();
        writer.event(&view(id, "a"), Part::All).unwrap();
        writer.item(&item("a", title)).unwrap();
        writer.finish().unwrap();
    }
    let both = Dataset::open_many(&[&one, &two]).unwrap();
    assert_eq!(both.info.source, "e1 + e2");
    assert_eq!(ids(&both, Part::All), ["e1", "e2"]);
    assert_eq!(both.items().unwrap(), [item("a", "new")]);
    let info = DatasetInfo { time: TimeKind::Ordinal, ..DatasetInfo::new("steps") };
    let three = dir.path().join("three");
    DatasetWriter::create(&three, info).unwrap().finish().unwrap();
    assert!(Dataset::open_many(&[&one, &three]).unwrap_err().to_string().contains("cannot be merged"));
}

#[test]
fn an_unfinished_data_set_is_refused_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create(dir.path(), DatasetInfo::new("stopped")).unwrap();
    writer.event(&view("e1", "a"), Part::All).unwrap();
    drop(writer);
    assert!(Dataset::open(dir.path()).unwrap_err().to_string().contains("not written to its end"));
    DatasetWriter::create(dir.path(), DatasetInfo::new("again")).unwrap().finish().unwrap();
    assert_eq!(ids(&Dataset::open(dir.path()).unwrap(), Part::All).len(), 0);
    let message = DatasetWriter::create(dir.path(), DatasetInfo::new("third")).unwrap_err().to_string();
    assert!(message.contains("holds a data set already"), "{message}");
}

#[test]
fn dataset_json_is_strict_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let message = |json: &str| {
        fs::write(dir.path().join(INFO_FILE), json).unwrap();
        Dataset::open(dir.path()).map(|dataset| dataset.info.time).map_err(|error| error.to_string())
    };
    assert_eq!(message(r#"{"version":1,"source":"x","time":"ordinal"}"#), Ok(TimeKind::Ordinal));
    assert!(
        message(r#"{"version":2,"source":"x","new":1}"#).unwrap_err().contains("this build reads version 1")
    );
    assert!(message(r#"{"version":1,"source":"x","orderd":true}"#).unwrap_err().contains("orderd"));
    assert!(message("{").unwrap_err().contains("dataset.json: EOF"));
    let escape = r#"{"version":1,"source":"x","split":{"train":["../../etc/passwd"],"test":[]}}"#;
    assert!(message(escape).unwrap_err().contains("within the data set's folder"));
}

#[test]
fn a_folder_that_is_no_data_set_says_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Dataset::open(dir.path()).unwrap_err().to_string().contains("is no data set"));
    assert!(Dataset::open(dir.path().join("absent")).unwrap_err().to_string().contains("cannot open"));
}

#[test]
fn a_shopper_whose_erasure_is_pending_is_not_read_and_everybody_else_is() {
    use endcap_proto::{EventTime, UserId, UserKey, VisitorId, VisitorKey};

    let dir = tempfile::tempdir().unwrap();
    let by = |id: &str, visitor: &str, user: Option<&str>, millis| Event {
        visitor_id: VisitorId::new(visitor).unwrap(),
        user_id: user.map(|user| UserId::new(user).unwrap()),
        time: EventTime::clamped(millis),
        ..view(id, "shoe")
    };
    let events = [
        by("phone-old", "phone", None, 10),
        by("phone-new", "phone", None, 100),
        by("tablet-anna", "tablet", Some("anna"), 20),
        by("tablet-ben", "tablet", Some("ben"), 20),
        by("laptop", "laptop", None, 10),
    ];
    let mut writer = DatasetWriter::create(dir.path(), DatasetInfo::new("test")).unwrap();
    events.iter().for_each(|event| writer.event(event, Part::All).unwrap());
    writer.item(&item("shoe", "Shoe")).unwrap();
    let slate = |visitor: &str, millis| Impression {
        slate_id: format!("{visitor}-{millis}"),
        visitor_id: visitor.to_owned(),
        served_time: Some(EventTime::clamped(millis).to_proto()),
        ..Impression::default()
    };
    [slate("phone", 10), slate("phone", 100), slate("laptop", 10)]
        .iter()
        .for_each(|slate| writer.impression(slate).unwrap());
    writer.finish().unwrap();

    let erased: Erased = [
        (crate::Shopper::Visitor(VisitorKey::of("phone")), EventTime::clamped(50)),
        (crate::Shopper::User(UserKey::of("anna")), EventTime::clamped(50)),
    ]
    .into_iter()
    .collect();
    erased.write_pending(dir.path()).unwrap();
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(ids(&dataset, Part::All), ["phone-new", "tablet-ben", "laptop"]);
    let slates: Vec<_> = dataset.impressions().unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(slates, [slate("phone", 100), slate("laptop", 10)]);
    assert_eq!(dataset.items().unwrap().len(), 1);

    // Read with a folder where nothing is pending, that one is whole.
    let other = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create(other.path(), DatasetInfo::new("test")).unwrap();
    events.iter().for_each(|event| writer.event(event, Part::All).unwrap());
    writer.finish().unwrap();
    let both = Dataset::open_many(&[dir.path(), other.path()]).unwrap();
    assert_eq!(ids(&both, Part::All).len(), 3 + 5);

    // A file that names nobody any more hides nobody; one that is not readable is an error, not silence.
    Erased::default().write_pending(dir.path()).unwrap();
    assert_eq!(ids(&dataset, Part::All).len(), 5);
    fs::write(dir.path().join(Erased::FILE), "{").unwrap();
    assert!(dataset.events().is_err());
}
