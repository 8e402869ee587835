//! `endcap train`: towers, counting models, ranker, index → a published bundle.

use std::time::Duration;

use anyhow::Context;
use endcap_bundle::{BundleStore, PartitionOffset};
use endcap_clickstream::Dataset;
use endcap_evaluation::{Split, SplitConfig};
use endcap_recommend::{Clock, SystemClock};
use endcap_trainer::{
    Beginning, CheckpointPlan, EpochReport, PipelineConfig, Progress, Published, StepProgress, publish,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{print, print_text, split::split_config};
use crate::{
    cli::{Output, TrainArgs},
    config,
    exit::Failure,
};

pub fn run(args: TrainArgs, output: Output) -> Result<(), Failure> {
    let mut config: PipelineConfig = config::load(args.config.as_deref(), &args.set)?;
    if let Some(seed) = args.seed {
        config.towers.seed = seed;
        config.ranker.seed = seed;
    }
    if let Some(threads) = args.threads {
        config.towers.threads = threads;
    }
    if args.dump_config {
        print_text(&toml::to_string_pretty(&config)?)?;
        return Ok(());
    }
    let (Some(out), false) = (&args.out, args.data.is_empty()) else {
        return Err(Failure::Usage("give DIR and --out BUNDLES".into()));
    };
    let store = BundleStore::open(out)?;
    let beginning = Beginning {
        bundle: args.warm_start.then(|| store.load_active()).transpose()?,
        checkpoints: args
            .checkpoints
            .map(|path| CheckpointPlan { path, every: Duration::from_secs(args.checkpoint_minutes * 60) }),
        device: args.device,
    };
    if let Some(CheckpointPlan { path, .. }) = &beginning.checkpoints {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
    }
    let dataset = Dataset::open_many(&args.data)?;
    let split = split_config(&args.split, &dataset)?;
    let split = split.map(|split| SplitConfig { validation: config.validation_share, ..split });
    let published = train(&dataset, split.as_ref(), &config, &store, beginning)?;
    if !args.no_activate {
        store.activate(&published.version)?;
    }
    print(&published, output)?;
    Ok(())
}

/// Trains on what the split lets be learnt before its test (all, where there is none), with a progress bar, and
/// publishes.
pub fn train(
    dataset: &Dataset,
    split: Option<&SplitConfig>,
    config: &PipelineConfig,
    store: &BundleStore,
    beginning: Beginning,
) -> Result<Published, anyhow::Error> {
    let split = split.map(|split| Split::read(dataset, split)).transpose()?;
    let items_offsets = dataset.items_offsets()?.into_iter();
    let items_offsets =
        items_offsets.map(|at| PartitionOffset { partition: at.partition, offset: at.offset }).collect();
    let mut bar = Bar(ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{prefix} {bar:32} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    ));
    let clock = SystemClock.now();
    let published =
        publish(dataset, split.as_ref(), config, items_offsets, store, clock, beginning, &mut bar);
    bar.0.finish_and_clear();
    Ok(published?)
}

/// A bar on a terminal, a line an epoch elsewhere.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn step(&mut self, step: &StepProgress) {
        self.0.set_length((step.epochs * step.steps) as u64);
        self.0.set_position(((step.epoch - 1) * step.steps + step.step) as u64);
        self.0.set_prefix(format!("epoch {:>2}", step.epoch));
        self.0.set_message(format!(
            "{:.0} positions/s, loss {:.3}, at most {} s left",
            step.positions_per_second,
            step.loss,
            Duration::as_secs(&step.eta)
        ));
    }

    fn epoch(&mut self, epoch: &EpochReport) {
        let validation = epoch.validation.map_or_else(String::new, |found| {
            format!(", validation recall@20 {:.4}, ndcg@20 {:.4}", found.recall_at_20, found.ndcg_at_20)
        });
        let line = format!(
            "epoch {:>2}: loss {:.4}{validation}, {:.0} positions/s, {:.1} s",
            epoch.epoch, epoch.loss, epoch.positions_per_second, epoch.seconds
        );
        if self.0.is_hidden() {
            eprintln!("{line}");
        } else {
            self.0.println(line);
        }
    }
}
