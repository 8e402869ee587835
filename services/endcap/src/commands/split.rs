//! How a data set is split, as typed and as meant: the same for training and evaluation.

use endcap_clickstream::Dataset;
use endcap_evaluation::{Protocol, SplitConfig};

use crate::{
    cli::{ProtocolName, SplitArgs},
    exit::Failure,
};

/// What the arguments mean for this data set; nothing where they say nothing and its publisher did not split it.
pub fn split_config(args: &SplitArgs, dataset: &Dataset) -> Result<Option<SplitConfig>, Failure> {
    let published = dataset.info.split.is_some();
    let protocol = match args.protocol {
        Some(ProtocolName::GlobalTime) => Protocol::GlobalTime,
        Some(ProtocolName::LeaveOneOut) => Protocol::LeaveOneOut,
        Some(ProtocolName::NextItem) => Protocol::NextItem,
        Some(ProtocolName::FixedSplit) => Protocol::FixedSplit,
        None if args.holdout.is_some() => Protocol::GlobalTime,
        None if published && dataset.info.ordered => Protocol::NextItem,
        None if published => Protocol::FixedSplit,
        None if args.hide > 0.0 => Protocol::GlobalTime,
        None => return Ok(None),
    };
    if args.holdout.is_some() && protocol != Protocol::GlobalTime {
        return Err(Failure::Usage(format!(
            "--holdout is a share of time, and {protocol} has its own test set"
        )));
    }
    let of = SplitConfig::of(protocol);
    Ok(Some(SplitConfig {
        test: args.holdout.unwrap_or(of.test),
        hidden_items: args.hide,
        seed: args.hide_seed,
        ..of
    }))
}
