//! How the cost of a request grows with the routes of its Service, and with what the control plane
//! knows besides: it should not. One set of sidecars is told one size after the other, so that what
//! differs is the size alone.

mod manifests;

use std::time::{Duration, Instant};

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::error::{Error, Result};
use crate::figure::Measure;
use crate::http::Connection;
use crate::load::{Ground, wrk};
use crate::peers::{Peer, envoy, heddle};
use crate::stage::Stage;
use crate::stop;
use crate::world::Place;

/// Of the load.
const CONNECTIONS: u32 = 16;
/// Routes of the one Service that is called.
const ROUTES: [usize; 3] = [10, 1_000, 10_000];
/// Endpoints of other Services, ten each.
const ENDPOINTS: [usize; 3] = [10, 1_000, 100_000];
/// What a request may cost more than with the smallest.
const FLAT: f64 = 1.05;
/// For the control plane to read it all, and the sidecar to have what it needs of it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Growth;

/// What the control plane is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    routes: usize,
    endpoints: usize,
}

impl Case for Growth {
    fn name(&self) -> &'static str {
        "growth"
    }

    fn title(&self) -> &'static str {
        "Growth"
    }

    fn about(&self) -> String {
        format!(
            "HTTP/1.1, {CONNECTIONS} connections, by wrk. Routes: the rules of one VirtualService, half of them \
             with the request's own path prefix and another value of a header that it has, half with another \
             prefix; the request matches the last one alone. Endpoints: of other Services that the \
             control plane knows, while the client uses one Service with two. Nothing is restarted between \
             sizes, whose order changes from round to round."
        )
    }

    fn setups(&self) -> Vec<Setup> {
        vec![Setup::new(Traffic::Http1, App::Nginx)]
    }

    fn peers(&self) -> Vec<Peer> {
        vec![Peer::Heddle, Peer::Envoy]
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        for routes in in_turn(ROUTES, stage.round) {
            let size = Size {
                routes,
                endpoints: 0,
            };
            let smallest = format!("{} routes", ROUTES[0]);
            one(stage, size, &format!("{routes} routes"), &smallest)?;
        }
        if stage.peer != Peer::Heddle {
            // It has no control plane here.
            return Ok(());
        }
        for endpoints in in_turn(ENDPOINTS, stage.round) {
            let size = Size {
                routes: ROUTES[0],
                endpoints,
            };
            let smallest = format!("{} endpoints", ENDPOINTS[0]);
            one(stage, size, &format!("{endpoints} endpoints"), &smallest)?;
        }
        Ok(())
    }
}

/// Every size is first once in so many rounds as there are.
fn in_turn<const N: usize>(mut sizes: [usize; N], round: u32) -> [usize; N] {
    sizes.rotate_left((round as usize + N - 1) % N);
    sizes
}

fn one(stage: &mut Stage<'_>, size: Size, at: &str, smallest: &str) -> Result<()> {
    let world = stage.tools.world;
    match stage.peer {
        Peer::Envoy => envoy::replace_routes(world, &manifests::envoy(size))?,
        _ => heddle::replace_routes(world, &manifests::all(size))?,
    }
    let headers = manifests::headers(size);
    until_answered(stage.ground(), &headers)?;
    let (load, spent) =
        stage.load(|ground, seconds| wrk::run_with(ground, CONNECTIONS, seconds, &headers))?;
    let cpu = Measure::less("CPU of both sidecars", "µs/request").at(at);
    let cpu = match at == smallest {
        true => cpu,
        false => cpu.aim_at(FLAT, smallest),
    };
    stage.record(cpu, spent.sidecars() * 1e6 / load.requests as f64);
    Ok(())
}

/// Waits until the last rule of the new table is in force.
fn until_answered(at: Ground<'_>, headers: &[String]) -> Result<()> {
    const POLL: Duration = Duration::from_millis(50);
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut connection = Connection::open(Place::Client, at.target(), heddle::FIRST_ANSWER)?;
        let answer = connection.get("/reviews/0", "reviews:9080", &headers)?;
        match answer.status {
            200 if answer.body.starts_with("v2 ") => return Ok(()),
            status if Instant::now() > deadline => {
                let seconds = PATIENCE.as_secs();
                return Err(Error::Unable(format!(
                    "after {seconds} s a request that only the last rule matches still meets status {status}"
                )));
            }
            _ => stop::sleep(POLL)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_first_in_its_turn() {
        let first: Vec<usize> = (1..=3).map(|round| in_turn(ROUTES, round)[0]).collect();
        assert_eq!(first, [10, 1_000, 10_000]);
    }
}
