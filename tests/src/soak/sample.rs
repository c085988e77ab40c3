//! What every process of the mesh uses, now and over time: memory of its own, open descriptors, and
//! the tasks and connections that sidecars say they have.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use crate::chaos::World;
use crate::mesh::string;
use crate::scrape::Scrape;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// Anonymous resident memory, bytes: pages of the program's file are not its own.
    Memory,
    /// Open file descriptors.
    Descriptors,
    /// Tasks alive in its runtimes.
    Tasks,
}

impl Gauge {
    /// A number of it, for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Memory => format!("{:.2} MiB", value / f64::from(1 << 20)),
            _ => format!("{value:.1}"),
        }
    }

    /// What it may always grow by: an allocator's page here and there, a connection more in a pool.
    pub fn floor(self) -> f64 {
        match self {
            Self::Memory => 512.0 * 1024.0,
            Self::Descriptors | Self::Tasks => 4.0,
        }
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::Tasks => "tasks",
        })
    }
}

/// One gauge of one process over time.
#[derive(Debug, Clone)]
pub struct Series {
    /// Whose.
    pub process: String,
    /// What.
    pub gauge: Gauge,
    /// Seconds since the start, and the value.
    pub points: Vec<(f64, f64)>,
}

/// One process.
struct Process {
    name: String,
    pid: u64,
    /// Of a sidecar: where its metrics are.
    pod: Option<IpAddr>,
}

/// Looks at the processes of a mesh.
pub struct Sampler {
    processes: Vec<Process>,
    series: Vec<Series>,
}

impl Sampler {
    /// Every sidecar and every server of a mesh.
    ///
    /// # Panics
    /// When one of them does not run.
    pub fn new(world: &World) -> Self {
        let status = world.mesh.status();
        let parts = ["control_plane", "identity", "injector"].map(|part| Process {
            name: part.replace('_', " "),
            pid: status[part]["pid"].as_u64().expect("it runs"),
            pod: None,
        });
        let pods = world.pods("");
        let sidecars = pods.iter().enumerate().map(|(index, pod)| Process {
            name: match string(&pod["name"]) {
                client if client == "client" => "sidecar of the client".to_owned(),
                _ => format!("sidecar of server {index}"),
            },
            pid: pod["proxy_pid"].as_u64().expect("a sidecar runs"),
            pod: Some(string(&pod["ip"]).parse().expect("an IP")),
        });
        Self {
            processes: sidecars.chain(parts).collect(),
            series: Vec::new(),
        }
    }

    /// What everything stands at.
    pub fn now(&self) -> Vec<(String, Gauge, f64)> {
        let mut values = Vec::new();
        for process in &self.processes {
            let mut add = |gauge, value| values.push((process.name.clone(), gauge, value));
            add(Gauge::Memory, memory(process.pid));
            add(Gauge::Descriptors, descriptors(process.pid));
            if let Some(pod) = process.pod {
                let scrape = Scrape::of(pod).expect("a sidecar has metrics");
                add(Gauge::Tasks, scrape.sum("heddle_tasks", &[]));
            }
        }
        values
    }

    /// Takes a sample.
    pub fn sample(&mut self, at: Duration) {
        for (process, gauge, value) in self.now() {
            let known = self
                .series
                .iter_mut()
                .find(|series| series.process == process && series.gauge == gauge);
            let point = (at.as_secs_f64(), value);
            match known {
                Some(series) => series.points.push(point),
                None => self.series.push(Series {
                    process,
                    gauge,
                    points: vec![point],
                }),
            }
        }
    }

    /// All that was sampled.
    pub fn into_series(self) -> Vec<Series> {
        self.series
    }
}

/// Descriptors and tasks of which there are more than before, by more than `slack`.
pub fn left(
    before: &[(String, Gauge, f64)],
    now: &[(String, Gauge, f64)],
    slack: f64,
) -> Vec<String> {
    let countable = now.iter().filter(|(_, gauge, _)| *gauge != Gauge::Memory);
    let more = countable.filter_map(|(process, gauge, value)| {
        let (_, _, before) = before.iter().find(|(p, g, _)| p == process && g == gauge)?;
        (*value > before + slack)
            .then(|| format!("{gauge} of {process}: {value}, before it {before}"))
    });
    more.collect()
}

fn memory(pid: u64) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.expect("Linux says so") * 1024.0
}

fn descriptors(pid: u64) -> f64 {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs, and we are root");
    open.count() as f64
}
