//! One peer in one round of one case: its fresh sidecars and applications, the loads put on them, what
//! those cost, and the figures that are recorded.

use crate::args::Args;
use crate::error::Result;
use crate::figure::{Figure, Measure};
use crate::load::{Ground, Requests};
use crate::peers::{Peer, Sidecars, Tools};
use crate::process::Process;
use crate::quiet::{Disturbance, Patience, quietest};
use crate::usage::{self, Machine, Memory};

/// Where a case measures.
pub(crate) struct Stage<'a> {
    pub(crate) tools: Tools<'a>,
    pub(crate) args: &'a Args,
    pub(crate) case: &'static str,
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    /// None for [`Peer::Direct`].
    pub(crate) sidecars: Option<Sidecars>,
    pub(crate) apps: Vec<Process>,
    /// What has been recorded.
    pub(crate) figures: Vec<(Measure, Figure)>,
    pub(crate) disturbances: Vec<Disturbance>,
}

/// CPU time that a load took, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spent {
    /// The client's sidecar; the servers'; what serves the sidecars (control plane, collector); the
    /// applications; the load generator.
    pub(crate) client: f64,
    pub(crate) servers: f64,
    pub(crate) helpers: f64,
    pub(crate) apps: f64,
    pub(crate) load: f64,
}

impl Spent {
    /// Of both sidecars.
    pub(crate) fn sidecars(&self) -> f64 {
        self.client + self.servers
    }

    fn since(&self, then: &Self) -> Self {
        Self {
            client: self.client - then.client,
            servers: self.servers - then.servers,
            helpers: self.helpers - then.helpers,
            apps: self.apps - then.apps,
            load: self.load - then.load,
        }
    }

    fn all(&self) -> f64 {
        self.sidecars() + self.helpers + self.apps + self.load
    }
}

/// Ratios aimed at for requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Aims {
    /// Of Envoy's requests per second, at least.
    pub(crate) throughput: Option<f64>,
    /// Of Envoy's p50 and p99, at most.
    pub(crate) latency: Option<f64>,
    /// Of Envoy's CPU for a request, at most.
    pub(crate) cpu: Option<f64>,
    /// Of the bare relay's CPU for a request, at most.
    pub(crate) cpu_of_relay: Option<f64>,
}

