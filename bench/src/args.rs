//! The flags, checked.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

use crate::own::Own;
use crate::peers::Peer;

/// Compares Heddle's sidecar pair with others', and all with no sidecar at all.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  cargo xtask bench --rounds 5 --seconds 10 --write-docs\n\n\
                  It needs root, for network namespaces. Run it on a quiet machine: it says how much CPU \
                  others took."
)]
pub(crate) struct Args {
    /// Rounds of every peer, one after the other; the tables have their medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// Seconds of each measurement, after a warm-up of a quarter of it (at least one second)
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,

    /// Connections of the load generators of requests, smallest first
    #[arg(long, default_value = DEFAULT_CONNECTIONS, value_name = "N,N,…")]
    pub(crate) connections: Connections,

    /// Only these cases
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) case: Vec<String>,

    /// Only these peers, of those that a case has
    #[arg(long, value_name = "PEER,…", value_delimiter = ',')]
    pub(crate) peer: Vec<Peer>,

    /// Measure once, without waiting for a quiet moment, to try things: not for figures to be shown
    #[arg(long, conflicts_with = "write_docs")]
    pub(crate) once: bool,

    /// Say which cases there are
    #[arg(long)]
    pub(crate) list: bool,

    /// Write every figure to a file, after each case
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Measure nothing: show what `--json` wrote before. Of several files, the later has precedence
    #[arg(long, value_name = "FILE", conflicts_with_all = ["case", "peer"])]
    pub(crate) from: Vec<PathBuf>,

    /// Write benchmarks.md and its charts to a directory [default: the repository's docs]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true,
          default_missing_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
    pub(crate) write_docs: Option<PathBuf>,

    /// Where heddle-proxy, heddle-control and heddle-identity are [default: beside this program]
    #[arg(long, env = "HEDDLE_BENCH_BIN_DIR", value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,

    /// Envoy's program [default: the one that `cargo xtask bench` installs below target/bench/venv]
    #[arg(long, env = "HEDDLE_BENCH_ENVOY", value_name = "FILE")]
    pub(crate) envoy: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) own: Option<Own>,
}

impl Args {
    /// Whether this peer was asked for.
    pub(crate) fn wants(&self, peer: Peer) -> bool {
        self.peer.is_empty() || self.peer.contains(&peer)
    }

    /// What measures a case again.
    pub(crate) fn command(&self, case: &str) -> String {
        let connections: Vec<String> = self.connections.0.iter().map(u32::to_string).collect();
        let mut command = format!(
            "cargo xtask bench --case {case} --rounds {} --seconds {}",
            self.rounds, self.seconds
        );
        if connections.join(",") != DEFAULT_CONNECTIONS {
            command += &format!(" --connections {}", connections.join(","));
        }
        if self.once {
            command += " --once";
        }
        command
    }
}

const DEFAULT_CONNECTIONS: &str = "1,16,64";

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
