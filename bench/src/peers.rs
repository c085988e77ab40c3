//! Who is compared, and what all have in common: the applications, the redirect, and a sidecar in
//! each of three pods.

use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::args::{Args, Only};
use crate::certificates::Certificates;
use crate::envoy;
use crate::error::Result;
use crate::heddle::{self, Mesh};
use crate::http;
use crate::netns;
use crate::process::{self, Process};
use crate::programs::{Programs, for_anybody};
use crate::template::fill;
use crate::world::{APP_USER, PORT, Place, World};

/// Whose work is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// No sidecar: what load generator, applications and network cost.
    Direct,
    Heddle,
    Envoy,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Direct => "no sidecar",
            Peer::Heddle => "heddle",
            Peer::Envoy => "envoy",
        }
    }

    /// In the order of a round.
    pub(crate) fn wanted(args: &Args) -> Vec<Peer> {
        let sidecars = match args.only {
            None => &[Peer::Heddle, Peer::Envoy][..],
            Some(Only::Heddle) => &[Peer::Heddle],
            Some(Only::Envoy) => &[Peer::Envoy],
        };
        [&[Peer::Direct], sidecars].concat()
    }
}

/// The sidecars of one peer in a round, and what they need; ended when dropped.
pub(crate) struct Sidecars {
    pub(crate) client: Process,
    pub(crate) servers: Vec<Process>,
    _mesh: Option<Mesh>,
}

impl Sidecars {
    /// Starts a peer's sidecars and waits until they are ready. None for [`Peer::Direct`].
    pub(crate) fn start(
        peer: Peer,
        (world, programs): (&World, &Programs),
        certificates: &Certificates,
    ) -> Result<Option<Self>> {
        let (mesh, mut all) = match peer {
            Peer::Direct => return Ok(None),
            Peer::Heddle => {
                let mesh = Mesh::start(world, programs, certificates)?;
                let all = heddle::sidecars(&mesh, world, programs)?;
                (Some(mesh), all)
            }
            Peer::Envoy => (None, envoy::sidecars(world, programs, certificates)?),
        };
        let (port, path) = match peer {
            Peer::Envoy => (15000, "/ready"),
            _ => (15021, "/healthz/ready"),
        };
        for sidecar in &mut all {
            let place = sidecar.place();
            sidecar.wait("ready", || {
                http::ask(place, port, path).is_some_and(|a| a.status == 200)
            })?;
        }
        let servers = all.split_off(1);
        let client = all.remove(0);
        Ok(Some(Self {
            client,
            servers,
            _mesh: mesh,
        }))
    }

    pub(crate) fn alive(&mut self) -> Result<()> {
        self.client.alive()?;
        self.servers.iter_mut().try_for_each(Process::alive)
    }
}

/// The applications of both server pods.
pub(crate) fn applications((world, programs): (&World, &Programs)) -> Result<Vec<Process>> {
    const TEMPLATE: &str = include_str!("../app/nginx.conf");
    let nginx = for_anybody(world, &programs.nginx)?;
    [Place::V1, Place::V2]
        .into_iter()
        .map(|pod| {
            let dir = world.fresh_dir(&format!("app-{}", pod.name()), APP_USER)?;
            let text = fill(
                TEMPLATE,
                &[
                    ("DIR", &dir.to_string_lossy()),
                    ("IP", &pod.ip().to_string()),
                    ("BODY", &body(pod.name())),
                ],
            );
            let file = world.write(&format!("app-{}/nginx.conf", pod.name()), &text, APP_USER)?;
            let args = [
                "-e".as_ref(),
                "stderr".as_ref(),
                "-p".as_ref(),
                dir.as_os_str(),
                "-c".as_ref(),
                file.as_os_str(),
            ];
            let mut app = Process::start(world, pod, APP_USER, "nginx", &nginx, args)?;
            app.wait("listening", || {
                let mut connection =
                    http::Connection::open(pod, pod.app(), std::time::Duration::from_secs(1)).ok();
                let answer = connection.as_mut().and_then(|c| c.get("/", "app", "").ok());
                answer.is_some_and(|answer| answer.body == body(pod.name()))
            })?;
            Ok(app)
        })
        .collect()
}

/// What a version answers: 1 KiB, and its name first.
fn body(version: &str) -> String {
    format!(
        "{version} {:x<width$}",
        MARK,
        width = 1024 - version.len() - 1
    )
}

/// In every body: must never be seen on the network between sidecars.
pub(crate) const MARK: &str = "what-only-the-pods-may-read";

/// The rules of every pod: the same ones for both peers, none when there is no sidecar.
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
