//! Every figure of a comparison, and the medians that are made of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::args::{Args, Only};
use crate::check::Work;
use crate::error::{Error, Result};
use crate::machine::Description;
use crate::measure::{MemorySample, QUIET, Sample};
use crate::peers::Peer;
use crate::statistics::Spread;

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Description,
    pub(crate) command: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) connections: Vec<u32>,
    pub(crate) works: Vec<Work>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) memory: Vec<MemorySample>,
}

/// Something measured under load.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) digits: usize,
    /// Whether a ratio above one is the better one.
    pub(crate) more_is_better: bool,
    pub(crate) of: fn(&Sample) -> f64,
}

/// In the order of tables and charts.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: "throughput",
        unit: "requests/s",
        digits: 0,
        more_is_better: true,
        of: |sample| sample.requests_per_second,
    },
    Metric {
        name: "latency, p50",
        unit: "µs",
        digits: 0,
        more_is_better: false,
        of: |sample| sample.p50_us,
    },
    Metric {
        name: "latency, p99",
        unit: "µs",
        digits: 0,
        more_is_better: false,
        of: |sample| sample.p99_us,
    },
    Metric {
        name: "CPU of both sidecars",
        unit: "µs/request",
        digits: 1,
        more_is_better: false,
        of: |sample| sample.client_cpu_us + sample.server_cpu_us,
    },
    Metric {
        name: "– the client's",
        unit: "µs/request",
        digits: 1,
        more_is_better: false,
        of: |sample| sample.client_cpu_us,
    },
    Metric {
        name: "– the server's",
        unit: "µs/request",
        digits: 1,
        more_is_better: false,
        of: |sample| sample.server_cpu_us,
    },
];

/// Something measured once a round.
pub(crate) struct MemoryMetric {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&MemorySample) -> f64,
}

const KIB_PER_MIB: f64 = 1024.0;

/// In the order of tables and charts, MiB.
pub(crate) const MEMORY: &[MemoryMetric] = &[
    MemoryMetric {
        name: "RSS, client's sidecar, idle",
        of: |sample| sample.client_idle.rss / KIB_PER_MIB,
    },
    MemoryMetric {
        name: "RSS, client's sidecar, after the load",
        of: |sample| sample.client_after.rss / KIB_PER_MIB,
    },
    MemoryMetric {
        name: "RSS, server's sidecar, idle",
        of: |sample| sample.server_idle.rss / KIB_PER_MIB,
    },
    MemoryMetric {
        name: "RSS, server's sidecar, after the load",
        of: |sample| sample.server_after.rss / KIB_PER_MIB,
    },
    MemoryMetric {
        name: "PSS, client's sidecar, after the load",
        of: |sample| sample.client_after.pss / KIB_PER_MIB,
    },
];

impl Report {
    pub(crate) fn new(args: &Args, machine: Description) -> Self {
        let connections: Vec<String> = args.connections.0.iter().map(u32::to_string).collect();
        let only = match args.only {
            None => "",
            Some(Only::Heddle) => " --only heddle",
            Some(Only::Envoy) => " --only envoy",
        };
        Self {
            machine,
            command: format!(
                "cargo xtask bench --rounds {} --seconds {} --connections {}{only}",
                args.rounds,
                args.seconds,
                connections.join(",")
            ),
            rounds: args.rounds,
            seconds: args.seconds,
            connections: args.connections.0.clone(),
            works: Vec::new(),
            samples: Vec::new(),
            memory: Vec::new(),
        }
    }

    /// A metric of a peer under a load, over all rounds.
    pub(crate) fn spread(&self, metric: &Metric, peer: Peer, connections: u32) -> Option<Spread> {
        let samples = self.samples.iter();
        let chosen = samples.filter(|s| s.peer == peer && s.connections == connections);
        Spread::of(chosen.map(metric.of))
    }

    /// Memory of a peer, over all rounds.
    pub(crate) fn memory(&self, metric: &MemoryMetric, peer: Peer) -> Option<Spread> {
        Spread::of(self.memory.iter().filter(|s| s.peer == peer).map(metric.of))
    }

    /// Share of the machine that others and the hypervisor took: median and spread of all samples.
    pub(crate) fn disturbance(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(Sample::disturbance))
    }

    /// How many measurements were made while others took much of the machine.
    pub(crate) fn disturbed(&self) -> usize {
        let samples = self.samples.iter();
        samples
            .filter(|sample| sample.disturbance() > QUIET)
            .count()
    }

    pub(crate) fn read_json(file: &Path) -> Result<Self> {
        let json = std::fs::read_to_string(file).map_err(Error::file("read", file))?;
        serde_json::from_str(&json).map_err(|error| Error::file("read", file)(error.into()))
    }

    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::file("write", file)(error.into()))?;
        std::fs::write(file, json + "\n").map_err(Error::file("write", file))
    }
}
