//! A synthetic shop: seeded, of any size, and with a truth that tests can ask for.
//!
//! ```text
//! ShopConfig ─► Shop: catalogue (titles, prices, pictures), season, tastes
//!                 ├─ days()          events and logged slates, a day at a time ─► write(dir): the files of an import
//!                 ├─ click_probability(taste, item), examination(place), oracle_top(taste, k): the truth
//!                 └─ LiveShopper     a shopper for a running service: reacts to its slates with events
//! ```
//!
//! A shopper is born with a taste (favourite categories, brands, a price level, a latent vector) and
//! comes to each visit with a want that drifts towards what they open. They see slates of a logging
//! policy whose propensities are logged, with position bias, and they browse on their own; what they
//! click is what `taste.rs` says, and nothing else. Every decision has a random stream of its own,
//! named by the seed and its place (`draws.rs`): a shopper's life depends neither on the other
//! shoppers nor on the order in which days are made.
//!
//! What is not real: shoppers do not talk to each other, nobody is tired of a product they have
//! bought, and this week's bestsellers are decided in advance (`season.rs`).

mod catalogue;
mod config;
mod draws;
mod live;
mod period;
mod picture;
mod policy;
mod season;
mod shopper;
mod taste;
mod vector;
mod words;

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use endcap_proto::{Event, FieldError, Item, ItemId, VisitorId};

pub use config::{LoggingPolicyConfig, ShopConfig};
pub use live::LiveShopper;
pub use period::{Day, LoggedSlate};
pub use taste::{Taste, Want};
pub use vector::{LATENT, Vector};

use crate::{ClickstreamError, DatasetInfo, DatasetSummary, DatasetWriter, Part};
use catalogue::Catalogue;
use period::{Days, Regular};
use season::Season;
use shopper::Shopper;

/// A shop with its catalogue, shoppers and truth. Cheap to clone.
///
/// Items are named by their index in [`Self::items`], shoppers by a number below
/// [`Self::shoppers`]; methods panic on an index that does not exist, as slices do.
#[derive(Debug, Clone)]
pub struct Shop {
    world: Arc<World>,
}

/// What does not change while shoppers come and go.
#[derive(Debug)]
struct World {
    config: ShopConfig,
    catalogue: Catalogue,
    season: Season,
    index: HashMap<ItemId, usize>,
}

impl Shop {
    /// Builds the shop: its catalogue and its season. Shoppers are made when they are asked for.
    ///
    /// # Errors
    /// When a field of the configuration breaks its rule.
    pub fn new(config: &ShopConfig) -> Result<Self, FieldError> {
        config.check()?;
        let catalogue = Catalogue::build(config);
        let season = Season::plan(config, &catalogue);
        let index =
            catalogue.items.iter().enumerate().map(|(index, item)| (item.id.clone(), index)).collect();
        Ok(Self { world: Arc::new(World { config: config.clone(), catalogue, season, index }) })
    }

    /// What it was built from.
    pub fn config(&self) -> &ShopConfig {
        &self.world.config
    }

    /// The catalogue as it stands at the end of the period.
    pub fn items(&self) -> &[Item] {
        &self.world.catalogue.items
    }

    /// Where an item stands in [`Self::items`].
    pub fn item_index(&self, id: &ItemId) -> Option<usize> {
        self.world.index.get(id).copied()
    }

    /// Paths of the categories: `Outdoor > Tents`.
    pub fn categories(&self) -> impl ExactSizeIterator<Item = &str> {
        self.world.catalogue.shelves.iter().map(|shelf| shelf.path.as_str())
    }

    /// Index of an item's category in [`Self::categories`].
    pub fn category_of(&self, item: usize) -> usize {
        usize::from(self.world.catalogue.traits[item].category)
    }

    /// The latent vector of an item, of length 1: what tastes are compared with.
    pub fn vector_of(&self, item: usize) -> &Vector {
        &self.world.catalogue.traits[item].vector
    }

    /// Cosine of two items' latent vectors.
    pub fn similarity(&self, a: usize, b: usize) -> f64 {
        vector::dot(self.vector_of(a), self.vector_of(b))
    }

    /// Number of shoppers of the written period.
    pub fn shoppers(&self) -> usize {
        self.world.config.shoppers
    }

    /// A shopper of the written period, with their taste as it is when the period ends: what they
    /// wanted in a visit of the last two days, they still want.
    pub fn shopper_at_end(&self, index: usize) -> (VisitorId, Taste) {
        let Shopper { visitor_id, taste, .. } = self.regular_at_end(index);
        (visitor_id, taste)
    }

