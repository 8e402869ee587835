//! The command line as it is typed. What it means is resolved by each command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use endcap_live::archive::Location;
use endcap_trainer::Device;

/// A real-time product recommendation engine for storefronts.
#[derive(Debug, Parser)]
#[command(name = "endcap", version, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 `check` says no-go, 78 wrong configuration.\n\
                        Start with `endcap demo`."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// How much to log: error, warn, info, debug, trace, or a filter such as `endcap_live=debug`.
    #[arg(long, global = true, env = "ENDCAP_LOG", default_value = "warn", value_name = "FILTER")]
    pub log: String,

    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// A whole shop on this machine: data, training, broker, service, shoppers.
    Demo(DemoArgs),
    /// Public formats and your CSV, JSON or Parquet → Arrow clickstream and catalogue.
    Import(ImportArgs),
    /// Is this data enough, and is it sound? Reasons, counts, go or no-go.
    Check(CheckArgs),
    /// Fit towers, counting models and ranker, build the index, publish a bundle.
    Train(TrainArgs),
    /// A small search over a training configuration, on validation data, with a table of its trials.
    Tune(TuneArgs),
    /// Offline metrics of a bundle under a named protocol, beside honest baselines.
    Evaluate(EvaluateArgs),
    /// The service: gRPC and JSON over HTTP, fed from Kafka.
    Serve(ServeArgs),
    /// The clickstream again, in time order, through the serving path.
    Replay(ReplayArgs),
    /// Kafka topics → partitioned Arrow clickstream, ready to train on.
    Archive(ArchiveArgs),
    /// The topics: write to them, look into them, how far they are read, dead letters again.
    #[command(subcommand)]
    Events(EventsCommand),
    /// The state of a service: look at it, back it up, restore it, rebuild it.
    #[command(subcommand)]
    State(StateCommand),
    /// Forget a shopper: in the state, the archive, the next training; with a receipt.
    Erase(EraseArgs),
    /// The bundles of a folder: list, activate, roll back.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// What this machine and this configuration can do.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Do the same, measure it, and exit: 0 when the slates moved toward what was clicked, 1 when not.
    #[arg(long)]
    pub smoke: bool,
    /// Where the demo keeps its data, bundles and state; a temporary folder when absent.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Port of the service on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8500)]
    pub port: u16,
    /// Seed of the shop, the training and the shoppers.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The format of the input; `endcap import --list` says what each is.
    #[arg(required_unless_present = "list")]
    pub format: Option<String>,
    /// The file or folder, as its publisher ships it; `.zst` and `.gz` are read as they are.
    #[arg(required_unless_present = "list", value_name = "IN")]
    pub input: Option<PathBuf>,
    /// The folder to write: events/, items.arrow, dataset.json, bad-rows.jsonl.
    #[arg(long, required_unless_present = "list", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// List the formats.
    #[arg(long)]
    pub list: bool,
    /// Which column is which, and how times and event types are written: a TOML file.
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// One entry of the mapping: `visitor_id=uid`. May be repeated; goes before the file.
    #[arg(long = "map", value_name = "KEY=COLUMN")]
    pub map: Vec<String>,
    /// The year of dates that have none.
    #[arg(long)]
    pub year: Option<i16>,
    /// What a row says the shopper did, in formats that say only who and what.
    #[arg(long, value_name = "TYPE", default_value = "view")]
    pub event_type: String,
    /// What the data set is called; the format's name when absent.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Take events as those of shoppers who did not agree to be remembered, where the source does not say.
    #[arg(long)]
    pub without_consent: bool,
    /// A catalogue to import beside the events, as FORMAT:PATH: `merchant:feed.xml`.
    #[arg(long, value_name = "FORMAT:PATH")]
    pub catalogue: Option<String>,
    /// One entry of the catalogue's mapping. May be repeated.
    #[arg(long = "catalogue-map", value_name = "KEY=COLUMN", requires = "catalogue")]
    pub catalogue_map: Vec<String>,
    /// Refuse the input past so many bad rows: a number, or `unlimited`.
    #[arg(long, value_name = "LIMIT", default_value = "1000")]
    pub max_bad_rows: String,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What `endcap import` or `endcap archive` wrote.
    #[arg(required = true, value_name = "DIR", value_parser = folder)]
    pub data: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TrainArgs {
    /// What `endcap import` or `endcap archive` wrote; several are read as one.
    #[arg(required_unless_present = "dump_config", value_name = "DIR", value_parser = folder)]
    pub data: Vec<PathBuf>,
    /// The folder of bundles to publish to.
    #[arg(long, required_unless_present = "dump_config", value_name = "BUNDLES")]
    pub out: Option<PathBuf>,
    /// Training configuration, a TOML file; docs/training.md has every key.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration: `towers.epochs=5`. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the training configuration that these arguments mean, and exit.
    #[arg(long)]
    pub dump_config: bool,
    /// Seed of the run: the same seed on the same data and machine gives the same weights.
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub split: SplitArgs,
    /// Publish, but leave the bundle that serves as it is.
    #[arg(long)]
    pub no_activate: bool,
    /// Threads; all cores when absent.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Where the towers' steps are made: `cpu`, by kernels written for it; `cuda` or `cuda:N`, in a build with the feature
    /// `cuda`; `candle`, the reference on this processor, many times slower.
    #[arg(long, default_value_t, value_name = "DEVICE")]
    pub device: Device,
    /// Go on from the active bundle of BUNDLES: what it knows stays, new products and words are added.
    #[arg(long)]
    pub warm_start: bool,
    /// A folder to write the fit down in as it goes: started again with the same arguments, it goes on from there.
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// Minutes between checkpoints within an epoch; there is one after each epoch too.
    #[arg(long, value_name = "MINUTES", default_value_t = 10, requires = "checkpoints")]
    pub checkpoint_minutes: u64,
}

