//! `heddle-proxy`: the sidecar, and the init step that redirects a pod's traffic to it.

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use heddle_proxy::{LogFormat, RunArgs};
use heddle_proxy_redirect::RedirectArgs;
use tracing_subscriber::EnvFilter;

/// The Heddle sidecar.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Example: heddle-proxy redirect apply && heddle-proxy run --pod-name web-0 --pod-namespace default"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Carry the pod's traffic until SIGTERM.
    Run(Box<RunArgs>),
    /// Program the iptables rules that lead the pod's traffic to the sidecar.
    Redirect(RedirectArgs),
    /// Wait until the sidecar of this pod is ready.
    Wait {
        /// Have it drain, and wait until it has: for a preStop hook.
        #[arg(long)]
        drained: bool,
        /// Give up after this many seconds [default: 60; with --drained 3600, and the sidecar's own
        /// grace period is what counts].
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout_seconds: Option<u64>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => {
            log(&args.log_level, args.log_format);
            heddle_proxy::run::run(*args).map_err(|e| chain(&e))
        }
        Command::Redirect(args) => {
            log("info", LogFormat::Text);
            heddle_proxy_redirect::run(args).map_err(|e| chain(&e))
        }
        Command::Wait {
            drained: false,
            timeout_seconds,
        } => heddle_proxy::wait::ready(Duration::from_secs(timeout_seconds.unwrap_or(60))),
        Command::Wait {
            drained: true,
            timeout_seconds,
        } => heddle_proxy::wait::drained(Duration::from_secs(timeout_seconds.unwrap_or(3600)))
            .map(|said| println!("{said}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line. A source that only repeats what was said is left out.
fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = error.source();
    }
    said
}

fn log(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|error| {
        eprintln!("heddle-proxy: log level {level:?} is not understood ({error}); using info");
        EnvFilter::new("info")
    });
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
