//! Models against their equations on whole matrices: `reference/models.py` wrote the figures.

use endcap_neighbours::{
    CountingModel, Ease, EaseConfig, Interaction, RecentPopularity, SessionKnn, SessionKnnConfig, Unit,
};
use endcap_proto::{EventTime, EventType, ItemKey};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    items: usize,
    until: i64,
    sessions: Vec<Session>,
    histories: Vec<Vec<usize>>,
    half_life_ms: i64,
    recent: Vec<f32>,
    regularisation: f32,
    ease: Vec<Vec<f32>>,
    ease_scores: Vec<Vec<f32>>,
    plain: Neighbours,
    vstan: Neighbours,
}

#[derive(Deserialize)]
struct Session {
    items: Vec<usize>,
    time: i64,
}

#[derive(Deserialize)]
struct Neighbours {
    neighbours: usize,
    position_scale: f32,
    age_scale: f32,
    distance_scale: f32,
    match_scale: f32,
    idf_weight: f32,
    scores: Vec<Vec<f32>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference/models.json")).unwrap()
}

fn key(item: usize) -> ItemKey {
    ItemKey((item as u64 + 1) << 32)
}

impl Reference {
    /// A session a visitor; all of a session at the time of its end.
    fn sequences(&self) -> Vec<Vec<Interaction>> {
        let interaction = |item, time, place| Interaction {
            item: key(item),
            time: EventTime::clamped(time),
            event_type: EventType::View,
            starts_session: place == 0,
        };
        let sequence = |session: &Session| {
            session
                .items
                .iter()
                .enumerate()
                .map(|(place, &item)| interaction(item, session.time, place))
                .collect()
        };
        self.sessions.iter().map(sequence).collect()
    }

    fn until(&self) -> EventTime {
        EventTime::clamped(self.until)
    }

    fn histories(&self) -> impl Iterator<Item = Vec<ItemKey>> {
        self.histories.iter().map(|history| history.iter().copied().map(key).collect())
    }

    /// Every score above 0 is given, and is what is expected within `error` of the largest.
    fn compare(&self, model: &impl CountingModel, history: &[ItemKey], expected: &[f32], error: f32) {
        let scored = model.score(history, usize::MAX);
        let largest = expected.iter().copied().fold(0.0, f32::max);
        assert!(largest > 0.0);
        for (item, &expected) in expected.iter().enumerate() {
            let found = scored.iter().find(|(other, _)| *other == key(item)).map_or(0.0, |(_, score)| *score);
            assert!(
                (found - expected.max(0.0)).abs() <= error * largest,
                "item {item}: {found}, not {expected}"
            );
        }
    }
}

#[test]
fn recent_popularity_is_that_of_the_reference() {
    let reference = reference();
    let model =
        RecentPopularity::fit(reference.sequences(), reference.until(), reference.half_life_ms).unwrap();
    for (item, expected) in reference.recent.iter().enumerate() {
        assert!((model.share(key(item)) - expected).abs() < 1e-6, "item {item}");
    }
}

#[test]
fn ease_is_that_of_the_reference() {
    let reference = reference();
    let config = EaseConfig { regularisation: reference.regularisation, ..EaseConfig::default() };
    let model = Ease::fit(reference.sequences(), reference.until(), &config).unwrap();
    for met in 0..reference.items {
        for other in 0..reference.items {
            let (found, expected) = (model.weight(key(met), key(other)).unwrap(), reference.ease[met][other]);
            assert!((found - expected).abs() < 1e-5, "{met} {other}: {found}, not {expected}");
        }
    }
    for (history, scores) in reference.histories().zip(&reference.ease_scores) {
        reference.compare(&model, &history, scores, 1e-4);
    }
}

#[test]
fn session_neighbours_are_those_of_the_reference() {
    let reference = reference();
    for expected in [&reference.plain, &reference.vstan] {
        let config = SessionKnnConfig {
            within: Unit::Session,
            neighbours: expected.neighbours,
            sessions_per_item: usize::MAX,
            length: 50,
            position_scale: expected.position_scale,
            age_scale: expected.age_scale,
            distance_scale: expected.distance_scale,
            match_scale: expected.match_scale,
            idf_weight: expected.idf_weight,
        };
        let model = SessionKnn::fit(reference.sequences(), reference.until(), false, &config).unwrap();
        for (history, scores) in reference.histories().zip(&expected.scores) {
            reference.compare(&model, &history, scores, 1e-4);
        }
    }
}
