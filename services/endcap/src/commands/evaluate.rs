//! `endcap evaluate`: a bundle beside honest baselines.

use endcap_clickstream::{Dataset, split::time_cuts};
use endcap_evaluation::{GlobalTime, SeenItems, evaluate};

use super::{load_bundle, print};
use crate::{
    cli::{EvaluateArgs, Output, ProtocolName, SeenPolicy},
    exit::Failure,
};

pub fn run(args: EvaluateArgs, output: Output) -> Result<(), Failure> {
    let bundle = load_bundle(&args.bundle)?;
    let dataset = Dataset::open(&args.data)?;
    let ProtocolName::GlobalTime = args.protocol;
    let cut = time_cuts(&dataset, &[1.0 - args.holdout])?[0];
    let protocol = GlobalTime {
        cut,
        seen: match args.seen {
            SeenPolicy::Allow => SeenItems::Allow,
            SeenPolicy::Mask => SeenItems::Mask,
        },
        max_cases: args.cases,
        seed: args.seed,
    };
    print(&evaluate(bundle, &dataset, &protocol)?, output)?;
    Ok(())
}
