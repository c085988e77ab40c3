//! `heddle-bench`: our sidecar pair beside Envoy's, on the same namespaces, redirects, certificates
//! and routes. Nothing is measured before both have been seen to do the same work.

mod args;
mod certificates;
mod chart;
mod check;
mod docs;
mod envoy;
mod error;
mod heddle;
mod http;
mod load;
mod machine;
mod measure;
mod netns;
mod peers;
mod process;
mod programs;
mod report;
mod statistics;
mod stop;
mod table;
mod template;
mod tokens;
mod usage;
mod visitor;
mod wire;
mod world;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::error::Result;
use crate::programs::Programs;
use crate::report::Report;
use crate::world::World;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-bench: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let report = match &args.from {
        Some(file) => Report::read_json(file)?,
        None => measure(args)?,
    };
    println!("\n{}", table::terminal(&report));
    if let Some(file) = &args.json {
        report.write_json(file)?;
        println!("figures: {}", file.display());
    }
    if args.write_docs {
        for file in docs::write(&report)? {
            println!("wrote {}", file.display());
        }
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    let programs = Programs::find(args)?;
    stop::install()?;
    world::sweep_abandoned();
    let world = World::make()?;
    measure::all(args, &programs, &world)
}
