//! `heddle`: a service mesh on this machine, and what a person types.

mod api;
mod args;
mod cluster;
mod commands;
mod daemon;
mod failure;
mod manifests;
mod node;
mod picture;
mod snapshots;
mod terminal;
mod traces;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::failure::Failure;
use crate::terminal::{Style, say_part};

fn main() -> ExitCode {
    // Whoever starts us may have signals blocked, and every process of the mesh would inherit that
    // and never hear that it should end. It cannot fail for a valid set.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    // As `heddle container-init` this process becomes a container.
    if let Some(code) = node::intercept() {
        return code;
    }
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli)),
        Err(error) => Err(Failure::new("cannot start").because(&error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say_part!("{}", failure.render(Style::stderr()));
            failure.exit_code()
        }
    }
}
