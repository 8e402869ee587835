//! The stages of the pipeline, as small traits, and what passes between them.
//!
//! ```text
//! Query ─► QueryHydrator… ─► View ─► Source… ─► Filter… ─► Scorer ─► Filter… ─► Selector ─► SideEffect…
//!           (state, recent     (one   (proposals  (kept,     (first     (one per   (places,    (impression)
//!            events, context)   model)  merged)    removed)    that can)  group)     drawn ones)
//! ```
//!
//! A stage that fails hands back a [`StageError`]: the answer goes on without it and names it. A filter says
//! what it removed and why.

use endcap_features::CandidateSignals;
use endcap_proto::ItemKey;
use futures::future::BoxFuture;

use crate::{Entry, Query, Shopper, Slate, StageError, View, filters::Asked};

/// Adds to what is known of the shopper before anything is looked for.
pub trait QueryHydrator: Send + Sync {
    /// Adds to `shopper`.
    fn hydrate<'a>(
        &'a self,
        query: &'a Query,
        shopper: &'a mut Shopper,
    ) -> BoxFuture<'a, Result<(), StageError>>;
}

/// Proposes candidates.
pub trait Source: Send + Sync {
    /// Which source this is.
    fn kind(&self) -> SourceKind;

    /// Up to `limit` items, the best first, each with the source's own score.
    ///
    /// # Errors
    /// When there are none although there should be.
    fn propose(
        &self,
        view: &View<'_>,
        asked: &Asked<'_>,
        limit: usize,
    ) -> Result<Vec<(ItemKey, f32)>, StageError>;
}

/// Removes candidates.
pub trait Filter: Send + Sync {
    /// Takes out of `candidates` what must not be shown, each with the reason. What stays keeps its order.
    fn filter(&self, view: &View<'_>, asked: &Asked<'_>, candidates: &mut Vec<Candidate<'_>>)
    -> Vec<Removed>;
}

/// Scores candidates.
pub trait Scorer: Send + Sync {
    /// Writes the score of every candidate.
    ///
    /// # Errors
    /// When it cannot; then the next scorer is asked.
    fn score(
        &self,
        view: &View<'_>,
        asked: &Asked<'_>,
        candidates: &mut Candidates<'_>,
    ) -> Result<(), StageError>;
}

/// Does something with a slate once it is made. Never waits.
pub trait SideEffect: Send + Sync {
    /// Does it.
    ///
    /// # Errors
    /// When it cannot; the slate is answered all the same.
    fn run(&self, query: &Query, shopper: &Shopper, slate: &Slate) -> Result<(), StageError>;
}

/// Where a candidate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SourceKind {
    /// The items nearest to the shopper's vector.
    Towers = 0,
    /// What follows the newest items of the history.
    NextItemRules = 1,
    /// What goes together with the items of the history.
    ItemKnn = 2,
    /// Popular in the last days of training.
    RecentPopularity = 3,
    /// Popular over all of training.
    Popularity = 4,
    /// The request's `candidate_ids`.
    Request = 5,
    /// The rest of the catalogue, where all else was not enough.
    Catalogue = 6,
}

/// A set of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceSet(u8);

/// An item that may get a place.
#[derive(Debug, Clone)]
pub struct Candidate<'v> {
    /// Which item.
    pub key: ItemKey,
    /// The item, as the catalogue has it.
    pub entry: &'v Entry,
    /// Who proposed it.
    pub sources: SourceSet,
    /// What they say about it.
    pub signals: CandidateSignals,
    /// Sum of 1 / (60 + place) over the sources that named it, places from 1.
    pub fusion: f64,
    /// What slates are sorted by; NaN until a scorer has been here.
    pub score: f64,
    /// Probability of click, cart, purchase; NaN where the ranker has not been here.
    pub probabilities: [f32; 3],
    /// Its row in [`Candidates::features`].
    pub row: usize,
}

/// Candidates and the ranker's inputs for them.
#[derive(Debug, Clone, Default)]
pub struct Candidates<'v> {
    /// The candidates; after scoring, the best first.
    pub rows: Vec<Candidate<'v>>,
    /// The ranker's inputs, in the order of `RANK_FEATURES`: one row of [`RANK_FEATURES_LEN`](endcap_features::RANK_FEATURES_LEN)
    /// for each [`Candidate::row`].
    pub features: Vec<f32>,
    /// What was taken out, and why.
    pub removed: Vec<Removed>,
    /// Which stages did not do their part.
    pub degraded: Vec<StageError>,
}

/// A candidate that was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Which item.
    pub item: ItemKey,
    /// Why.
    pub reason: Reason,
}

/// Why a candidate was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The catalogue does not have it (any more).
    NotInCatalogue,
    /// It cannot be sold now.
    OutOfStock,
    /// It is not sold any more.
    Discontinued,
    /// It is not published yet.
    NotPublished,
    /// It has expired.
    Expired,
    /// The request's filter does not select it.
    Filtered,
    /// The request excludes it.
    Excluded,
    /// It is on the page already.
    OnPage,
    /// It is in the cart already.
    InCart,
    /// The shopper bought it a short time ago.
    Bought,
    /// The shopper does not want to see it.
    Dismissed,
    /// A better ranked variant of the same product is there.
    SameGroup,
    /// Its score is not finite: a defect, which must not take a place.
    NotFinite,
}

// === impl SourceKind ===

impl SourceKind {
    /// Every source.
    pub const ALL: [Self; 7] = [
        Self::Towers,
        Self::NextItemRules,
        Self::ItemKnn,
        Self::RecentPopularity,
        Self::Popularity,
        Self::Request,
        Self::Catalogue,
    ];

    /// The name in responses, impressions and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Towers => "towers",
            Self::NextItemRules => "next_item_rules",
            Self::ItemKnn => "item_knn",
            Self::RecentPopularity => "recent_popularity",
            Self::Popularity => "popularity",
            Self::Request => "request",
            Self::Catalogue => "catalogue",
        }
    }

    /// Why an item of this source is there, for the shopper.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Towers => "close to what you looked at lately",
            Self::NextItemRules => "often looked at next",
            Self::ItemKnn => "goes with what you looked at",
            Self::RecentPopularity => "popular these days",
            Self::Popularity => "popular",
            Self::Request => "asked for",
            Self::Catalogue => "from the catalogue",
        }
    }
}

// === impl SourceSet ===

impl SourceSet {
    /// With `source` in it.
    pub fn with(self, source: SourceKind) -> Self {
        Self(self.0 | 1 << source as u8)
    }

    /// Whether `source` is in it.
    pub fn contains(self, source: SourceKind) -> bool {
        self.0 >> source as u8 & 1 == 1
    }

    /// The sources, in the order of [`SourceKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = SourceKind> {
        SourceKind::ALL.into_iter().filter(move |&source| self.contains(source))
    }

    /// Their names.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|source| source.name().to_owned()).collect()
    }
}

// === impl Reason ===

impl Reason {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotInCatalogue => "not_in_catalogue",
            Self::OutOfStock => "out_of_stock",
            Self::Discontinued => "discontinued",
            Self::NotPublished => "not_published",
            Self::Expired => "expired",
            Self::Filtered => "filtered",
            Self::Excluded => "excluded",
            Self::OnPage => "on_page",
            Self::InCart => "in_cart",
            Self::Bought => "bought",
            Self::Dismissed => "dismissed",
            Self::SameGroup => "same_group",
            Self::NotFinite => "not_finite",
        }
    }
}
