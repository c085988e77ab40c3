//! Load generators: programs that a package provides, and hidden ones of this program. Each runs in the
//! client pod to its end and says what it saw; one failed request fails its measurement.

pub(crate) mod certificates;
pub(crate) mod connections;
pub(crate) mod h2load;
pub(crate) mod idle;
pub(crate) mod iperf3;
mod latency;
pub(crate) mod streams;
pub(crate) mod wrk;

use std::net::SocketAddr;
use std::process::Command;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::peers::{Peer, Tools, target};
use crate::process::{self, Process};
use crate::programs::for_anybody;
use crate::world::{APP_USER, Place, SIDECAR_USER};

/// Requests that were all answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Requests {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Requests {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// So many connections, in words.
pub(crate) fn named(connections: u32) -> String {
    match connections {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    }
}

/// Where a load generator stands.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) tools: Tools<'a>,
    pub(crate) peer: Peer,
}

impl Ground<'_> {
    /// What to connect to: the Service, or straight a pod when there is no sidecar to choose one.
    pub(crate) fn target(self) -> SocketAddr {
        target(self.peer)
    }

    /// Who load generators run as. Without a sidecar nothing may be redirected: the rules let the
    /// sidecars' user through.
    fn user(self) -> u32 {
        match self.peer {
            Peer::Direct => SIDECAR_USER,
            _ => APP_USER,
        }
    }

    /// Runs a program in the client pod to its end; what it printed.
    pub(crate) fn run(self, command: &mut Command) -> Result<String> {
        process::run_in(Place::Client, self.user(), command)
    }

    /// Runs a hidden command of this program in the client pod; what its last line says in JSON.
    pub(crate) fn run_own<T: DeserializeOwned>(self, args: &[String]) -> Result<T> {
        let own = for_anybody(self.tools.world, &self.tools.programs.own)?;
        let said = self.run(Command::new(own).args(args))?;
        let last = said.lines().next_back().unwrap_or_default();
        serde_json::from_str(last)
            .map_err(|error| self.not(format!("`{}` said {last:?}: {error}", args.join(" "))))
    }

    /// Starts a hidden command of this program in the client pod.
    pub(crate) fn start_own(self, args: &[String]) -> Result<Process> {
        let own = for_anybody(self.tools.world, &self.tools.programs.own)?;
        let world = self.tools.world;
        Process::start(world, Place::Client, self.user(), "load", &own, args)
    }

    /// An error about this peer: what it does is not comparable.
    pub(crate) fn not(self, what: String) -> Error {
        Error::Check {
            peer: self.peer.name(),
            what,
        }
    }
}
