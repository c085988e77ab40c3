//! Does what a scenario says, for as long as it is told, and undoes what stays.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::network::{BadLink, Shaped};
use super::world::PODS;
use super::{Scenario, World};
use crate::mesh::string;
use crate::scrape::Scrape;
use crate::wait;

/// Edits of a route.
const EDITS: u32 = 200;
/// Between looks at certificates.
const LOOK: Duration = Duration::from_millis(250);
/// How long a rotation may take on a busy machine.
const ROTATION: Duration = Duration::from_secs(120);

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
            for edit in 1..=EDITS {
                world.edit_route(edit as usize);
                sleep(time / EDITS);
            }
            world.mesh.settled();
            let refused = &world.mesh.status()["refused"];
            if refused
                .as_array()
                .is_some_and(|refused| !refused.is_empty())
            {
                done.problems.push(format!("refused: {refused}"));
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
            sleep(time);
            done.at_server = at_server(world);
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
    world.mesh.ok(&["system", "start", command]);
    world.mesh.settled();
}

/// What the bad endpoint's sidecar has counted.
fn at_server(world: &World) -> BTreeMap<String, u64> {
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
    let until = Instant::now() + time;
    while Instant::now() < until {
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

fn rotate(world: &World, done: &mut Done) {
    let bundle = || {
        let state = string(&world.mesh.status()["state_dir"]);
        let bundle = std::fs::read_to_string(format!("{state}/root-cert.pem"));
        bundle.expect("the mesh has a trust bundle")
    };
    let old = bundle();
    world.mesh.ok(&["system", "rotate-root"]);
    wait::until("the new root is announced", ROTATION, || bundle() != old);
    done.notes.push("rotated".into());
}
