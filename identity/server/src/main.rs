//! `heddle-identity`: the identity service's process, and the commands that rotate its root. Flags and
//! logging; the rest is in the library.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use heddle_authority::ca;
use heddle_identity::{TrustDomain, channel::explain};
use heddle_identity_server::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Issues certificates to the workloads of a trust domain, for their service-account tokens.
#[derive(Debug, Parser)]
#[command(
    name = "heddle-identity",
    version,
    after_help = "Example:\n  heddle-identity --data-dir /var/lib/heddle/identity --token-jwks jwks.json \\\n    \
                  --trust-bundle-out /run/heddle/root-cert.pem\n\n\
                  The root is made at the first start and used again afterwards: keep the data directory.\n\n\
                  To rotate the root, beside the service that runs:\n  heddle-identity rotate-root --data-dir DIR\n\
                  and to drop the one before earlier than its certificates expire:\n  heddle-identity drop-root --data-dir DIR"
)]
struct Cli {
    #[command(flatten)]
    args: Args,

    /// What to log: error, warn, info, debug, trace, or directives such as
    /// `info,heddle_identity=debug`.
    #[arg(
        long,
        env = "HEDDLE_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    log_level: String,

    /// How to log.
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

/// Rotates the root of the identity service that runs on a data directory.
#[derive(Debug, Parser)]
#[command(name = "heddle-identity", version)]
enum Roots {
    /// Announce a new root. The service puts it into every trust bundle, signs with it after
    /// `--root-spread`, and trusts the one before until what it signed has expired.
    RotateRoot {
        /// Where the root key and certificate are kept.
        #[arg(long, env = "HEDDLE_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,
        /// Trust domain of all identities.
        #[arg(
            long,
            env = "HEDDLE_TRUST_DOMAIN",
            default_value = "cluster.local",
            value_name = "NAME"
        )]
        trust_domain: TrustDomain,
    },
    /// Drop the roots that sign no more now. Workloads whose certificates are of one of them are
    /// refused until they have renewed.
    DropRoot {
        /// Where the root key and certificate are kept.
        #[arg(long, env = "HEDDLE_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,
    },
}

impl Roots {
    fn run(self) -> Result<String, ca::RootError> {
        match self {
            Self::RotateRoot {
                data_dir,
                trust_domain,
            } => ca::announce(&data_dir, &trust_domain).map(|()| "announced a new root".to_owned()),
            Self::DropRoot { data_dir } => {
                ca::drop_retired(&data_dir).map(|count| format!("dropped {count} retired roots"))
            }
        }
    }
}

fn main() -> ExitCode {
    let command = std::env::args_os().nth(1);
    if command.is_some_and(|word| word == "rotate-root" || word == "drop-root") {
        return match Roots::parse().run() {
            Ok(done) => {
                println!("{done}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&explain(&error)),
        };
    }
    let cli = Cli::parse();
    let filter = match EnvFilter::try_new(&cli.log_level) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("--log-level {:?}: {error}", cli.log_level)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    // The root key is not for other processes of this user, nor for core dumps.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "other processes of this user can read the root key");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    match runtime.block_on(run(cli.args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&explain(error.as_ref())),
    }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(Box::pin(heddle_identity_server::run(args, shutdown)).await?)
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("heddle-identity: {reason}");
    ExitCode::FAILURE
}
