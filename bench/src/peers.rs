//! Who is compared, and what all have in common: the redirect, and a sidecar in each of three pods.
//! What is a peer's own (programs, configuration, when it is ready) is in its file below.

pub(crate) mod envoy;
mod haproxy;
pub(crate) mod heddle;
mod nginx;
mod relay;

use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cases::{Setup, Traffic};
use crate::certificates::Certificates;
use crate::error::Result;
use crate::http;
use crate::netns;
use crate::process::{self, Process};
use crate::programs::Programs;
use crate::world::{PORT, Place, World};

/// The DNS name of the server pods' certificates, for peers that know servers by nothing else.
const SERVER_NAME: &str = "reviews.default.svc.cluster.local";

/// Whose work is measured.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// No sidecar: what load generator, applications and network cost
    Direct,
    /// A bare relay of hyper and rustls: the floor of our stack
    Relay,
    Heddle,
    Envoy,
    Haproxy,
    Nginx,
}

impl Peer {
    /// In the order of tables and charts.
    pub(crate) const ALL: &[Peer] = &[
        Peer::Direct,
        Peer::Relay,
        Peer::Heddle,
        Peer::Envoy,
        Peer::Haproxy,
        Peer::Nginx,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Direct => "no sidecar",
            Peer::Relay => "bare relay",
            Peer::Heddle => "Heddle",
            Peer::Envoy => "Envoy",
            Peer::Haproxy => "HAProxy",
            Peer::Nginx => "nginx",
        }
    }

    /// Who can carry this, in the order of a round.
    pub(crate) fn able(traffic: Traffic) -> Vec<Peer> {
        match traffic {
            Traffic::Http1 => Peer::ALL.to_vec(),
            // nginx sends no HTTP/2 to upstreams but gRPC.
            Traffic::Http2 => vec![Peer::Direct, Peer::Heddle, Peer::Envoy, Peer::Haproxy],
            Traffic::Grpc | Traffic::Tcp => vec![
                Peer::Direct,
                Peer::Heddle,
                Peer::Envoy,
                Peer::Haproxy,
                Peer::Nginx,
            ],
        }
    }

    /// Starts sidecars and waits until they are ready. None for [`Peer::Direct`].
    pub(crate) fn start(self, tools: Tools<'_>, setup: &Setup) -> Result<Option<Sidecars>> {
        match self {
            Peer::Direct => return Ok(None),
            Peer::Heddle => heddle::start(tools, setup),
            Peer::Envoy => envoy::start(tools, setup),
            Peer::Relay => relay::start(tools, setup),
            Peer::Haproxy => haproxy::start(tools, setup),
            Peer::Nginx => nginx::start(tools, setup),
        }
        .map(Some)
    }

    /// Whether it has the routes of the example, so that a header and weights choose the version. The
    /// relay, which has not, sends every tenth request to v2.
    pub(crate) fn routes(self) -> bool {
        matches!(
            self,
            Peer::Heddle | Peer::Envoy | Peer::Haproxy | Peer::Nginx
        )
    }
}

/// What everything is started with.
#[derive(Clone, Copy)]
pub(crate) struct Tools<'a> {
    pub(crate) world: &'a World,
    pub(crate) programs: &'a Programs,
    pub(crate) certificates: &'a Certificates,
}

/// The sidecars of one peer in a round, and what they need; ended when dropped.
pub(crate) struct Sidecars {
    pub(crate) client: Process,
    /// v1's and v2's.
    pub(crate) servers: Vec<Process>,
    /// Control plane, collector: what they use is not the sidecars'.
    pub(crate) helpers: Vec<Process>,
}

impl Sidecars {
    /// One of each pod, in the order of [`Place::PODS`].
    pub(crate) fn of(mut all: Vec<Process>, helpers: Vec<Process>) -> Self {
        let servers = all.split_off(1);
        Self {
            client: all.remove(0),
            servers,
            helpers,
        }
    }

    /// Waits until each answers 200 at a path of a port of its own loopback.
    pub(crate) fn ready(&mut self, port: u16, path: &str) -> Result<()> {
        self.each_ready(|place| http::ask(place, port, path).is_some_and(|a| a.status == 200))
    }

    /// Waits for a condition in each pod.
    fn each_ready(&mut self, is_ready: impl Fn(Place) -> bool) -> Result<()> {
        for sidecar in self.all() {
            let place = sidecar.place();
            sidecar.wait("ready", || is_ready(place))?;
        }
        Ok(())
    }

    /// An error when one has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        self.all().try_for_each(Process::alive)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Process> {
        std::iter::once(&mut self.client).chain(&mut self.servers)
    }
}

/// The rules of every pod: the same ones for every peer, none when there is no sidecar.
pub(crate) fn redirect(programs: &Programs, peer: Peer) -> Result<()> {
    /// Applying ends with a dial that proves the rules. Connection tracking, which still knows the
    /// last load's connections, may give that dial another source port than its own when both had
    /// the same; the next attempt has a new one.
    const ATTEMPTS: usize = 3;
    let step = if peer == Peer::Direct {
        "clean"
    } else {
        "apply"
    };
    let program = |pod: Place| {
        netns::within(&pod.netns(), || {
            process::run(Command::new(&programs.proxy).args(["redirect", step]))
        })
    };
    Place::PODS.into_iter().try_for_each(|pod| {
        let mut done = program(pod);
        for _ in 1..ATTEMPTS {
            if done.is_ok() {
                break;
            }
            done = program(pod);
        }
        done
    })
}

/// Where the load goes: to the Service, or straight to a pod when there is no sidecar to choose one.
pub(crate) fn target(peer: Peer) -> std::net::SocketAddr {
    match peer {
        Peer::Direct => Place::V1.app(),
        _ => (crate::world::SERVICE, PORT).into(),
    }
}
