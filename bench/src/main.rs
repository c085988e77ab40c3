//! `heddle-bench`: our sidecar pair beside other sidecars', on the same namespaces, redirects,
//! certificates and routes. Nothing is measured before all have been seen to do the same work.

mod app;
mod args;
mod cases;
mod certificates;
mod chart;
mod check;
mod collector;
mod docs;
mod error;
mod figure;
mod files;
mod http;
mod load;
mod machine;
mod netns;
mod own;
mod peers;
mod process;
mod programs;
mod quiet;
mod report;
mod run;
mod stage;
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
    let args = Args::parse();
    let done = match &args.own {
        Some(own) => own::run(own).map(|()| true),
        None if args.list => {
            for case in cases::registry() {
                println!("{:<12} {}", case.name(), case.title());
            }
            Ok(true)
        }
        None => compare(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("heddle-bench: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything could be measured.
fn compare(args: &Args) -> Result<bool> {
    let mut files = args.from.iter().map(|file| Report::read_json(file));
    let report = match files.next() {
        Some(first) => files.try_fold(first?, |all, file| Ok(all.merge(file?)))?,
        None => measure(args)?,
    };
    for case in &report.cases {
        println!("\n{}", table::terminal(case));
    }
    if let Some(file) = &args.json {
        report.write_json(file)?;
        println!("figures: {}", file.display());
    }
    if let Some(dir) = &args.write_docs {
        for file in docs::write(&report, dir)? {
            println!("wrote {}", file.display());
        }
    }
    Ok(report.complete())
}

fn measure(args: &Args) -> Result<Report> {
    let programs = Programs::find(args)?;
    stop::install()?;
    files::allow_all()?;
    world::sweep_abandoned();
    let world = World::make()?;
    run::all(args, &programs, &world)
}