impl Stage<'_> {
    /// Where load generators stand.
    pub(crate) fn ground(&self) -> Ground<'_> {
        Ground {
            tools: self.tools,
            peer: self.peer,
        }
    }

    /// The numbers of connections that were asked for.
    pub(crate) fn connections(&self) -> Vec<u32> {
        self.args.connections.0.clone()
    }

    /// Runs a load for the seconds that were asked for, after a warm-up of a quarter of it: what it
    /// said, and what it cost. Made again when others were at work meanwhile, so `run` may be called
    /// several times.
    pub(crate) fn load<T>(
        &mut self,
        mut run: impl FnMut(Ground<'_>, u32) -> Result<T>,
    ) -> Result<(T, Spent)> {
        let seconds = self.args.seconds;
        let patience = match self.args.once {
            true => Patience::None,
            false => Patience::Wait,
        };
        let measured = quietest(patience, || {
            run(self.ground(), (seconds / 4).max(1))?;
            let (machine, before) = (Machine::now()?, self.spent()?);
            let said = run(self.ground(), seconds)?;
            let (machine, after) = (Machine::now()?.since(machine), self.spent()?);
            let spent = after.since(&before);
            let total = machine.total.as_secs_f64().max(f64::MIN_POSITIVE);
            let disturbance = Disturbance {
                peer: self.peer,
                round: self.round,
                others: ((machine.busy.as_secs_f64() - spent.all()) / total).max(0.0),
                stolen: machine.stolen.as_secs_f64() / total,
            };
            Ok(((said, spent), disturbance))
        });
        let (measured, disturbance) = measured?;
        self.disturbances.push(disturbance);
        if let Some(sidecars) = &mut self.sidecars {
            sidecars.alive()?;
        }
        Ok(measured)
    }

    /// CPU time that everything of ours has used until now.
    fn spent(&self) -> Result<Spent> {
        let cpu = |processes: &[Process]| {
            let used = processes.iter().map(|process| usage::cpu(process.pid()));
            used.map(|used| used.map(|time| time.as_secs_f64()))
                .sum::<Result<f64>>()
        };
        let (client, servers, helpers) = match &self.sidecars {
            None => (0.0, 0.0, 0.0),
            Some(sidecars) => (
                usage::cpu(sidecars.client.pid())?.as_secs_f64(),
                cpu(&sidecars.servers)?,
                cpu(&sidecars.helpers)?,
            ),
        };
        Ok(Spent {
            client,
            servers,
            helpers,
            apps: cpu(&self.apps)?,
            load: usage::children().as_secs_f64(),
        })
    }

    /// Records a figure of this peer in this round.
    pub(crate) fn record(&mut self, measure: Measure, value: f64) {
        println!(
            "  {:<42} {:>12.*} {}",
            [&measure.what, " ", &measure.at].concat(),
            measure.digits,
            value,
            measure.unit
        );
        let figure = Figure {
            case: self.case.to_owned(),
            peer: self.peer,
            round: self.round,
            what: measure.what.clone(),
            at: measure.at.clone(),
            unit: measure.unit.clone(),
            value,
        };
        self.figures.push((measure, figure));
    }

    /// Records throughput, latency and, of sidecars, CPU for a request.
    pub(crate) fn record_requests(&mut self, at: &str, load: &Requests, spent: &Spent, aims: Aims) {
        let aimed = |measure: Measure, aim: Option<f64>| match aim {
            Some(times) => measure.at(at).aim(times, Peer::Envoy),
            None => measure.at(at),
        };
        let less = |what: &str, unit: &str, aim| aimed(Measure::less(what, unit), aim);
        let throughput = aimed(Measure::more("throughput", "requests/s"), aims.throughput);
        self.record(throughput.digits(0), load.per_second());
        self.record(
            less("latency, p50", "µs", aims.latency).digits(0),
            load.p50_us,
        );
        self.record(
            less("latency, p99", "µs", aims.latency).digits(0),
            load.p99_us,
        );
        if self.sidecars.is_some() {
            let each = |seconds: f64| seconds * 1e6 / load.requests as f64;
            let mut both = less("CPU of both sidecars", "µs/request", aims.cpu);
            if let Some(times) = aims.cpu_of_relay {
                both = both.aim(times, Peer::Relay);
            }
            self.record(both, each(spent.sidecars()));
            let alone = |what| less(what, "µs/request", None).uncharted();
            self.record(alone("– the client's"), each(spent.client));
            self.record(alone("– the servers'"), each(spent.servers));
        }
    }

    /// Memory now: the client's sidecar, and the busiest server's. None without sidecars.
    pub(crate) fn memory(&self) -> Result<Option<(Memory, Memory)>> {
        let Some(sidecars) = &self.sidecars else {
            return Ok(None);
        };
        let client = usage::memory(sidecars.client.pid())?;
        let servers: Result<Vec<Memory>> = sidecars
            .servers
            .iter()
            .map(|server| usage::memory(server.pid()))
            .collect();
        let server = servers?
            .into_iter()
            .max_by(|a, b| a.rss.total_cmp(&b.rss))
            .unwrap_or(client);
        Ok(Some((client, server)))
    }

    /// Records the memory of the client's sidecar and of the busiest server's, now; `aim` is at most
    /// so many times Envoy's.
    pub(crate) fn record_memory(&mut self, at: &str, aim: f64) -> Result<()> {
        const KIB_PER_MIB: f64 = 1024.0;
        if let Some((client, server)) = self.memory()? {
            for (whose, memory) in [("client's", client), ("server's", server)] {
                let rss = Measure::less(&format!("RSS, {whose} sidecar"), "MiB").at(at);
                self.record(rss.aim(aim, Peer::Envoy), memory.rss / KIB_PER_MIB);
                let pss = Measure::less(&format!("PSS, {whose} sidecar"), "MiB").at(at);
                self.record(pss.uncharted(), memory.pss / KIB_PER_MIB);
            }
        }
        Ok(())
    }
}
