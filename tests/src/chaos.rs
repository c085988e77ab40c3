//! What users of a mesh see while something goes wrong. One mesh with an application of three pods is
//! under steady load of three kinds; each scenario does one thing to it, and a row says what failed.
//! A row is good only if nothing failed but what the fault itself must show, if that has the right
//! response flag and is counted in the metrics as often as clients saw it, and if every stream lived
//! on except where its own pod went away.

pub mod act;
pub mod network;
pub mod row;
pub mod scenario;
pub mod table;
pub mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use self::row::Row;
pub use self::scenario::Scenario;
pub use self::world::World;
use crate::scrape::Scrape;
use crate::traffic::{Kind, Plan, Traffic};

/// Answers of each kind that prove that the load runs.
const STEADY: usize = 20;
/// Least time that is compared with the fault's.
const BEFORE: Duration = Duration::from_secs(2);

/// Does one thing to a mesh under load for so long, and says what came of it.
///
/// # Panics
/// When the mesh does not come to where the scenario wants it.
pub fn run(world: &World, scenario: Scenario, time: Duration) -> Row {
    scenario.prepare(world);
    let plan = plan(world, scenario);
    let began = Instant::now();
    let traffic = Traffic::start(&world.client_netns(), plan);
    traffic.more(STEADY, &Kind::ALL);
    let metrics_before = scrape(world);
    let before = Instant::now();
    std::thread::sleep((time / 4).max(BEFORE));

    let during = Instant::now();
    let mut done = act::act(world, scenario, time);
    let acted = Instant::now();
    // The load has come through it.
    traffic.more(STEADY, &Kind::ALL);
    let took = during.elapsed();
    let record = traffic.stop();
    // Now everything that was asked is answered, and counted.
    let counted = since(&metrics_before, &scrape(world));
    if scenario.bad_endpoint().is_some() {
        done.at_server = act::at_server(world);
    }
    world.restore();

    let far = Instant::now() + Duration::from_secs(1);
    for kind in Kind::ALL {
        let begin = record.between(kind, began, before);
        let failures = begin.failed.iter().chain(&begin.broken);
        let told = failures.map(|failure| format!("{kind}: as the load began: {failure}"));
        done.problems.extend(told);
    }
    let late = acted - (acted - during) / 3;
    let late = record.between(Kind::Http, late, acted).failed.len();
    if scenario.bad_endpoint().is_some() && late > 0 {
        done.problems.push(format!(
            "the bad endpoint is still asked in the last third of the time: {late} × failed"
        ));
    }
    let loads = |kind| {
        let (before, during) = (
            record.between(kind, before, during),
            record.between(kind, during, far),
        );
        (before, during)
    };
    Row::new(scenario, took, loads, counted, done)
}

fn plan(world: &World, scenario: Scenario) -> Plan {
    let echo = |port| (world.service("echo", port), format!("echo:{port}"));
    let http = match scenario.bad_endpoint() {
        None => echo(crate::echo::HTTP),
        Some(_) => (
            world.service("mixed", crate::echo::HTTP),
            format!("mixed:{}", crate::echo::HTTP),
        ),
    };
    Plan {
        http,
        grpc: echo(crate::echo::GRPC),
        websocket: echo(crate::echo::HTTP),
        clients: scenario::CLIENTS,
        // What reached a bad endpoint must not be repeated unless it is harmless.
        posts: scenario.bad_endpoint().is_none(),
        streams: 3,
        pace: Duration::from_millis(20),
        churn: Some(Duration::from_millis(250)),
    }
}

/// Failed requests by the flag with which the client's sidecar has counted them.
type Flags = BTreeMap<String, u64>;

/// By flag, and by status.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Requests by the response flag of the client's sidecar.
    pub flags: Flags,
    /// Requests by status.
    pub codes: Flags,
}

fn scrape(world: &World) -> Counted {
    let scrape = Scrape::of(world.client_ip()).expect("the client's sidecar has metrics");
    let by = |label| scrape.by("istio_requests_total", label, &[("reporter", "source")]);
    Counted {
        flags: by("response_flags"),
        codes: by("response_code"),
    }
}

/// What was counted from one moment until another.
fn since(before: &Counted, after: &Counted) -> Counted {
    let grown = |before: &Flags, after: &Flags| {
        let grown = after.iter().map(|(key, count)| {
            let before = before.get(key).copied().unwrap_or_default();
            (key.clone(), count.saturating_sub(before))
        });
        grown.filter(|(_, count)| *count > 0).collect()
    };
    Counted {
        flags: grown(&before.flags, &after.flags),
        codes: grown(&before.codes, &after.codes),
    }
}
