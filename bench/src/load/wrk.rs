//! wrk: HTTP/1.1, one thread, keep-alive, closed loop (a connection sends its next request when it has
//! the answer to the one before).

use std::process::Command;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::load::{Ground, Requests};
use crate::world::World;

const SCRIPT: &str = include_str!("../../app/report.lua");
const SCRIPT_FILE: &str = "report.lua";

#[derive(Debug, Deserialize)]
struct Said {
    requests: u64,
    duration_us: f64,
    p50_us: f64,
    p99_us: f64,
    errors: u64,
}

/// Sends requests from the client pod for some seconds.
pub(crate) fn run(at: Ground<'_>, connections: u32, seconds: u32) -> Result<Requests> {
    run_with(at, connections, seconds, &[])
}

/// The same, with more headers.
pub(crate) fn run_with(
    at: Ground<'_>,
    connections: u32,
    seconds: u32,
    headers: &[String],
) -> Result<Requests> {
    let mut wrk = Command::new(&at.tools.programs.wrk);
    wrk.args(["--threads", "1", "--timeout", "10s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg("--script")
        .arg(script(at.tools.world)?)
        .args(["--header", "Host: reviews:9080"])
        .args(headers.iter().flat_map(|header| ["--header", header]))
        .arg(format!("http://{}/reviews/0", at.target()));
    let said = at.run(&mut wrk)?;
    let load = parse(&said).ok_or_else(|| at.not(format!("wrk gave no figures: {said}")))?;
    match load.errors {
        0 if load.requests > 0 => Ok(Requests {
            requests: load.requests,
            seconds: load.duration_us / 1e6,
            p50_us: load.p50_us,
            p99_us: load.p99_us,
        }),
        0 => Err(at.not("not one request was answered".into())),
        errors => Err(at.not(format!(
            "{errors} requests of {} failed under load",
            load.requests + errors
        ))),
    }
}

fn script(world: &World) -> Result<std::path::PathBuf> {
    let script = world.path(SCRIPT_FILE);
    if !script.exists() {
        std::fs::write(&script, SCRIPT).map_err(Error::file("write", &script))?;
    }
    Ok(script)
}

fn parse(said: &str) -> Option<Said> {
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
        assert!(parse("wrk: unable to connect").is_none());
    }
}
