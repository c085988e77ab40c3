//! Does what a scenario says, for as long as it is told, and undoes what stays.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::network::{BadLink, Shaped};
use super::world::PODS;
use super::{Scenario, World};
use crate::mesh::string;
use crate::scrape::Scrape;
use crate::wait;

/// Edits of a route.
const EDITS: u32 = 200;
/// Of what is pushed for them, however slow the machine.
const LEAST_VERSIONS: u64 = 10;
/// Between looks at certificates.
const LOOK: Duration = Duration::from_millis(250);
/// A bad endpoint times out (1.5 s) three times within some 3 s; what was asked of it just before it is
/// left out fails 1.5 s later. The last third of this is after that.
const FOUND_OUT: Duration = Duration::from_secs(9);
/// How long a rotation may take on a busy machine.
const ROTATION: Duration = Duration::from_secs(120);

/// Enough for every sidecar's next renewal.
const AFTER_ROTATION: Duration = Duration::from_secs(8);

/// What else is known of it afterwards.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// For the reader of the row.
    pub notes: Vec<String>,
    /// What was to happen and did not.
    pub problems: Vec<String>,
    /// Requests by response flag, as the bad endpoint's sidecar has counted them.
    pub at_server: BTreeMap<String, u64>,
}

/// Does it.
pub(super) fn act(world: &World, scenario: Scenario, time: Duration) -> Done {
    let mut done = Done::default();
    match scenario {
        Scenario::RollingRestart => {
            let until = Instant::now() + time;
            let mut times = 0;
            while times == 0 || Instant::now() < until {
                world.restart_echo();
                times += 1;
            }
            done.notes
                .push(format!("all {PODS} pods replaced {times} ×"));
        }
        Scenario::Scale => {
            for pods in [1, 5, PODS] {
                world.scale_echo(pods);
                sleep(time / 4);
            }
        }
        Scenario::RouteEdits => {
            let version = |status: &Value| status["model_version"].as_u64().unwrap_or(0);
            let before = version(&world.mesh.status());
            for edit in 1..=EDITS {
                world.edit_route(edit as usize);
                sleep(time / EDITS);
            }
            world.mesh.settled();
            let status = world.mesh.status();
            let refused = status["refused"].as_array().into_iter().flatten();
            let refused = refused.filter(|refused| refused["name"] == "echo");
            let refused: Vec<String> = refused.map(|r| format!("refused: {r}")).collect();
            done.problems.extend(refused);
            // Edits that come faster than they are read are read together.
            let versions = version(&status).saturating_sub(before);
            done.notes
                .push(format!("{versions} versions of the mesh were pushed"));
            if versions < LEAST_VERSIONS {
                done.problems.push("hardly an edit was noticed".into());
            }
        }
        Scenario::ControlPlaneKilled => without(world, "control_plane", "control-plane", time),
        Scenario::IdentityKilled => without(world, "identity", "identity", time),
        Scenario::BadNetwork => {
            let shaped = Shaped::start(
                world,
                BadLink {
                    loss: 0.05,
                    delay: Duration::from_millis(50),
                },
            );
            sleep(time);
            done.notes.push(shaped.how());
        }
        Scenario::EndpointStalls
        | Scenario::EndpointStallsRetried
        | Scenario::EndpointResets
        | Scenario::EndpointResetsRetried => {
            if let Some(behaviour) = scenario.bad_endpoint() {
                world.add_odd(behaviour);
            }
            sleep(time.max(FOUND_OUT));
        }
        Scenario::Renewal => renewals(world, time, &mut done),
        Scenario::RootRotation => rotate(world, &mut done),
    }
    done
}

/// Kills a part of the mesh and keeps it away.
fn without(world: &World, part: &str, command: &str, time: Duration) {
    let pid = world.mesh.status()[part]["pid"].as_i64();
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    world.mesh.ok(&["system", "stop", command]);
    sleep(time);
    assert_ne!(world.mesh.status()[part]["ready"], true, "{part} is there");
    world.mesh.ok(&["system", "start", command]);
    world.mesh.settled();
}

/// What the bad endpoint's sidecar has counted.
pub(super) fn at_server(world: &World) -> BTreeMap<String, u64> {
    let scrape = Scrape::of(world.odd_ip()).expect("the bad endpoint's sidecar has metrics");
    let server = [("reporter", "destination")];
    let mut flags = scrape.by("istio_requests_total", "response_flags", &server);
    flags.retain(|_, count| *count > 0);
    flags
}

/// Every pod's certificate, by the moment at which it ends.
fn certificates(world: &World) -> BTreeMap<String, String> {
    let status = world.mesh.status();
    let pods = status["pods"].as_array().cloned().unwrap_or_default();
    let pods = pods
        .iter()
        .filter(|pod| pod["certificate_expiry"].is_string());
    pods.map(|pod| (string(&pod["name"]), string(&pod["certificate_expiry"])))
        .collect()
}

fn renewals(world: &World, time: Duration, done: &mut Done) {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let started = Instant::now();
    // However short the time is, everyone renews in it.
    let everyone = |seen: &BTreeMap<String, BTreeSet<String>>| seen.values().all(|s| s.len() > 1);
    while started.elapsed() < time || (!everyone(&seen) && started.elapsed() < ROTATION) {
        for (pod, expiry) in certificates(world) {
            seen.entry(pod).or_default().insert(expiry);
        }
        sleep(LOOK);
    }
    let renewals: Vec<usize> = seen.values().map(|seen| seen.len() - 1).collect();
    let (least, most) = (renewals.iter().min(), renewals.iter().max());
    let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
    done.notes.push(format!(
        "every one of {} sidecars renewed {least} to {most} ×",
        renewals.len()
    ));
    if least == 0 {
        done.problems
            .push("a sidecar has not renewed its certificate".into());
    }
}

/// The new root is announced beside the old one, then it signs, then the old one is dropped: at each
/// of these there are sidecars that are a step behind.
fn rotate(world: &World, done: &mut Done) {
    let started = Instant::now();
    let roots = || {
        let state = string(&world.mesh.status()["state_dir"]);
        let bundle = std::fs::read_to_string(format!("{state}/root-cert.pem"));
        let bundle = bundle.expect("the mesh has a trust bundle");
        let roots = bundle.split("-----BEGIN CERTIFICATE-----").skip(1);
        roots.map(|root| root.trim().to_owned()).collect::<Vec<_>>()
    };
    let before = roots();
    world.mesh.ok(&["system", "rotate-root"]);
    wait::until("the new root is announced", ROTATION, || {
        roots().len() > before.len()
    });
    wait::until("the new root signs", ROTATION, || {
        roots().first() != before.first()
    });
    let signs = started.elapsed();
    // The first renewal can have begun before.
    for _ in 0..2 {
        let old = certificates(world);
        wait::until("every sidecar has another certificate", ROTATION, || {
            let now = certificates(world);
            old.iter()
                .all(|(pod, expiry)| now.get(pod).is_some_and(|now| now != expiry))
        });
    }
    world.mesh.ok(&["system", "drop-root"]);
    wait::until("the old root is dropped", ROTATION, || {
        let roots = roots();
        roots.len() == 1 && roots.first() != before.first()
    });
    // New certificates and new connections under the new root alone.
    sleep(AFTER_ROTATION);
    done.notes.push(format!(
        "the new root signs after {:.0} s, the old one is gone after {:.0} s",
        signs.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
}