    fn regular_at_end(&self, index: usize) -> Shopper {
        self.live_through(index).0
    }

    /// Everything that one shopper did and was shown in the period, in order: the same as
    /// [`Self::days`] says of them.
    pub fn history_of(&self, index: usize) -> (Vec<Event>, Vec<LoggedSlate>) {
        let Day { events, slates } = self.live_through(index).1;
        (events, slates)
    }

    fn live_through(&self, index: usize) -> (Shopper, Day) {
        assert!(index < self.shoppers(), "shopper {index} of {}", self.shoppers());
        let mut regular = Regular::new(&self.world, index);
        let mut all = Day::default();
        for day in 0..self.world.config.days as usize {
            regular.spend(&self.world, day, &mut all);
        }
        let mut shopper = regular.shopper;
        shopper.forget(self.world.config.end);
        (shopper, all)
    }

    /// Log-odds of a click on an item that is looked at.
    pub fn affinity(&self, taste: &Taste, item: usize) -> f64 {
        taste.affinity(&self.world.catalogue.traits[item])
    }

    /// The true probability of a click on an item that is looked at.
    pub fn click_probability(&self, taste: &Taste, item: usize) -> f64 {
        taste::sigmoid(self.affinity(taste, item))
    }

    /// The probability that place `position` (from 0) of a slate is looked at: 1/(1 + position)^η.
    pub fn examination(&self, position: usize) -> f64 {
        taste::examination(position, self.world.config.position_bias)
    }

    /// Expected number of clicks on a slate of items, best place first:
    /// Σ examination(k) · click probability of the k-th.
    pub fn expected_clicks(&self, taste: &Taste, slate: &[usize]) -> f64 {
        slate
            .iter()
            .enumerate()
            .map(|(k, &item)| self.examination(k) * self.click_probability(taste, item))
            .sum()
    }

    /// The best slate there is: the `k` items with the highest true click probability among those
    /// that can be recommended when the period ends. Equal ones in the order of the catalogue.
    pub fn oracle_top(&self, taste: &Taste, k: usize) -> Vec<usize> {
        let end = self.world.config.end;
        let mut ranked: Vec<(f64, usize)> = (self.items().iter().enumerate())
            .filter(|(_, item)| item.is_recommendable(end))
            .map(|(index, _)| (self.affinity(taste, index), index))
            .collect();
        ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(k);
        ranked.into_iter().map(|(_, index)| index).collect()
    }

    /// The written period, a day at a time. Memory holds one day and a kilobyte for each shopper.
    pub fn days(&self) -> impl Iterator<Item = Day> + use<> {
        Days::new(&self.world)
    }

    /// The picture of an item, as SVG.
    pub fn picture(&self, item: usize) -> String {
        let Catalogue { items, traits, shelves } = &self.world.catalogue;
        picture::draw(&items[item], &traits[item], &shelves[usize::from(traits[item].category)])
    }

    /// Writes the period as an import would: events in the order of time, `items.arrow`, impressions
    /// of the logging policy, `dataset.json`; and the pictures under `images/`, where the items'
    /// `image_uri` looks for them.
    ///
    /// # Errors
    /// When a finished data set is there already, or something cannot be written.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<DatasetSummary, ClickstreamError> {
        let dir = dir.as_ref();
        let mut info = DatasetInfo::new(format!("synthetic shop, seed {}", self.world.config.seed));
        info.notes.push("Made by a simulation: no event is a real shopper's.".into());
        let mut writer = DatasetWriter::create(dir, info)?;
        for item in self.items() {
            writer.item(item)?;
        }
        for Day { events, slates } in self.days() {
            for event in &events {
                writer.event(event, Part::All)?;
            }
            for slate in &slates {
                writer.impression(&slate.impression)?;
            }
        }
        if self.world.config.images {
            self.write_pictures(dir)?;
        }
        writer.finish()
    }

    fn write_pictures(&self, dir: &Path) -> Result<(), ClickstreamError> {
        let io = |path: &Path, action| {
            let path = path.to_owned();
            move |source| ClickstreamError::Io { path, action, source }
        };
        let images = dir.join("images");
        fs::create_dir_all(&images).map_err(io(&images, "create"))?;
        for (index, item) in self.items().iter().enumerate() {
            let path = images.join(format!("{}.svg", item.id));
            fs::write(&path, self.picture(index)).map_err(io(&path, "write"))?;
        }
        Ok(())
    }
}
