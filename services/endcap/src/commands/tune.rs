//! `endcap tune`: a small search over a training configuration, on validation data.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    io::Write,
    path::Path,
};

use anyhow::Context;
use endcap_clickstream::Dataset;
use endcap_evaluation::{Split, SplitConfig};
use endcap_trainer::{
    Halving, LoadOptions, Outcome, PipelineConfig, TrainError, TrainingData, Trial, Validation, fit_towers,
    halve,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::{print, split::split_config};
use crate::{
    cli::{Output, TuneArgs},
    config::{self, ConfigError},
    exit::Failure,
};

/// What is searched, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Space {
    /// Trials and rounds.
    #[serde(default)]
    search: Halving,
    /// Seed of the draws.
    #[serde(default = "one")]
    seed: u64,
    /// Per key of the configuration, where its value is drawn from.
    ranges: BTreeMap<String, Range>,
}

/// Where a value is drawn from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Range {
    /// Evenly between two numbers.
    Uniform([f64; 2]),
    /// Evenly between the logarithms of two positive numbers.
    Log([f64; 2]),
    /// One of some values.
    Choice(Vec<toml::Value>),
}

/// One line of trials.jsonl, and one row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// What makes the line one of this search.
    search: String,
    #[serde(flatten)]
    trial: Trial,
    /// `KEY=VALUE` of what was drawn.
    values: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Table {
    trials: Vec<Record>,
    best: Vec<String>,
    /// The configuration that was written.
    config: String,
}

const TRIALS: &str = "trials.jsonl";
const BEST: &str = "best.toml";

fn one() -> u64 {
    1
}

