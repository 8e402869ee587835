//! `endcap evaluate`: a bundle beside honest baselines.

use anyhow::Context;
use endcap_clickstream::{Dataset, split::time_cuts};
use endcap_evaluation::{GlobalTime, SeenItems};
use endcap_recommend::Model;

use super::{load_bundle, print};
use crate::{
    cli::{EvaluateArgs, Output, ProtocolName, SeenPolicy},
    exit::Failure,
};

pub fn run(args: EvaluateArgs, output: Output) -> Result<(), Failure> {
    let bundle = load_bundle(&args.bundle)?;
    let dataset = Dataset::open(&args.data)?;
    let ProtocolName::GlobalTime = args.protocol;
    let cut =
        time_cuts(&dataset, &[1.0 - args.holdout])?.first().copied().context("the data set is empty")?;
    let protocol = GlobalTime {
        cut,
        seen: match args.seen {
            SeenPolicy::Allow => SeenItems::Allow,
            SeenPolicy::Mask => SeenItems::Mask,
        },
        max_cases: args.cases,
        seed: args.seed,
        metrics: GlobalTime::METRICS.to_vec(),
    };
    let trained_until = bundle.manifest.origin.newest_event;
    let model = Model::new(bundle)?;
    print(&protocol.evaluate(&model, trained_until, &dataset)?, output)?;
    Ok(())
}
