//! Fits that go on from what there is: from a checkpoint, and from the weights of the last bundle.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use endcap_clickstream::{
    Dataset,
    synthetic::{Shop, ShopConfig},
};
use endcap_proto::EventTime;
use endcap_towers::{Towers, Weights};
use endcap_trainer::{
    CheckpointPlan, Device, EpochReport, FitOptions, LoadOptions, Progress, StepProgress, TableOptimiser,
    TrainConfig, TrainingData, fit_towers, fit_towers_with,
};

fn shop(dir: &Path) -> Dataset {
    let config = ShopConfig { items: 300, shoppers: 150, days: 28, images: false, ..ShopConfig::default() };
    Shop::new(&config).unwrap().write(dir).unwrap();
    Dataset::open(dir).unwrap()
}

fn quick() -> TrainConfig {
    TrainConfig {
        dim: 16,
        hidden: 32,
        length: 20,
        batch: 512,
        epochs: 3,
        warm_up: 10,
        learn_temperature: true,
        ..TrainConfig::default()
    }
}

/// A machine that fails: after so many steps of the fit, or after so many epochs.
struct Fails {
    steps: usize,
    epochs: usize,
}

impl Progress for Fails {
    fn step(&mut self, _: &StepProgress) {
        self.steps -= 1;
        assert!(self.steps > 0, "the machine fails");
    }

    fn epoch(&mut self, _: &EpochReport) {
        self.epochs -= 1;
        assert!(self.epochs > 0, "the machine fails");
    }
}

#[test]
fn a_fit_that_was_killed_gives_the_weights_it_would_have_given() {
    let dir = tempfile::tempdir().unwrap();
    let data = TrainingData::load(&shop(dir.path()), &LoadOptions::default()).unwrap();
    for table_optimiser in [TableOptimiser::Adam, TableOptimiser::Adagrad] {
        let config = TrainConfig { table_optimiser, ..quick() };
        let whole = fit_towers(&data, &config, &mut ()).unwrap();
        let plan = CheckpointPlan { path: dir.path().join("fit"), every: Duration::ZERO };
        let fit = |progress: &mut (dyn Progress + Send)| {
            let options = FitOptions { checkpoint: Some(plan.clone()), ..FitOptions::default() };
            fit_towers_with(&data, &config, options, progress).unwrap()
        };
        let steps_of_an_epoch = {
            struct Steps(usize);
            impl Progress for Steps {
                fn step(&mut self, step: &StepProgress) {
                    self.0 = step.steps;
                }
            }
            let mut steps = Steps(0);
            fit_towers(&data, &TrainConfig { epochs: 1, ..config.clone() }, &mut steps).unwrap();
            steps.0
        };
        assert!(steps_of_an_epoch > 4);
        // Within the first epoch, at its end, within the second one; each time it goes on from the last.
        let [never, mut failures] = [usize::MAX, 0];
        for mut fails in [
            Fails { steps: 3, epochs: never },
            Fails { steps: never, epochs: 1 },
            Fails { steps: steps_of_an_epoch, epochs: never },
        ] {
            failures += usize::from(catch_unwind(AssertUnwindSafe(|| fit(&mut fails))).is_err());
            assert!(plan.path.exists(), "it was written down");
        }
        assert_eq!(failures, 3);
        let again = fit(&mut ());
        assert!(again.weights == whole.weights, "{table_optimiser:?}");
        assert_eq!(again.config, whole.config);
        assert_eq!(again.report.best_epoch, whole.report.best_epoch);
        // A fit that is over is over at once.
        assert!(fit(&mut Fails { steps: 1, epochs: 1 }).weights == whole.weights);
        fs::remove_file(&plan.path).unwrap();
    }
}

