//! `heddle-injector`: the webhook's process. Flags and logging; injection itself is in the library.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

mod cluster;
mod options;

use options::Options;

/// Injects Heddle's sidecar into pods as they are created (a Kubernetes mutating webhook).
#[derive(Debug, Parser)]
#[command(
    name = "heddle-injector",
    version,
    after_help = "Example:\n  heddle-injector --kubernetes --config injector.yaml\n  \
                  heddle-injector --listen 127.0.0.1:15017 --tls-cert tls.crt --tls-key tls.key\n\n\
                  POST /inject takes an AdmissionReview (admission.k8s.io/v1); /healthz, /readyz and /metrics are there too."
)]
struct Cli {
    #[command(flatten)]
    options: Options,

    /// What to log: error, warn, info, debug, trace, or directives such as
    /// `info,heddle_injector=debug`
    #[arg(
        long,
        env = "HEDDLE_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    log_level: String,

    /// How to log
    #[arg(
        long,
        env = "HEDDLE_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match EnvFilter::try_new(&cli.log_level) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("--log-level {:?}: {error}", cli.log_level)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    match runtime.block_on(run(cli.options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(options.run(shutdown).await?)
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("heddle-injector: {reason}");
    ExitCode::FAILURE
}
