//! The load generator: wrk, one thread, keep-alive, closed loop (a connection sends its next request
//! when it has the answer to the one before).

use std::net::SocketAddr;
use std::process::Command;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::process;
use crate::programs::Programs;
use crate::world::{Place, World};

const SCRIPT: &str = include_str!("../app/report.lua");
const SCRIPT_FILE: &str = "report.lua";

/// What wrk measured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) duration_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    errors: u64,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / (self.duration_us / 1e6)
    }
}

/// Writes what wrk needs.
pub(crate) fn prepare(world: &World) -> Result<()> {
    let script = world.path(SCRIPT_FILE);
    std::fs::write(&script, SCRIPT).map_err(Error::file("write", script))
}

/// Sends requests from the client pod for some seconds. One failed request fails it all.
pub(crate) fn run(
    (world, programs): (&World, &Programs),
    peer: &'static str,
    user: u32,
    to: SocketAddr,
    connections: u32,
    seconds: u32,
) -> Result<Load> {
    let mut wrk = Command::new(&programs.wrk);
    wrk.args(["--threads", "1", "--timeout", "10s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg("--script")
        .arg(world.path(SCRIPT_FILE))
        .args(["--header", "Host: reviews:9080"])
        .arg(format!("http://{to}/reviews/0"));
    let said = process::run_in(Place::Client, user, &mut wrk)?;
    let not = |what: String| Error::Check { peer, what };
    let load = parse(&said).ok_or_else(|| not(format!("wrk gave no figures: {said}")))?;
    match load.errors {
        0 if load.requests > 0 => Ok(load),
        0 => Err(not("not one request was answered".into())),
        errors => Err(not(format!(
            "{errors} requests of {} failed under load",
            load.requests + errors
        ))),
    }
}

fn parse(said: &str) -> Option<Load> {
    let json = said.lines().find_map(|line| line.strip_prefix("result "))?;
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn figures_are_found_in_what_wrk_says() {
        let load = parse(
            "Running 1s test\n  5 requests in 1.00s\nresult {\"requests\":5,\"duration_us\":2000000,\
             \"p50_us\":10,\"p99_us\":20,\"max_us\":30,\"errors\":0}\n",
        )
        .unwrap();
        assert_eq!((load.requests, load.errors), (5, 0));
        assert_eq!(load.per_second(), 2.5);
        assert_eq!(parse("wrk: unable to connect"), None);
    }
}