#[test]
fn a_checkpoint_of_another_fit_or_a_broken_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = shop(dir.path());
    let data = TrainingData::load(&dataset, &LoadOptions::default()).unwrap();
    let plan = CheckpointPlan { path: dir.path().join("fit"), every: Duration::MAX };
    let config = TrainConfig { epochs: 1, ..quick() };
    let fit = |data: &TrainingData, config: &TrainConfig| {
        let options = FitOptions { checkpoint: Some(plan.clone()), ..FitOptions::default() };
        fit_towers_with(data, config, options, &mut ()).map_err(|error| error.to_string())
    };
    let weights = fit(&data, &config).unwrap().weights;
    // The number of threads is no part of it.
    assert!(fit(&data, &TrainConfig { threads: 1, ..config.clone() }).unwrap().weights == weights);
    let refused = fit(&data, &TrainConfig { dropout: 0.3, ..config.clone() }).unwrap_err();
    assert!(refused.contains("another configuration; delete it"), "{refused}");
    let cut = EventTime::clamped(dataset_cut(&data));
    let part =
        TrainingData::load(&dataset, &LoadOptions { until: Some(cut), ..LoadOptions::default() }).unwrap();
    let refused = fit(&part, &config).unwrap_err();
    assert!(refused.contains("another data; delete it"), "{refused}");
    let bytes = fs::read(&plan.path).unwrap();
    for broken in [&bytes[..0], &bytes[..40], &bytes[..bytes.len() - 1], &{
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        flipped
    }] {
        fs::write(&plan.path, broken).unwrap();
        let refused = fit(&data, &config).unwrap_err();
        assert!(refused.contains("fit: the checkpoint is broken"), "{refused}");
    }
}

fn dataset_cut(data: &TrainingData) -> i64 {
    let mut times: Vec<i64> =
        data.sequences().interactions().iter().map(|interaction| interaction.time.as_millis()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_warm_start_keeps_what_was_learnt_and_renumbers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = shop(dir.path());
    let all = TrainingData::load(&dataset, &LoadOptions::default()).unwrap();
    let cut = EventTime::clamped(dataset_cut(&all));
    let options = LoadOptions { until: Some(cut), ..LoadOptions::default() };
    let first = TrainingData::load(&dataset, &options).unwrap();
    let config = TrainConfig { epochs: 6, learn_temperature: false, ..quick() };
    let fitted = fit_towers(&first, &config, &mut ()).unwrap();
    let weights = Towers::load(fitted.config, &fitted.weights).unwrap().into_weights();

    let extends = Some(first.vocabulary().clone());
    let next = TrainingData::load(&dataset, &LoadOptions { extends, ..LoadOptions::default() }).unwrap();
    let (before, after) = (first.vocabulary(), next.vocabulary());
    assert!(after.items() > before.items(), "there are new products");
    for row in 0..before.items() as u32 {
        assert_eq!(before.item_id(row), after.item_id(row));
    }
    let grown = weights.clone().grow(after.items(), after.words(), 1).unwrap();
    let d = config.dim;
    assert_eq!(grown.items[..before.items() * d], weights.items[..before.items() * d]);
    assert_eq!(grown.words[..weights.words.len()], weights.words[..]);

    // With hardly a step, what is found is what was known before.
    let one = TrainConfig { epochs: 1, learning_rate: 1e-7, table_learning_rate: 1e-7, ..config.clone() };
    let fit = |weights: Option<Weights>| {
        let options = FitOptions { weights, ..FitOptions::default() };
        fit_towers_with(&next, &one, options, &mut ()).unwrap().report.validation.unwrap().ndcg_at_20
    };
    let (warm, cold) = (fit(Some(grown)), fit(None));
    // Words alone make two products alike, learnt or not.
    assert!(warm > 1.2 * cold, "{warm} with what was learnt, {cold} without");

    // Weights of other tables or another shape do not fit.
    let options = FitOptions { weights: Some(weights.clone()), ..FitOptions::default() };
    let refused = fit_towers_with(&next, &one, options, &mut ()).unwrap_err().to_string();
    assert!(refused.contains("another shape"), "{refused}");
    let options = FitOptions { weights: Some(weights), ..FitOptions::default() };
    let wider = TrainConfig { hidden: 48, ..one.clone() };
    assert!(fit_towers_with(&first, &wider, options, &mut ()).is_err());
}

#[test]
fn the_reference_learns_what_the_kernels_learn() {
    let dir = tempfile::tempdir().unwrap();
    let data = TrainingData::load(&shop(dir.path()), &LoadOptions::default()).unwrap();
    let config = TrainConfig { epochs: 1, length: 10, ..quick() };
    let fit = |device| {
        let options = FitOptions { device, ..FitOptions::default() };
        fit_towers_with(&data, &config, options, &mut ()).map(|fitted| fitted.report.epochs[0].loss)
    };
    let (kernels, candle) = (fit(Device::Cpu).unwrap(), fit(Device::Candle).unwrap());
    assert!((kernels / candle - 1.0).abs() < 1e-3, "{kernels} by the kernels, {candle} by candle");
    if !cfg!(feature = "cuda") {
        let refused = fit(Device::Cuda(0)).unwrap_err().to_string();
        assert!(refused.contains("--features cuda"), "{refused}");
    }
}
