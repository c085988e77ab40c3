//! What a person (or the init container) types: `redirect apply|clean|check`.

use clap::{Args, Subcommand};

use crate::apply::{Error, apply, clean};
use crate::check::check;
use crate::settings::Settings;

/// Program, remove or prove the redirect in this network namespace.
#[derive(Args, Clone, Debug)]
pub struct RedirectArgs {
    /// What to do
    #[command(subcommand)]
    command: RedirectCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum RedirectCommand {
    /// Lead this network namespace's traffic through the sidecar, then prove that it is
    ///
    /// Example: heddle-proxy redirect apply --exclude-outbound-cidrs 10.0.0.0/8 --exclude-inbound-ports 9000
    #[command(verbatim_doc_comment)]
    Apply(Settings),
    /// Remove exactly what `apply` made
    ///
    /// Example: heddle-proxy redirect clean
    #[command(verbatim_doc_comment)]
    Clean,
    /// Prove that traffic is led to the sidecar's port; run it before the sidecar listens there
    ///
    /// Example: heddle-proxy redirect check
    #[command(verbatim_doc_comment)]
    Check(Settings),
}

/// Does what was asked for in the network namespace of the calling thread.
pub fn run(args: RedirectArgs) -> Result<(), Error> {
    match args.command {
        RedirectCommand::Apply(settings) => apply(&settings),
        RedirectCommand::Clean => clean(),
        RedirectCommand::Check(settings) => Ok(check(&settings)?),
    }
}
