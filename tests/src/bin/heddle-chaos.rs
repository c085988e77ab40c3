//! `heddle-chaos chaos` and `heddle-chaos soak`: what `cargo xtask chaos` and `cargo xtask soak` run.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use heddle_tests::chaos::{self, Row, Scenario, World, table::table};
use heddle_tests::soak;

#[derive(Parser)]
#[command(about = "What users of the mesh see while things go wrong, and over time")]
struct Cli {
    #[command(subcommand)]
    task: Task,
    /// For people, or for programs
    #[arg(short, long, global = true, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Subcommand)]
enum Task {
    /// Do one bad thing after the other to a mesh under load
    Chaos {
        /// How long each takes, at least
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Only this one; may be repeated
        #[arg(long, value_name = "NAME")]
        only: Vec<Scenario>,
        /// Name them all, and do nothing
        #[arg(long)]
        list: bool,
    },
    /// Load a mesh for a long time, and see whether anything grows
    Soak {
        /// How long
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
}

/// Of meshes that renew all the time.
const SHORT: &[&str] = &["--cert-ttl", "10s", "--root-spread", "5s"];

fn main() -> ExitCode {
    let cli = Cli::parse();
    let good = match cli.task {
        Task::Chaos { list: true, .. } => {
            for scenario in Scenario::ALL {
                println!("{scenario:<26} {}", scenario.title());
            }
            true
        }
        Task::Chaos { seconds, only, .. } => {
            let rows = chaos(&only, Duration::from_secs(seconds));
            match cli.output {
                Output::Table => print!("{}", table(&rows)),
                Output::Json => {
                    let rows: Vec<_> = rows.iter().map(Row::json).collect();
                    println!("{}", serde_json::Value::from(rows));
                }
            }
            rows.iter().all(Row::is_good)
        }
        Task::Soak { minutes } => {
            let world = World::start(SHORT);
            let report = soak::run(&world, Duration::from_secs_f64(minutes * 60.0));
            match cli.output {
                Output::Table => print!("{}", report.table()),
                Output::Json => println!("{}", report.json()),
            }
            report.is_good()
        }
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn chaos(only: &[Scenario], time: Duration) -> Vec<Row> {
    let wanted = |scenario: &Scenario| only.is_empty() || only.contains(scenario);
    let mut rows = Vec::new();
    for (short, flags) in [(false, &[][..]), (true, SHORT)] {
        let scenarios: Vec<Scenario> = Scenario::ALL
            .into_iter()
            .filter(|scenario| wanted(scenario) && scenario.short_certificates() == short)
            .collect();
        if scenarios.is_empty() {
            continue;
        }
        let world = World::start(flags);
        for scenario in scenarios {
            eprintln!("{} …", scenario.title());
            rows.push(chaos::run(&world, scenario, time));
        }
    }
    rows
}
