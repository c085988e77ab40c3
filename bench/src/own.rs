//! Programs that no package provides, as hidden commands of this one: applications, load generators,
//! the bare relay. Each runs in a pod, for itself.

use clap::Subcommand;

use crate::error::Result;

/// Which.
#[derive(Debug, Subcommand)]
pub(crate) enum Own {}

/// Runs it to its end.
pub(crate) fn run(own: &Own) -> Result<()> {
    match *own {}
}
