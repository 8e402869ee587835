//! Every metric against numpy and scikit-learn: `reference/metrics.py` wrote the figures.

mod world;

use std::collections::HashMap;

use endcap_clickstream::{Part, TimeKind};
use endcap_evaluation::{
    Ask, Catalogue, Evaluation, EvaluationError, Fixed, Metric, Protocol, Ranking, SplitConfig, System, Ties,
};
use endcap_proto::{Item, ItemId, ItemKey, VisitorKey};
use serde::Deserialize;
use world::{Met, info, split, write};

#[derive(Deserialize)]
struct Reference {
    world: World,
    cutoffs: Vec<u32>,
    metrics: HashMap<String, f64>,
    coverage: HashMap<String, f64>,
}

#[derive(Deserialize)]
struct World {
    train: Vec<Vec<usize>>,
    test: Vec<Vec<usize>>,
    scores: Vec<Vec<f32>>,
}

fn id(item: usize) -> String {
    format!("i{item:02}")
}

/// Ranks by the scores of the file.
struct Given<'a> {
    catalogue: &'a Catalogue,
    scores: HashMap<VisitorKey, HashMap<ItemKey, f32>>,
}

impl System for Given<'_> {
    fn name(&self) -> &str {
        "given"
    }

    fn rank(&self, asks: &[Ask<'_>], top: usize, ties: Ties) -> Result<Vec<Ranking>, EvaluationError> {
        let mut rankings = Vec::new();
        for ask in asks {
            let scores = &self.scores[&ask.question.visitor];
            let fixed = Fixed::new("given", self.catalogue, |key| scores[&key]);
            rankings.extend(fixed.rank(std::slice::from_ref(ask), top, ties)?);
        }
        Ok(rankings)
    }
}

#[test]
fn metrics_are_those_of_the_reference() {
    let reference: Reference = serde_json::from_str(include_str!("reference/metrics.json")).unwrap();
    let World { train, test, scores } = &reference.world;
    let (users, items): (Vec<String>, Vec<String>) =
        ((0..train.len()).map(|user| format!("u{user}")).collect(), (0..scores[0].len()).map(id).collect());
    let mut met = Vec::new();
    for (part, sets) in [(Part::Train, train), (Part::Test, test)] {
        for (user, set) in users.iter().zip(sets) {
            for &item in set {
                met.push(Met(user, &items[item], met.len() as i64, part));
            }
        }
    }
    let catalogue: Vec<Item> = items.iter().map(|id| Item::bare(ItemId::new(id).unwrap())).collect();
    let folder = tempfile::tempdir().unwrap();
    let dataset = write(folder.path(), info(TimeKind::Ordinal, false), &met, &catalogue);
    let split = split(&dataset, SplitConfig::of(Protocol::FixedSplit));

    let catalogue = Catalogue::new(split.catalogue());
    let by_item =
        |scores: &Vec<f32>| items.iter().map(|id| ItemKey::of(id)).zip(scores.iter().copied()).collect();
    let scores = users.iter().map(|user| VisitorKey::of(user)).zip(scores.iter().map(by_item)).collect();
    let system = Given { catalogue: &catalogue, scores };
    let evaluation = Evaluation { cutoffs: reference.cutoffs.clone(), ..Evaluation::of(&split) };
    let report = evaluation.rank(&split, &dataset, &catalogue, vec![Box::new(system)], &[]).unwrap();

    assert_eq!(reference.metrics.len(), 7 * reference.cutoffs.len() + 1);
    for (name, expected) in &reference.metrics {
        let metric: Metric = name.parse().unwrap();
        let found = report.value("given", metric).unwrap().mean;
        assert!((found - expected).abs() < 1e-5, "{name}: {found}, the reference says {expected}");
    }
    for (k, share) in &report.groups[0].rows[0].coverage {
        assert!((share - reference.coverage[&k.to_string()]).abs() < 1e-12, "coverage@{k}: {share}");
    }
}
