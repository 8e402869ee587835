//! A small synthetic shop with a bundle trained on it by the binary, shared by the tests that run.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use endcap_clickstream::synthetic::{Shop, ShopConfig};
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, Item, ItemId, VisitorId};

use tempfile::TempDir;

use crate::program::run;

/// The shop's files and its bundle, gone with the last test that holds them. Who writes takes a copy.
pub struct Fixture {
    _dir: TempDir,
    pub shop: Shop,
    /// Events, catalogue and slates.
    pub data: PathBuf,
    /// The folder of bundles, with one that is active.
    pub bundles: PathBuf,
    /// That one's name.
    pub version: String,
}

/// Training that is over in seconds.
pub const QUICK: [&str; 12] = [
    "--set",
    "towers.epochs=2",
    "--set",
    "towers.dim=16",
    "--set",
    "towers.length=10",
    "--set",
    "ranker.epochs=2",
    "--set",
    "ranker_moments=300",
    "--set",
    "refit=false",
];

/// The shop that the running tests share.
pub fn fixture() -> Arc<Fixture> {
    static SHARED: Mutex<Weak<Fixture>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let fixture = shared.upgrade().unwrap_or_else(|| Arc::new(Fixture::ending(now())));
    *shared = Arc::downgrade(&fixture);
    fixture
}

/// Trains, publishes and activates; the bundle's name.
pub fn train(data: &[&Path], bundles: &Path) -> String {
    let mut args = ["train", "--output", "json", "--out"].map(OsStr::new).to_vec();
    args.push(bundles.as_os_str());
    args.extend(data.iter().map(|dir| dir.as_os_str()));
    args.extend(QUICK.map(OsStr::new));
    let published: serde_json::Value = serde_json::from_str(&run(args).done()).unwrap();
    published["version"].as_str().unwrap().to_owned()
}

impl Fixture {
    /// A shop of its own whose last event is about then.
    pub fn ending(end: EventTime) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (data, bundles) = (dir.path().join("data"), dir.path().join("bundles"));
        let config =
            ShopConfig { items: 300, shoppers: 200, days: 14, images: false, end, ..ShopConfig::default() };
        let shop = Shop::new(&config).unwrap();
        shop.write(&data).unwrap();
        let version = train(&[&data], &bundles);
        Self { _dir: dir, shop, data, bundles, version }
    }

    /// The `n`-th product that is on sale.
    pub fn item(&self, n: usize) -> &Item {
        self.shop.items().iter().filter(|item| item.is_recommendable(now())).nth(n).unwrap()
    }
}

/// A page view of a product, now.
pub fn view(visitor: &str, item: &ItemId, serial: u32) -> Event {
    Event {
        event_id: EventId::new(format!("{visitor}-{serial}")).unwrap(),
        event_type: EventType::View,
        time: now(),
        visitor_id: VisitorId::new(visitor).unwrap(),
        user_id: None,
        session_id: None,
        items: vec![EventItem { item_id: item.clone(), quantity: 1, unit_price: None, position: None }],
        transaction: None,
        search_query: None,
        page_categories: Vec::new(),
        placement: None,
        attribution_token: None,
        experiment_ids: Vec::new(),
        attributes: Default::default(),
        consent: true,
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

/// Every file below a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// The machine's time.
pub fn now() -> EventTime {
    EventTime::clamped(jiff::Timestamp::now().as_millisecond())
}

/// Says that a test is skipped, unless `ENDCAP_REQUIRE` names `what`.
pub fn skip(what: &str, parts: &str, lacking: &str) {
    let required = std::env::var("ENDCAP_REQUIRE").unwrap_or_default();
    let is_required = required.split([',', ' ']).any(|name| name == what);
    assert!(!is_required, "{what} is required ({parts}): {lacking}");
    println!("SKIPPED: needs {what} ({parts})");
}
