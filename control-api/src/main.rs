//! `heddle-control`: flags, logging and signals around [`heddle_control::run`].

use std::{
    error::Error,
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use clap::Parser;
use heddle_control::{
    config::{Config, LogFormat},
    run::run,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(reason) = log(&config) {
        eprintln!("error: --log-level {:?}: {reason}", config.log_level);
        return ExitCode::FAILURE;
    }
    // Our key is not for other processes of this user, nor for core dumps.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        warn!(%error, "other processes of this user can read the control plane's key");
    }
    if let Err(reason) = config.check() {
        eprintln!("error: {reason}");
        return ExitCode::FAILURE;
    }
    let (stop, stopping) = watch::channel(false);
    let signals = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        _ => {
            error!("cannot listen for signals");
            return ExitCode::FAILURE;
        }
    };
    let (mut terminate, mut interrupt) = signals;
    let waiting = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        stop.send_replace(true);
    });
    let result = run(config, stopping).await;
    waiting.abort();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut text = failure.to_string();
            let mut source = failure.source();
            while let Some(cause) = source {
                text += &format!(": {cause}");
                source = cause.source();
            }
            error!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn log(config: &Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&config.log_level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
}
