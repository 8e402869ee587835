//! `endcap import`: public formats and your own files → clickstream and catalogue.

use endcap_clickstream::{
    BadRowLimit,
    import::{Format, ImportOptions, Mapping, import},
};

use super::print;
use crate::{
    cli::{ImportArgs, Output},
    exit::Failure,
};

pub fn run(args: ImportArgs, output: Output) -> Result<(), Failure> {
    if args.list {
        for format in Format::ALL {
            println!("{:<16} {}", format.to_string(), format.description());
        }
        return Ok(());
    }
    let (Some(format), Some(input), Some(out)) = (args.format, args.input, args.out) else {
        return Err(Failure::Usage("give FORMAT, IN and --out DIR; `endcap import --list` lists the formats".into()));
    };
    let format: Format = format.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
    let options = ImportOptions {
        max_bad_rows: bad_row_limit(&args.max_bad_rows)?,
        mapping: Mapping::read(args.mapping.as_deref(), &args.map)?,
        year: args.year,
        ..ImportOptions::default()
    };
    let report = import(format, &options, &input, &out)?;
    print(&report, output)?;
    Ok(())
}

fn bad_row_limit(text: &str) -> Result<BadRowLimit, Failure> {
    match text {
        "unlimited" => Ok(BadRowLimit::Unlimited),
        number => number
            .parse()
            .map(BadRowLimit::AtMost)
            .map_err(|_| Failure::Usage(format!("--max-bad-rows {number:?}: a number, or `unlimited`"))),
    }
}
