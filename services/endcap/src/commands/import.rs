//! `endcap import`: public formats and your own files → clickstream and catalogue.

use endcap_clickstream::{
    BadRowLimit,
    import::{CatalogueOptions, Format, ImportOptions, Mapping, import_observed},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::print;
use crate::{
    cli::{ImportArgs, Output},
    exit::Failure,
};

pub fn run(args: ImportArgs, output: Output) -> Result<(), Failure> {
    if args.list {
        for format in Format::ALL {
            println!("{format:<15} {}", format.description());
        }
        return Ok(());
    }
    let (Some(format), Some(input), Some(out)) = (&args.format, &args.input, &args.out) else {
        return Err(Failure::Usage(
            "give FORMAT, IN and --out DIR; `endcap import --list` lists the formats".into(),
        ));
    };
    let format: Format = format.parse().map_err(usage)?;
    let options = ImportOptions {
        source: args.source,
        max_bad_rows: bad_row_limit(&args.max_bad_rows)?,
        consent: !args.without_consent,
        event_type: args.event_type.parse().map_err(usage)?,
        mapping: Mapping::read(args.mapping.as_deref(), &args.map).map_err(usage)?,
        year: args.year,
        catalogue: args.catalogue.as_deref().map(|text| catalogue(text, &args.catalogue_map)).transpose()?,
    };
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let report = import_observed(format, &options, input, out, &mut |progress| {
        bar.set_message(format!(
            "{} events, {} items, {} bad rows",
            progress.events, progress.items, progress.bad_rows
        ));
        bar.tick();
    });
    bar.finish_and_clear();
    print(&report?, output)?;
    Ok(())
}

fn catalogue(text: &str, map: &[String]) -> Result<CatalogueOptions, Failure> {
    let (format, input) = text
        .split_once(':')
        .ok_or_else(|| Failure::Usage(format!("--catalogue {text:?}: must be FORMAT:PATH")))?;
    Ok(CatalogueOptions {
        format: format.parse().map_err(usage)?,
        input: input.into(),
        mapping: Mapping::read(None, map).map_err(usage)?,
    })
}

fn bad_row_limit(text: &str) -> Result<BadRowLimit, Failure> {
    match text {
        "unlimited" => Ok(BadRowLimit::Unlimited),
        number => number.parse().map(BadRowLimit::AtMost).map_err(|_| {
            Failure::Usage(format!("--max-bad-rows {number:?}: must be a number, or `unlimited`"))
        }),
    }
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}
