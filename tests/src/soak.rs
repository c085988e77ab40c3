//! A long time under steady mixed load, with edits, renewals and new connections all the while:
//! does anything grow that should not? Memory, file descriptors and tasks of every sidecar and server
//! are sampled, and each series is judged by its slope ([`verdict`]).

pub mod sample;
pub mod verdict;

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use self::sample::{Gauge, Sampler, Series};
pub use self::verdict::{Judgement, judge};
use crate::chaos::World;
use crate::echo::{GRPC, HTTP};
use crate::table::markdown;
use crate::traffic::{Kind, Plan, Tally, Traffic};

/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(5);
/// Edits in that time.
const EDITS: u32 = 2;
/// Part of the time in which caches and pools may fill.
pub const WARM_UP: f64 = 0.25;
/// How long pooled connections may stay after the load: a minute, and the sweep.
const SETTLE: Duration = Duration::from_secs(90);

const LOADS: [&str; 6] = [
    "load",
    "answered",
    "failed",
    "streams opened / moved / broken",
    "p50",
    "p99",
];
const GROWTH: [&str; 8] = [
    "process",
    "what",
    "after warm-up",
    "at the end",
    "growth",
    "allowed",
    "second half, per hour",
    "verdict",
];

/// What came of it.
pub struct Report {
    /// How long the load ran.
    pub took: Duration,
    /// Each series and its judgement.
    pub judged: Vec<(Series, Judgement)>,
    /// What each kind of load came to.
    pub loads: Vec<(Kind, Tally)>,
    /// What was still open after the load had ended, and was not before it began.
    pub left: Vec<String>,
}

/// The load of a soak.
pub fn plan(world: &World) -> Plan {
    let echo = |port| (world.service("echo", port), format!("echo:{port}"));
    Plan {
        http: echo(HTTP),
        grpc: echo(GRPC),
        websocket: echo(HTTP),
        clients: 6,
        posts: true,
        streams: 3,
        pace: Duration::from_millis(30),
        churn: Some(Duration::from_millis(500)),
    }
}

/// Runs for so long.
///
/// # Panics
/// When the mesh does not come up.
pub fn run(world: &World, time: Duration) -> Report {
    let mut sampler = Sampler::new(world);
    let before = idle(world, &sampler);

    let started = Instant::now();
    let traffic = Traffic::start(&world.client_netns(), plan(world));
    let mut edit = 0;
    while started.elapsed() < time {
        for _ in 0..EDITS {
            edit += 1;
            world.edit_route(edit);
            std::thread::sleep(SAMPLE / EDITS);
        }
        sampler.sample(started.elapsed());
    }
    let took = started.elapsed();
    let record = traffic.stop();
    let left = wait_for_pools(&sampler, &before, 0.0);
    let far = Instant::now();
    Report {
        took,
        judged: sampler
            .into_series()
            .into_iter()
            .map(|series| {
                let judgement = judge(&series, WARM_UP);
                (series, judgement)
            })
            .collect(),
        loads: Kind::ALL
            .map(|kind| (kind, record.between(kind, started, far)))
            .into(),
        left,
    }
}

/// What everything stands at when there is no load, but was some: every part has what it needs.
pub fn idle(world: &World, sampler: &Sampler) -> Vec<(String, Gauge, f64)> {
    let traffic = Traffic::start(&world.client_netns(), plan(world));
    traffic.more(50, &Kind::ALL);
    traffic.stop();
    let mut before = sampler.now();
    loop {
        // Connections under way end within moments; pooled ones may stay.
        std::thread::sleep(Duration::from_secs(2));
        let now = sampler.now();
        if sample::left(&now, &before, 0.0).is_empty() {
            return now;
        }
        before = now;
    }
}

/// Waits until no more is open than before (and this slack), and says what still is when it waited
/// in vain.
pub fn wait_for_pools(
    sampler: &Sampler,
    before: &[(String, Gauge, f64)],
    slack: f64,
) -> Vec<String> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let left = sample::left(before, &sampler.now(), slack);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

impl Report {
    /// Whether nothing grew, nothing was left and nothing failed.
    pub fn is_good(&self) -> bool {
        let grows = |(_, judgement): &(Series, Judgement)| judgement.grows();
        let failed = |(_, tally): &(Kind, Tally)| {
            !tally.failed.is_empty() || !tally.broken.is_empty() || tally.moved > 0
        };
        !self.judged.iter().any(grows) && self.left.is_empty() && !self.loads.iter().any(failed)
    }

    /// The report for people, in Markdown.
    pub fn table(&self) -> String {
        let mut loads = Vec::new();
        for (kind, tally) in &self.loads {
            let time = |share| {
                let time = tally.percentile(share).unwrap_or_default();
                format!("{:.1} ms", time.as_secs_f64() * 1000.0)
            };
            loads.push([
                kind.to_string(),
                tally.answered.to_string(),
                tally.failed.len().to_string(),
                format!(
                    "{} / {} / {}",
                    tally.opened,
                    tally.moved,
                    tally.broken.len()
                ),
                time(0.5),
                time(0.99),
            ]);
        }
        let mut grown = Vec::new();
        for (series, judgement) in &self.judged {
            let number = |value: f64| series.gauge.show(value);
            grown.push([
                series.process.clone(),
                series.gauge.to_string(),
                number(judgement.first),
                number(judgement.last),
                number(judgement.growth),
                number(judgement.allowed),
                number(judgement.late_growth_per_hour),
                if judgement.grows() { "GROWS" } else { "flat" }.to_owned(),
            ]);
        }
        let mut text = markdown(LOADS, &loads);
        text.push('\n');
        text.push_str(&markdown(GROWTH, &grown));
        for (kind, tally) in &self.loads {
            for failure in tally.failed.iter().chain(&tally.broken).take(5) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "\n{kind}: {failure}");
            }
        }
        for left in &self.left {
            let _ = writeln!(text, "\nleft after the load: {left}");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let series = self.judged.iter().map(|(series, judgement)| {
            json!({
                "process": series.process,
                "what": series.gauge.to_string(),
                "points": series.points,
                "growth": judgement.growth,
                "allowed": judgement.allowed,
                "grows": judgement.grows(),
            })
        });
        let loads = self.loads.iter().map(|(kind, tally)| {
            json!({
                "kind": kind.to_string(),
                "answered": tally.answered,
                "failed": tally.failed.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "streams_moved": tally.moved,
                "streams_broken": tally.broken.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        json!({
            "seconds": self.took.as_secs_f64(),
            "good": self.is_good(),
            "loads": loads.collect::<Vec<_>>(),
            "series": series.collect::<Vec<_>>(),
            "left": self.left,
        })
    }
}
