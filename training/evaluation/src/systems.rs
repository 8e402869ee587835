//! What is evaluated, and how each ranks the catalogue.
//!
//! Popularity and towers score every item, so a target's rank is counted; rules, index and funnel give a list, and a
//! target that is not on it has no rank. Masked items are left out by all, in the same way.

use endcap_features::UserState;
use endcap_index::Allowed;
use endcap_proto::{EventTime, ItemKey};
use endcap_recommend::{Asked, Funnel, Model, RecommendConfig, ValueConfig, View};
use endcap_towers::mix;

use crate::{
    Ask, Catalogue, EvaluationError, Moment, Ranking, Ties,
    rank::{Wanted, by_list, by_vectors},
};

/// What ranks the catalogue for a shopper.
pub trait System: Sync {
    /// As tables call it.
    fn name(&self) -> &str;

    /// A ranking for each question; its first `top` places are listed.
    ///
    /// # Errors
    /// When a stage fails.
    fn rank(&self, asks: &[Ask<'_>], top: usize, ties: Ties) -> Result<Vec<Ranking>, EvaluationError>;
}

/// One score an item, the same for everybody.
pub struct Fixed {
    name: &'static str,
    scores: Vec<f32>,
    /// Rows by score, and each row's place there.
    order: Vec<u32>,
    places: Vec<u32>,
}

/// The best so many items after a history, with their scores.
type Score<'a> = dyn Fn(&[ItemKey], usize) -> Vec<(ItemKey, f32)> + Sync + Send + 'a;

/// A list of items for a history.
pub struct Listed<'a> {
    name: &'static str,
    catalogue: &'a Catalogue,
    score: Box<Score<'a>>,
}

/// A drawn order of the catalogue for each question: what knowing nothing gets.
pub struct Random {
    seed: u64,
    items: u32,
}

/// User vector · item vector, every item.
pub struct TowersExact<'a> {
    name: String,
    model: &'a Model,
    /// Catalogue × dimensions; an item that the model lacks is no number, and is never ranked before another.
    vectors: Vec<f32>,
}

/// The same through the model's index, as served.
pub struct TowersIndex<'a> {
    name: String,
    model: &'a Model,
    catalogue: &'a Catalogue,
}

/// All sources, ranker and rules, as served, without exploration. It reads counters, so it ranks at the moment.
pub struct WholeFunnel<'a> {
    pub(crate) name: String,
    pub(crate) model: &'a Model,
    catalogue: &'a Catalogue,
    funnel: Funnel,
}

/// How far lists reach, before what is masked is left out.
pub(crate) const LIST: usize = 500;

// === impl Fixed ===

impl Fixed {
    /// Items by `score`, ties in the catalogue's order.
    pub fn new(name: &'static str, catalogue: &Catalogue, score: impl Fn(ItemKey) -> f32) -> Self {
        // Nothing that is no number goes before anything.
        let score = |key| Some(score(key)).filter(|score| !score.is_nan()).unwrap_or(f32::NEG_INFINITY);
        let scores: Vec<f32> = catalogue.keys().iter().map(|&key| score(key)).collect();
        let mut order: Vec<u32> = (0..catalogue.len() as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        let mut places = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(&row, place)| places[row as usize] = place);
        Self { name, scores, order, places }
    }

    fn ranking(&self, wanted: &Wanted, top: usize, ties: Ties) -> Ranking {
        // How many rows stand before a target, all told.
        let ahead = |row: u32| match ties {
            Ties::Listed => self.places[row as usize],
            Ties::Against => {
                let bar = self.scores[row as usize];
                self.order.partition_point(|&other| self.scores[other as usize] >= bar) as u32
            }
        };
        let is_ahead = |other: u32, limit: u32| u32::from(self.places[other as usize] < limit);
        let mut targets: Vec<(usize, u32)> =
            wanted.targets.iter().enumerate().filter_map(|(place, row)| Some((place, (*row)?))).collect();
        targets.sort_by_key(|&(_, row)| self.places[row as usize]);
        let mut ranks = vec![None; wanted.targets.len()];
        for (before, &(place, row)) in targets.iter().enumerate() {
            let limit = ahead(row);
            let masked: u32 = wanted.masked.iter().map(|&other| is_ahead(other, limit)).sum();
            let relevant: u32 = targets.iter().map(|&(_, other)| is_ahead(other, limit)).sum();
            ranks[place] = Some(limit - masked - relevant + before as u32 + 1);
        }
        let is_masked = |row: &u32| wanted.masked.binary_search(row).is_ok();
        let top = self.order.iter().copied().filter(|row| !is_masked(row)).take(top).collect();
        Ranking { ranks, top }
    }
}

impl System for Fixed {
    fn name(&self) -> &str {
        self.name
    }

    fn rank(&self, asks: &[Ask<'_>], top: usize, ties: Ties) -> Result<Vec<Ranking>, EvaluationError> {
        Ok(asks.iter().map(|ask| self.ranking(&ask.wanted, top, ties)).collect())
    }
}

// === impl Listed ===

impl<'a> Listed<'a> {
    /// The `k` items (fewer, where it has no more) that `score` (history, k) names, best first.
    pub fn new(
        name: &'static str,
        catalogue: &'a Catalogue,
        score: impl Fn(&[ItemKey], usize) -> Vec<(ItemKey, f32)> + Sync + Send + 'a,
    ) -> Self {
        Self { name, catalogue, score: Box::new(score) }
    }
}

impl System for Listed<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn rank(&self, asks: &[Ask<'_>], top: usize, ties: Ties) -> Result<Vec<Ranking>, EvaluationError> {
        let rank = |ask: &Ask<'_>| {
            let list = (self.score)(&ask.history, LIST + ask.wanted.masked.len());
            by_list(&rows(self.catalogue, list), &ask.wanted, top, ties)
        };
        Ok(asks.iter().map(rank).collect())
    }
}

