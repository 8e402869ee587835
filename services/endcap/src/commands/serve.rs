//! `endcap serve`: the service until Ctrl-C or SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

use super::print_text;
use crate::{
    cli::ServeArgs,
    config::{self, Config},
    exit::Failure,
    service,
};

pub fn run(args: ServeArgs) -> Result<(), Failure> {
    if args.dump_config && args.config.is_none() && args.set.is_empty() {
        print_text(config::DEFAULT)?;
        return Ok(());
    }
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    if args.dump_config {
        print_text(&toml::to_string_pretty(&config)?)?;
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served: anyhow::Result<()> = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let running = service::start(&config).await?;
        eprintln!("serving on {}", running.address());
        running
            .until(async {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
            })
            .await
    });
    // All parts have ended; a question that a broker does not answer is not waited for.
    runtime.shutdown_background();
    Ok(served?)
}
