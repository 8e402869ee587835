//! `endcap check`: is this data enough, and is it sound?

use endcap_clickstream::{
    Dataset,
    check::{CheckOptions, Verdict, check},
};

use endcap_recommend::{Clock, SystemClock};

use super::print;
use crate::{
    cli::{CheckArgs, Output},
    exit::Failure,
};

pub fn run(args: CheckArgs, output: Output) -> Result<(), Failure> {
    let dataset = Dataset::open_many(&args.data)?;
    let report = check(&dataset, &CheckOptions { now: Some(SystemClock.now()), ..CheckOptions::default() })?;
    print(&report, output)?;
    match report.verdict {
        Verdict::Go => Ok(()),
        Verdict::NoGo => Err(Failure::NoGo),
    }
}
