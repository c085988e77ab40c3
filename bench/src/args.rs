//! The flags, checked.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

/// Compares Heddle's sidecar pair with Envoy's, and both with no sidecar at all.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  cargo xtask bench --rounds 5 --seconds 10 --write-docs\n\n\
                  It needs root, for network namespaces. Run it on a quiet machine: it says how much CPU \
                  others took."
)]
pub(crate) struct Args {
    /// Rounds of every peer, one after the other; the table has their medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// Seconds of each measurement, after a warm-up of a quarter of it (at least one second)
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,

    /// Connections of the load generator, smallest first
    #[arg(long, default_value = "1,16,64", value_name = "N,N,…")]
    pub(crate) connections: Connections,

    /// Measure only this one (beside no sidecar)
    #[arg(long, value_name = "PEER")]
    pub(crate) only: Option<Only>,

    /// Write every figure to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Measure nothing: show what `--json` wrote before
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "only"])]
    pub(crate) from: Option<PathBuf>,

    /// Write docs/benchmarks.md and its chart
    #[arg(long)]
    pub(crate) write_docs: bool,

    /// Where heddle-proxy, heddle-control and heddle-identity are [default: beside this program]
    #[arg(long, env = "HEDDLE_BENCH_BIN_DIR", value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,

    /// Envoy's program [default: the one that `cargo xtask bench` installs below target/bench/venv]
    #[arg(long, env = "HEDDLE_BENCH_ENVOY", value_name = "FILE")]
    pub(crate) envoy: Option<PathBuf>,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    /// Our own sidecar.
    Heddle,
    /// Envoy.
    Envoy,
}

/// Numbers of connections, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Connections(pub(crate) Vec<u32>);

impl FromStr for Connections {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: std::result::Result<Vec<u32>, _> =
            text.split(',').map(|n| n.trim().parse::<u32>()).collect();
        let ascending = |numbers: &Vec<u32>| numbers.is_sorted_by(|a, b| a < b);
        match numbers {
            Ok(numbers)
                if ascending(&numbers) && numbers.iter().all(|n| (1..=4096).contains(n)) =>
            {
                Ok(Self(numbers))
            }
            _ => Err("give ascending numbers from 1 to 4096, such as 1,16,64".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn connections_ascend() {
        assert_eq!("1, 16,64".parse::<Connections>().unwrap().0, [1, 16, 64]);
        for wrong in ["", "0", "16,1", "1,1", "5000", "one"] {
            assert!(wrong.parse::<Connections>().is_err(), "{wrong}");
        }
    }
}