pub fn run(args: TuneArgs, output: Output) -> Result<(), Failure> {
    let space = read_space(&args.space)?;
    let mut base: PipelineConfig = config::load(args.config.as_deref(), &args.set)?;
    base.towers.threads = args.threads.unwrap_or(base.towers.threads);
    let drawn: Vec<Vec<String>> = (0..space.search.trials).map(|trial| space.draw(trial)).collect();
    // A range that no configuration takes is refused before anything is fitted.
    let of_trial = |trial: usize| -> anyhow::Result<PipelineConfig> {
        let set = [&args.set[..], &drawn[trial]].concat();
        let mut config: PipelineConfig = config::load(args.config.as_deref(), &set)?;
        config.towers.threads = base.towers.threads;
        let share = config.validation_share;
        if !matches!(config.towers.validation, Validation::LastEvent) {
            config.towers.validation = Validation::Newest { share };
        }
        config.towers.validate()?;
        Ok(config)
    };
    for (trial, settings) in drawn.iter().enumerate() {
        of_trial(trial).with_context(|| format!("trial {trial}: {}", settings.join(" ")))?;
    }

    let dataset = Dataset::open_many(&args.data)?;
    let split = split_config(&args.split, &dataset)?;
    let split = split.map(|split| SplitConfig { validation: base.validation_share, ..split });
    // The test set of a split is not looked at.
    let data = match split {
        Some(split) => TrainingData::of_split(&Split::read(&dataset, &split)?, &base.vocabulary)?,
        None => {
            let options = LoadOptions { vocabulary: base.vocabulary.clone(), ..LoadOptions::default() };
            TrainingData::load(&dataset, &options)?
        }
    };
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let log = args.out.join(TRIALS);
    let search = identity(&space, &base, &args)?;
    let mut known = known(&log, &search)?;
    let trials = halve(&space.search, |trial, epochs| -> anyhow::Result<Outcome> {
        if let Some(outcome) = known.remove(&(trial, epochs)) {
            return Ok(outcome);
        }
        let mut config = of_trial(trial)?.towers;
        config.epochs = epochs;
        let outcome = match fit_towers(&data, &config, &mut ()) {
            Ok(fitted) => match fitted.report.validation {
                Some(found) => Outcome::Validated {
                    ndcg_at_20: found.ndcg_at_20,
                    recall_at_20: found.recall_at_20,
                    best_epoch: fitted.report.best_epoch,
                    seconds: fitted.report.seconds,
                },
                None => anyhow::bail!("the data is too little to hold anything out for validation"),
            },
            Err(error @ TrainError::Diverged { .. }) => Outcome::Failed(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let record = Record {
            search: search.clone(),
            trial: Trial { trial, round: 0, epochs, outcome: outcome.clone() },
            values: drawn[trial].clone(),
        };
        append(&log, &record)?;
        eprintln!("{record}");
        Ok(outcome)
    })?;
    let Some(best) = Trial::best(&trials) else {
        let why = trials.first().map(|trial| format!("{:?}", trial.outcome)).unwrap_or_default();
        return Err(anyhow::anyhow!("every trial failed: {why}").into());
    };
    let mut config = of_trial(best.trial)?;
    config.towers.epochs = best.epochs;
    config.towers.threads = 0;
    let path = args.out.join(BEST);
    fs::write(&path, toml::to_string_pretty(&config)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let best = drawn[best.trial].clone();
    let records = trials.into_iter().map(|trial| Record {
        search: search.clone(),
        values: drawn[trial.trial].clone(),
        trial,
    });
    print(&Table { trials: records.collect(), best, config: path.display().to_string() }, output)?;
    Ok(())
}

fn read_space(path: &Path) -> Result<Space, Failure> {
    let origin = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {origin}"))?;
    let refuse = |message: String| Failure::Config(ConfigError { origin: origin.clone(), message });
    let space: Space = serde_path_to_error::deserialize(
        toml::Deserializer::parse(&text).map_err(|error| refuse(error.to_string()))?,
    )
    .map_err(|error| refuse(format!("key `{}`: {}", error.path(), error.inner().message())))?;
    space.validate().map_err(refuse)?;
    Ok(space)
}

impl Space {
    fn validate(&self) -> Result<(), String> {
        self.search.validate().map_err(|rule| format!("key `search`: {rule}"))?;
        if self.ranges.is_empty() {
            return Err("key `ranges`: names nothing to search".into());
        }
        for (key, range) in &self.ranges {
            let refuse = |rule: &str| Err(format!("key `ranges.{key}`: {rule}"));
            if !key.starts_with("towers.") {
                return refuse("only keys of `towers` can be searched: towers.dropout");
            }
            if ["towers.epochs", "towers.threads", "towers.validation"].contains(&key.as_str()) {
                return refuse("is set by the search itself");
            }
            match range {
                Range::Choice(values) if values.is_empty() => return refuse("has no values to choose from"),
                Range::Uniform([low, high]) if !(low.is_finite() && high.is_finite() && low < high) => {
                    return refuse("must be two numbers, the smaller first");
                }
                Range::Log([low, high]) if !(*low > 0.0 && high.is_finite() && low < high) => {
                    return refuse("must be two positive numbers, the smaller first");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A trial's values, as `KEY=VALUE`: a function of seed and number.
    fn draw(&self, trial: usize) -> Vec<String> {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ trial as u64);
        let draw = |(key, range): (&String, &Range)| {
            let share: f64 = rng.random();
            let value = match range {
                Range::Uniform([low, high]) => format!("{:.4}", low + share * (high - low)),
                Range::Log([low, high]) => {
                    format!("{:.3e}", (low.ln() + share * (high.ln() - low.ln())).exp())
                }
                Range::Choice(values) => {
                    values[((share * values.len() as f64) as usize).min(values.len() - 1)].to_string()
                }
            };
            format!("{key}={value}")
        };
        self.ranges.iter().map(draw).collect()
    }
}

/// What makes two searches one: space, configuration, data and split.
fn identity(space: &Space, base: &PipelineConfig, args: &TuneArgs) -> anyhow::Result<String> {
    let space = Space { search: Halving { trials: 0, ..space.search.clone() }, ..space.clone() };
    let text = serde_json::to_string(&(space, base, &args.data, format!("{:?}", args.split)))?;
    Ok(format!("{:016x}", endcap_proto::ItemKey::of(&text).0))
}

/// Trials of this search that were run before.
fn known(log: &Path, search: &str) -> anyhow::Result<HashMap<(usize, usize), Outcome>> {
    let text = match fs::read_to_string(log) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", log.display())),
    };
    // A last line that was cut off is run again.
    let records = text.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok());
    let own = records.filter(|record| record.search == search);
    Ok(own.map(|record| ((record.trial.trial, record.trial.epochs), record.trial.outcome)).collect())
}

fn append(log: &Path, record: &Record) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(log)?;
        Ok(writeln!(file, "{}", serde_json::to_string(record)?)?)
    };
    write().with_context(|| format!("cannot write {}", log.display()))
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trial { trial, epochs, outcome, .. } = &self.trial;
        write!(f, "trial {trial:>3}  {epochs:>3} epochs  ")?;
        match outcome {
            Outcome::Validated { ndcg_at_20, recall_at_20, best_epoch, seconds } => {
                write!(
                    f,
                    "ndcg@20 {ndcg_at_20:.4}  recall@20 {recall_at_20:.4}  best {best_epoch:>3}  {seconds:>5.0} s"
                )?;
            }
            Outcome::Failed(reason) => write!(f, "failed: {reason}")?,
        }
        write!(f, "  {}", self.values.join(" "))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trials.iter().try_for_each(|record| writeln!(f, "{record}"))?;
        writeln!(f, "best: {}", self.best.join(" "))?;
        write!(f, "written to {}", self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(text: &str) -> Result<Space, String> {
        let space: Space = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        space.validate().map(|()| space)
    }

    #[test]
    fn draws_are_a_function_of_seed_and_number_and_stay_in_range() {
        let text = r#"
            [search]
            trials = 40
            [ranges]
            "towers.dropout" = { uniform = [0.1, 0.5] }
            "towers.learning_rate" = { log = [1e-4, 1e-2] }
            "towers.blocks" = { choice = [1, 2] }
        "#;
        let space = space(text).unwrap();
        assert_eq!(space.draw(3), space.draw(3));
        assert_ne!(space.draw(3), space.draw(4));
        let value = |entry: &str| entry.split_once('=').unwrap().1.parse::<f64>().unwrap();
        let drawn: Vec<Vec<f64>> =
            (0..40).map(|trial| space.draw(trial).iter().map(|entry| value(entry)).collect()).collect();
        // Keys go by name: blocks, dropout, learning rate.
        assert!(drawn.iter().all(|v| (v[0] == 1.0 || v[0] == 2.0) && (0.1..=0.5).contains(&v[1])));
        assert!(drawn.iter().all(|v| (1e-4..=1e-2).contains(&v[2])));
        let below = drawn.iter().filter(|v| v[2] < 1e-3).count();
        assert!((8..32).contains(&below), "half of the logarithms lie below the middle: {below}");
    }

    #[test]
    fn a_space_that_cannot_be_searched_is_refused_by_name() {
        let refused = |text: &str| space(text).unwrap_err();
        assert!(refused("[ranges]").contains("names nothing to search"));
        let range = |range: &str| refused(&format!("[ranges]\n{range}"));
        assert!(range(r#""vocabulary.ngram" = { choice = [3] }"#).contains("only keys of `towers`"));
        assert!(range(r#""towers.epochs" = { choice = [3] }"#).contains("set by the search itself"));
        assert!(range(r#""towers.dropout" = { uniform = [0.5, 0.1] }"#).contains("the smaller first"));
        assert!(range(r#""towers.dropout" = { log = [0.0, 0.1] }"#).contains("positive"));
        assert!(
            refused("[search]\nkeep = 2.0\n[ranges]\n\"towers.blocks\" = { choice = [1] }").contains("keep")
        );
    }
}