/// A list as rows of the catalogue; items that it lacks are left out.
fn rows(catalogue: &Catalogue, list: impl IntoIterator<Item = (ItemKey, f32)>) -> Vec<(u32, f32)> {
    list.into_iter().filter_map(|(item, score)| Some((catalogue.row(item)?, score))).collect()
}

// === impl Random ===

impl Random {
    /// Of a catalogue.
    pub fn new(catalogue: &Catalogue, seed: u64) -> Self {
        Self { seed, items: catalogue.len() as u32 }
    }
}

impl System for Random {
    fn name(&self) -> &str {
        "random"
    }

    fn rank(&self, asks: &[Ask<'_>], top: usize, ties: Ties) -> Result<Vec<Ranking>, EvaluationError> {
        let rank = |ask: &Ask<'_>| {
            let key = mix(self.seed ^ ask.question.visitor.0 ^ mix(ask.question.as_of.as_millis() as u64));
            let mut scores: Vec<f32> = (0..self.items).map(|row| drawn(mix(key ^ u64::from(row)))).collect();
            crate::rank::by_scores(&mut scores, &ask.wanted, top, ties)
        };
        Ok(asks.iter().map(rank).collect())
    }
}

fn drawn(bits: u64) -> f32 {
    (bits >> 40) as f32
}

// === impl TowersExact ===

impl<'a> TowersExact<'a> {
    /// The towers of a model, over a catalogue.
    pub fn new(name: String, model: &'a Model, catalogue: &Catalogue) -> Self {
        let snapshot = model.index().snapshot();
        let dim = model.towers().dim();
        let mut vectors = vec![f32::NAN; catalogue.len() * dim];
        for (key, row) in catalogue.keys().iter().zip(vectors.chunks_exact_mut(dim)) {
            if let Some(vector) = snapshot.vector(key.0) {
                row.copy_from_slice(vector);
            }
        }
        Self { name, model, vectors }
    }
}

impl System for TowersExact<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn rank(&self, asks: &[Ask<'_>], top: usize, ties: Ties) -> Result<Vec<Ranking>, EvaluationError> {
        let users = user_vectors(&self.name, self.model, asks)?;
        let wanted: Vec<&Wanted> = asks.iter().map(|ask| &ask.wanted).collect();
        Ok(by_vectors(&users, &self.vectors, self.model.towers().dim(), &wanted, top, ties))
    }
}

fn user_vectors(name: &str, model: &Model, asks: &[Ask<'_>]) -> Result<Vec<f32>, EvaluationError> {
    let shoppers: Vec<(&UserState, EventTime)> =
        asks.iter().map(|ask| (&ask.state, ask.question.as_of)).collect();
    let mut users = Vec::with_capacity(asks.len() * model.towers().dim());
    for view in model.views(&shoppers) {
        users.extend_from_slice(view.vector().map_err(|error| failed(name, error))?);
    }
    Ok(users)
}

fn failed(system: &str, reason: impl std::fmt::Display) -> EvaluationError {
    EvaluationError::System { system: system.to_owned(), reason: reason.to_string() }
}

// === impl TowersIndex ===

impl<'a> TowersIndex<'a> {
    /// The index of a model, over a catalogue.
    pub fn new(name: String, model: &'a Model, catalogue: &'a Catalogue) -> Self {
        Self { name, model, catalogue }
    }
}

impl System for TowersIndex<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn rank(&self, asks: &[Ask<'_>], top: usize, ties: Ties) -> Result<Vec<Ranking>, EvaluationError> {
        let users = user_vectors(&self.name, self.model, asks)?;
        let rank = |(ask, user): (&Ask<'_>, &[f32])| {
            let hits = self.model.index().search(user, LIST + ask.wanted.masked.len(), &Allowed::All);
            let hits = hits.map_err(|error| failed(&self.name, error))?;
            let list = rows(self.catalogue, hits.iter().map(|hit| (ItemKey(hit.label), hit.score)));
            Ok(by_list(&list, &ask.wanted, top, ties))
        };
        asks.iter().zip(users.chunks_exact(self.model.towers().dim())).map(rank).collect()
    }
}

// === impl WholeFunnel ===

impl<'a> WholeFunnel<'a> {
    /// The funnel of a model, over a catalogue.
    pub fn new(name: String, model: &'a Model, catalogue: &'a Catalogue) -> Self {
        Self { name, model, catalogue, funnel: Funnel::new(&RecommendConfig::default()) }
    }

    /// The ranking at a moment.
    pub(crate) fn rank(
        &self,
        moment: &Moment<'_>,
        view: &View<'_>,
        wanted: &Wanted,
        top: usize,
        ties: Ties,
    ) -> Ranking {
        let asked = Asked::page(LIST, ValueConfig::default());
        let ranked = self.funnel.rank(view, &asked, &|item| moment.counters(item));
        let list = ranked.rows.iter().map(|row| (row.entry.attributes.key, row.score as f32));
        by_list(&rows(self.catalogue, list), wanted, top, ties)
    }
}
