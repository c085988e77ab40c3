//! Tasks of this repository, the README's two commands among them. Each says what it installs and
//! runs before it does.

mod bench;
mod chaos;
mod demo;
mod guard;
mod images;
mod install;
mod profile;
mod run;
mod shipped;
mod test;
mod venv;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "Tasks of this repository",
    after_help = "Example: cargo xtask demo"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build and run the whole mesh on this machine, with the Bookinfo sample and some traffic
    Demo(demo::Args),
    /// Build the images of the mesh's parts, by buildah, from deploy/images
    Images(images::Args),
    /// Formatting, lints, every test, and what a request costs
    Test,
    /// Count the instructions that a request costs the sidecar (part of `test`)
    Guard(guard::Args),
    /// Compare the sidecar with others on this machine
    Bench {
        /// Passed on to heddle-bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the programs as they are shipped, into target/dist
    Dist,
    /// Record anew what the sidecar does under load, which `dist` lays it out by
    Profile,
    /// Show what users see while things go wrong: restarts, kills, bad networks, bad endpoints
    Chaos(chaos::Args),
    /// Load a mesh for ten minutes, and see whether anything grows
    Soak(chaos::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo(args) => demo::demo(&args),
        Task::Images(args) => images::images(&args),
        Task::Test => test::test(),
        Task::Guard(args) => guard::guard(&args),
        Task::Bench { args } => bench::bench(&args),
        Task::Dist => shipped::build(shipped::PACKAGES),
        Task::Profile => profile::profile(),
        Task::Chaos(args) => chaos::chaos("chaos", &args),
        Task::Soak(args) => chaos::chaos("soak", &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