#[derive(Debug, Args)]
pub struct TuneArgs {
    /// What `endcap import` or `endcap archive` wrote; several are read as one.
    #[arg(required = true, value_name = "DIR", value_parser = folder)]
    pub data: Vec<PathBuf>,
    /// What is searched, a TOML file: docs/training.md says how it is written.
    #[arg(long, value_name = "FILE")]
    pub space: PathBuf,
    /// Where trials.jsonl, with every trial, and best.toml, for `endcap train --config`, go. Trials that are there already
    /// are not run again.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The configuration that the search changes, a TOML file as of `endcap train`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One entry of that configuration. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub split: SplitArgs,
    /// Threads; all cores when absent.
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// One bundle, or a folder of bundles (then the active one), and the data set; two bundles before it are compared,
    /// pair by pair; the data set alone evaluates the baselines.
    #[arg(value_name = "BUNDLE… DIR", required = true, num_args = 1..=3, value_parser = folder)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub split: SplitArgs,
    /// What to do with items that the shopper touched before; as the protocol's published tables do when absent.
    #[arg(long, value_enum)]
    pub seen: Option<SeenPolicy>,
    /// Cut-offs of the metrics.
    #[arg(long = "k", value_name = "K,K…", value_delimiter = ',', default_value = "10,20", value_parser = clap::value_parser!(u32).range(1..=500))]
    pub cutoffs: Vec<u32>,
    /// Who goes first among items of one score.
    #[arg(long, value_enum, default_value_t = TiePolicy::Against)]
    pub ties: TiePolicy,
    /// How the baselines are fitted, a TOML file; the defaults when absent.
    #[arg(long, value_name = "FILE")]
    pub baselines: Option<PathBuf>,
    /// Leave the whole funnel out: it takes about a millisecond a case.
    #[arg(long)]
    pub no_funnel: bool,
    /// At most so many questions, drawn with the seed; all when absent.
    #[arg(long)]
    pub cases: Option<usize>,
    /// Seed of the draw of cases and of the intervals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How the data set is split; training and evaluation must be told the same.
#[derive(Debug, Clone, Args)]
pub struct SplitArgs {
    /// How it is split: docs/evaluation.md. When absent, as its publisher split it, or else by time.
    #[arg(long, value_enum)]
    pub protocol: Option<ProtocolName>,
    /// `global-time`: the newest share of the events is the test set.
    #[arg(long, value_name = "SHARE")]
    pub holdout: Option<f64>,
    /// Hide a share of the items from training altogether, to see what is made of new ones.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub hide: f64,
    /// Seed of the draw of hidden items.
    #[arg(long, default_value_t = 1)]
    pub hide_seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// Cuts at 80 % and 90 % of the events: validation, then test; histories roll forward, the model stays as it is.
    GlobalTime,
    /// The last item of each shopper is the test, the one before it validation.
    LeaveOneOut,
    /// The publisher's test sessions: each item given those before it.
    NextItem,
    /// The publisher's train and test sets of each shopper, in no order.
    FixedSplit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TiePolicy {
    /// Every other item.
    Against,
    /// The one that the system lists first.
    Listed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeenPolicy {
    /// They compete like any other: right where people come back to things.
    Allow,
    /// They are left out: right where nothing is chosen twice.
    Mask,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration, a TOML file; the defaults when absent.
    #[arg(long, value_name = "FILE", env = "ENDCAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration: `server.address="127.0.0.1:9000"`. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the configuration that results, and exit.
    #[arg(long)]
    pub dump_config: bool,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A bundle, or a folder of bundles (then the active one).
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// What `endcap import` or `endcap archive` wrote.
    #[arg(value_name = "DIR", value_parser = folder)]
    pub data: PathBuf,
    /// Share of the events, by event time, that only build state; the rest asks for a slate before each event.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub warm_up: f64,
    /// What to do with items that the shopper touched before.
    #[arg(long, value_enum, default_value_t = SeenPolicy::Allow)]
    pub seen: SeenPolicy,
    /// At most so many requests.
    #[arg(long)]
    pub requests: Option<usize>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ArchiveArgs {
    #[command(subcommand)]
    pub command: Option<ArchiveCommand>,
    /// The configuration of the service whose topics are archived.
    #[arg(long, value_name = "FILE", env = "ENDCAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where to: a folder, or s3://bucket/prefix; `archive.path` of the configuration when absent.
    #[arg(long, value_name = "DIR|s3://…")]
    pub out: Option<Location>,
    /// Stop at the ends that the topics have now, or at the first error.
    #[arg(long)]
    pub until_end: bool,
}

#[derive(Debug, Subcommand)]
pub enum ArchiveCommand {
    /// Fetch what a folder lacks of an archive in a bucket, to train on it.
    Fetch(FetchArgs),
}

#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The configuration, which says how to reach the bucket.
    #[arg(long, value_name = "FILE", env = "ENDCAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The archive.
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub from: Location,
    /// The folder to fetch it to.
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Write lines of JSON to the topic of events or items.
    Produce(ProduceArgs),
    /// Print what is in a topic, decoded, as it comes.
    Tail(TailArgs),
    /// How far the state is behind the end of each partition.
    Lag(LagArgs),
    /// Send dead letters back to the topics that they came from, each once.
    Redrive(RedriveArgs),
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// What is in a state that is not in use: shoppers, offsets, digest.
    Show(StateArgs),
    /// Copy the state, which may be in use, and verify the copy.
    Backup {
        #[command(flatten)]
        state: StateArgs,
        /// The folder to write; it must not be there.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Put a backup where the configuration has the state, and verify it. There must be no state yet.
    Restore {
        #[command(flatten)]
        state: StateArgs,
        /// What `endcap state backup` wrote.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Make the state anew from an archive; the service then reads on from Kafka. There must be no state yet.
    Rebuild {
        #[command(flatten)]
        state: StateArgs,
        /// What `endcap archive` wrote.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
}

/// Which state.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The configuration of the service whose state it is; the defaults when absent.
    #[arg(long, value_name = "FILE", env = "ENDCAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Which topics, and how to reach them.
#[derive(Debug, Args)]
pub struct TopicArgs {
    /// The configuration of the service whose topics they are; the defaults when absent.
    #[arg(long, value_name = "FILE", env = "ENDCAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ProduceArgs {
    #[command(flatten)]
    pub topic: TopicArgs,
    /// A file with one JSON object a line (proto3 JSON; GA4, Segment and Google names as types); `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    pub input: PathBuf,
    /// What the lines are, and so where they go.
    #[arg(long = "topic", value_enum, default_value_t = ProducedTopic::Events)]
    pub to: ProducedTopic,
    /// Say which rows are bad and go on, rather than stop at the first; the exit code is then 1 at the end.
    #[arg(long)]
    pub skip_bad: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProducedTopic {
    /// What shoppers do.
    Events,
    /// The catalogue.
    Items,
}

#[derive(Debug, Args)]
pub struct TailArgs {
    #[command(flatten)]
    pub topic: TopicArgs,
    /// Which topic.
    #[arg(value_enum, value_name = "TOPIC", default_value_t = TailedTopic::Events)]
    pub of: TailedTopic,
    /// Where to begin in each partition: beginning, end, or so many records before the end.
    #[arg(long, value_name = "WHERE", default_value = "end")]
    pub from: TailFrom,
    /// Stop at the ends that the partitions have now.
    #[arg(long)]
    pub until_end: bool,
    /// Stop after so many records.
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<i32>,
    /// Only events and impressions of this visitor.
    #[arg(long, value_name = "ID")]
    pub visitor: Option<String>,
    /// Only events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Only dead letters that were rejected at this stage.
    #[arg(long)]
    pub stage: Option<String>,
    /// Only dead letters whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TailedTopic {
    /// What shoppers do.
    Events,
    /// The catalogue.
    Items,
    /// Slates as they were served.
    Impressions,
    /// Records that could not be used, with the reason.
    DeadLetters,
}

/// Where to begin in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailFrom {
    Beginning,
    End,
    /// So many records before the end.
    Last(u64),
}

impl std::str::FromStr for TailFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            count => count
                .parse()
                .map(Self::Last)
                .map_err(|_| format!("must be beginning, end, or a number of records, is {count:?}")),
        }
    }
}

#[derive(Debug, Args)]
pub struct LagArgs {
    #[command(flatten)]
    pub topic: TopicArgs,
    /// The service to be asked, as http://HOST:PORT; server.address of the configuration when absent, and where nobody
    /// answers there the state's folder is read.
    #[arg(long, value_name = "URI")]
    pub address: Option<String>,
}

#[derive(Debug, Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    pub topic: TopicArgs,
    /// Send nothing; list what would be sent, and what would become of it now.
    #[arg(long)]
    pub dry_run: bool,
    /// Only letters that were rejected at this stage: content_type, decode, validate, apply.
    #[arg(long)]
    pub stage: Option<String>,
    /// Only letters whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only letters from this topic, by its own name.
    #[arg(long, value_name = "NAME")]
    pub from_topic: Option<String>,
    /// Leave letters out that would only be rejected once more.
    #[arg(long)]
    pub sound_only: bool,
    /// Send letters too that were redriven before.
    #[arg(long)]
    pub again: bool,
    /// List the letters also when they are sent.
    #[arg(long)]
    pub list: bool,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Every bundle, oldest first, with its figures.
    List {
        /// The folder of bundles.
        #[arg(value_name = "BUNDLES")]
        root: PathBuf,
    },
    /// Let a bundle serve; a running service swaps it in within a second.
    Activate {
        /// The folder of bundles.
        #[arg(value_name = "BUNDLES")]
        root: PathBuf,
        /// The bundle's name.
        version: String,
    },
    /// Let the bundle serve that served before.
    Rollback {
        /// The folder of bundles.
        #[arg(value_name = "BUNDLES")]
        root: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct EraseArgs {
    /// Who: an account, and every visitor who was seen logged in to it.
    #[arg(long, value_name = "ID", required_unless_present = "visitor")]
    pub user: Option<String>,
    /// Or one visitor: a browser or device.
    #[arg(long, value_name = "ID", conflicts_with = "user")]
    pub visitor: Option<String>,
    /// The configuration of the service whose shopper it is; the defaults when absent.
    #[arg(long, value_name = "FILE", env = "ENDCAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The service that is asked, as http://HOST:PORT; server.address of the configuration when absent, and where nobody
    /// answers there the state is told here.
    #[arg(long, value_name = "URI")]
    pub address: Option<String>,
    /// A folder that `endcap archive` wrote, to be rewritten without them. May be repeated.
    #[arg(long = "archive", value_name = "DIR")]
    pub archives: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The configuration to look at; the defaults when absent.
    #[arg(long, value_name = "FILE", env = "ENDCAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// One entry of the configuration. May be repeated; goes before the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// A folder of this machine: data in a bucket is fetched first.
fn folder(text: &str) -> Result<PathBuf, String> {
    match text.parse() {
        Ok(Location::Folder(path)) => Ok(path),
        Ok(Location::Bucket { .. }) => {
            Err(format!("is no folder; `endcap archive fetch {text} DIR` makes one of it"))
        }
        Err(error) => Err(error.to_string()),
    }
}
