//! The rounds: every peer after the other, so that what changes on the machine meanwhile meets all of
//! them. In each: redirect, fresh sidecars, proof of the same work, then the load.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::certificates::Certificates;
use crate::check;
use crate::error::Result;
use crate::load;
use crate::machine;
use crate::peers::{self, Peer, Sidecars, target};
use crate::process::Process;
use crate::programs::Programs;
use crate::report::Report;
use crate::stop;
use crate::usage::{self, Machine, Memory};
use crate::visitor::Visitors;
use crate::world::{APP_USER, SIDECAR_USER, World};

/// One peer under one load in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    pub(crate) connections: u32,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU of the client's sidecar for one request; of the servers'; of the applications; of wrk.
    pub(crate) client_cpu_us: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) app_cpu_us: f64,
    pub(crate) load_cpu_us: f64,
    /// Share of the whole machine that others took meanwhile, and that its hypervisor took.
    pub(crate) others: f64,
    pub(crate) stolen: f64,
}

impl Sample {
    /// What was not ours.
    pub(crate) fn disturbance(&self) -> f64 {
        self.others + self.stolen
    }
}

/// Memory of a peer's sidecars in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemorySample {
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    /// Ready, before its first request.
    pub(crate) client_idle: Memory,
    pub(crate) server_idle: Memory,
    /// After the last load, its connections closed.
    pub(crate) client_after: Memory,
    pub(crate) server_after: Memory,
}

/// Runs every round.
pub(crate) fn all(args: &Args, programs: &Programs, world: &World) -> Result<Report> {
    let tools = (world, programs);
    load::prepare(world)?;
    let certificates = Certificates::new(world, "authority")?;
    let visitors = Visitors::new(world, &certificates)?;
    let mut report = Report::new(args, machine::describe(programs));
    let mut apps = peers::applications(tools)?;
    for round in 1..=args.rounds {
        for peer in Peer::wanted(args) {
            println!("round {round} of {}: {}", args.rounds, peer.name());
            peers::redirect(programs, peer)?;
            let mut sidecars = Sidecars::start(peer, tools, &certificates)?;
            let idle = sidecars.as_ref().map(memory).transpose()?;
            if sidecars.is_some() {
                let work = check::same_work(peer, round, &visitors)?;
                println!(
                    "  same work: {} of 100 with the header and {} of 1000 without to v2; {}, {}; clear \
                     text and strangers refused, every request counted",
                    work.premium_v2,
                    work.plain_v2,
                    work.wire.suite_name(),
                    work.wire.group_name()
                );
                report.works.push(work);
            }
            for &connections in &args.connections.0 {
                let at = (peer, round, connections);
                let sample = quietest(|| {
                    let sample = sample(tools, at, args.seconds, sidecars.as_ref(), &apps)?;
                    println!("  {}", line(&sample));
                    Ok(sample)
                })?;
                report.samples.push(sample);
            }
            if let (Some(sidecars), Some((client_idle, server_idle))) = (&mut sidecars, idle) {
                sidecars.alive()?;
                let (client_after, server_after) = memory(sidecars)?;
                report.memory.push(MemorySample {
                    peer,
                    round,
                    client_idle,
                    server_idle,
                    client_after,
                    server_after,
                });
            }
        }
        apps.iter_mut().try_for_each(Process::alive)?;
    }
    Ok(report)
}

/// Of a machine that runs nothing else, ksoftirqd and the like take 1 to 5 %.
pub(crate) const QUIET: f64 = 0.1;

/// Measures again while others take much of the machine; the quietest measurement counts. What is
/// measured has no say in it.
fn quietest(mut measure: impl FnMut() -> Result<Sample>) -> Result<Sample> {
    const ATTEMPTS: usize = 3;
    settle()?;
    let mut best = measure()?;
    for _ in 1..ATTEMPTS {
        if best.disturbance() <= QUIET {
            break;
        }
        settle()?;
        let again = measure()?;
        if again.disturbance() < best.disturbance() {
            best = again;
        }
    }
    Ok(best)
}

/// Waits for a quiet moment, but not for ever: on a busy machine the figures come with a warning.
fn settle() -> Result<()> {
    const LOOK: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(20);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let before = Machine::now()?;
        stop::sleep(LOOK)?;
        let seen = Machine::now()?.since(before);
        // Nothing of ours is at work now.
        let busy = (seen.busy + seen.stolen).as_secs_f64();
        if busy <= QUIET * seen.total.as_secs_f64() {
            break;
        }
    }
    Ok(())
}

fn line(sample: &Sample) -> String {
    format!(
        "{:>3} connections: {:>7.0} requests/s, p50 {:>6.0} µs, p99 {:>6.0} µs, sidecars {:>6.1} µs CPU a \
         request; others took {:.0} % of the machine",
        sample.connections,
        sample.requests_per_second,
        sample.p50_us,
        sample.p99_us,
        sample.client_cpu_us + sample.server_cpu_us,
        100.0 * sample.disturbance(),
    )
}

/// The client's sidecar, and the busier server's: v1 gets nine tenths.
fn memory(sidecars: &Sidecars) -> Result<(Memory, Memory)> {
    let client = usage::memory(sidecars.client.pid())?;
    let servers: Result<Vec<Memory>> = sidecars
        .servers
        .iter()
        .map(|server| usage::memory(server.pid()))
        .collect();
    let server = servers?.into_iter().max_by(|a, b| a.rss.total_cmp(&b.rss));
    Ok((client, server.unwrap_or(client)))
}

fn sample(
    tools: (&World, &Programs),
    (peer, round, connections): (Peer, u32, u32),
    seconds: u32,
    sidecars: Option<&Sidecars>,
    apps: &[Process],
) -> Result<Sample> {
    // Without a sidecar nothing may be redirected: the rules let the sidecars' user through.
    let user = if peer == Peer::Direct {
        SIDECAR_USER
    } else {
        APP_USER
    };
    let run = |seconds| load::run(tools, peer.name(), user, target(peer), connections, seconds);
    let cpu = |processes: &[Process]| {
        let used = processes.iter().map(|process| usage::cpu(process.pid()));
        used.map(|used| used.map(|time| time.as_secs_f64()))
            .sum::<Result<f64>>()
    };
    let used = || -> Result<[f64; 4]> {
        let (client, servers) = match sidecars {
            None => (0.0, 0.0),
            Some(sidecars) => (
                usage::cpu(sidecars.client.pid())?.as_secs_f64(),
                cpu(&sidecars.servers)?,
            ),
        };
        Ok([client, servers, cpu(apps)?, usage::children().as_secs_f64()])
    };
    run((seconds / 4).max(1))?;
    let (machine, before) = (Machine::now()?, used()?);
    let load = run(seconds)?;
    let (machine, after) = (Machine::now()?.since(machine), used()?);

    let spent: Vec<f64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    let each = |index: usize| spent[index] * 1e6 / load.requests as f64;
    let total = machine.total.as_secs_f64().max(f64::MIN_POSITIVE);
    let ours: f64 = spent.iter().sum();
    Ok(Sample {
        peer,
        round,
        connections,
        requests: load.requests,
        requests_per_second: load.per_second(),
        p50_us: load.p50_us,
        p99_us: load.p99_us,
        client_cpu_us: each(0),
        server_cpu_us: each(1),
        app_cpu_us: each(2),
        load_cpu_us: each(3),
        others: ((machine.busy.as_secs_f64() - ours) / total).max(0.0),
        stolen: machine.stolen.as_secs_f64() / total,
    })
}
