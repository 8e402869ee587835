//! What the import tests share: a source written to a folder, imported and read back.

use std::path::{Path, PathBuf};

use endcap_clickstream::{
    ClickstreamError, Dataset, Part,
    import::{Format, ImportOptions, ImportReport, import},
};
use endcap_proto::{Event, Item};
use tempfile::TempDir;

/// A folder with a source's files in `in/`, and room for data sets beside it.
pub(crate) struct Source {
    dir: TempDir,
}

/// A data set that was imported, read back.
pub(crate) struct Imported {
    pub(crate) report: ImportReport,
    pub(crate) dataset: Dataset,
    pub(crate) events: Vec<Event>,
    pub(crate) items: Vec<Item>,
}

impl Source {
    /// Writes files by name; `.zst` and `.gz` are compressed.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let source = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(source.path("in")).unwrap();
        for (name, text) in files {
            let bytes = if name.ends_with(".zst") {
                zstd::encode_all(text.as_bytes(), 3).unwrap()
            } else if name.ends_with(".gz") {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
                encoder.finish().unwrap()
            } else {
                text.as_bytes().to_vec()
            };
            source.write(name, &bytes);
        }
        source
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path("in").join(name), bytes).unwrap();
    }

    /// A path in the folder that the source's files lie in folder `in` of.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Imports the folder.
    pub(crate) fn import(
        &self,
        format: Format,
        options: &ImportOptions,
    ) -> Result<Imported, ClickstreamError> {
        read_back(import(format, options, &self.path("in"), &self.path("out"))?)
    }

    /// What the import of the folder is refused with.
    pub(crate) fn refusal(&self, format: Format, options: &ImportOptions) -> String {
        match self.import(format, options) {
            Ok(imported) => panic!("was imported:\n{}", imported.report),
            Err(error) => error.to_string().replace(&self.dir.path().display().to_string(), "DIR"),
        }
    }
}

pub(crate) fn read_back(report: ImportReport) -> Result<Imported, ClickstreamError> {
    let dataset = Dataset::open(&report.out)?;
    let events = events_of(&dataset, Part::All)?;
    let items = dataset.items()?;
    assert_eq!(
        (events.len() as u64, items.len() as u64),
        (report.events, report.items),
        "the report tells the truth"
    );
    Ok(Imported { report, dataset, events, items })
}

pub(crate) fn events_of(dataset: &Dataset, part: Part) -> Result<Vec<Event>, ClickstreamError> {
    let mut events = Vec::new();
    for batch in dataset.events_of(part)? {
        events.extend(batch?.iter().map(|event| event.to_event()));
    }
    Ok(events)
}

/// Every file of a data set, by name.
pub(crate) fn bytes(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

impl Imported {
    /// A line per event: time in milliseconds, visitor, type, items.
    pub(crate) fn lines(&self) -> Vec<String> {
        lines(&self.events)
    }

    pub(crate) fn item(&self, id: &str) -> &Item {
        self.items.iter().find(|item| item.id.as_str() == id).unwrap_or_else(|| panic!("no item {id}"))
    }
}

pub(crate) fn lines(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| {
        let items: Vec<_> = event.items.iter().map(|item| item.item_id.as_str()).collect();
        format!("{} {} {} {}", event.time.as_millis(), event.visitor_id, event.event_type, items.join(","))
    };
    events.iter().map(line).collect()
}
