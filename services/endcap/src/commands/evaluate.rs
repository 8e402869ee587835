//! `endcap evaluate`: bundles beside honest baselines.

use endcap_clickstream::Dataset;
use endcap_evaluation::{
    Baselines, BaselinesConfig, Contender, Evaluation, HeldOut, Report, SeenItems, Split, Ties,
};
use endcap_recommend::Model;

use super::{load_bundle, print, split::split_config};
use crate::{
    cli::{EvaluateArgs, Output, SeenPolicy, TiePolicy},
    config,
    exit::Failure,
};

pub fn run(args: EvaluateArgs, output: Output) -> Result<(), Failure> {
    let Some((data, bundles)) = args.paths.split_last() else {
        return Err(Failure::Usage("give BUNDLE and DIR, or DIR alone".into()));
    };
    let baselines: BaselinesConfig = config::load(args.baselines.as_deref(), &[])?;
    let dataset = Dataset::open(data)?;
    // What is not told of the split is as the protocol says.
    let asked = split_config(&args.split, &dataset)?.unwrap_or_default();
    let split = Split::read(&dataset, &asked)?;
    let mut models = Vec::new();
    for path in bundles {
        let bundle = load_bundle(path)?;
        split
            .check(&bundle.manifest.origin, HeldOut::Test)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        models.push(Model::new(bundle)?);
    }
    let mut evaluation = Evaluation {
        ties: match args.ties {
            TiePolicy::Against => Ties::Against,
            TiePolicy::Listed => Ties::Listed,
        },
        cutoffs: sorted(args.cutoffs),
        max_questions: args.cases,
        seed: args.seed,
        ..Evaluation::of(&split)
    };
    match args.seen {
        Some(SeenPolicy::Allow) => evaluation.seen = SeenItems::Allow,
        Some(SeenPolicy::Mask) => evaluation.seen = SeenItems::Mask,
        None => {}
    }
    let labels: &[&str] = if models.len() > 1 { &["A", "B"] } else { &[""] };
    let funnel = !args.no_funnel;
    let contenders: Vec<Contender<'_>> =
        models.iter().zip(labels).map(|(model, label)| Contender { label, model, funnel }).collect();
    let baselines = Baselines::fit(&split, HeldOut::Test, &baselines)?;
    let mut report: Report = evaluation.run(&split, &dataset, &baselines, &contenders)?;
    if !split.hidden().is_empty() {
        let hidden = Evaluation { among_hidden: true, ..evaluation };
        report.groups.extend(hidden.run(&split, &dataset, &baselines, &contenders)?.groups);
    }
    print(&report, output)?;
    Ok(())
}

fn sorted(mut cutoffs: Vec<u32>) -> Vec<u32> {
    cutoffs.sort_unstable();
    cutoffs.dedup();
    cutoffs
}
