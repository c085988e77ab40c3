//! The applications of the server pods: what a case may put behind the sidecars, each at its pod's
//! address and `world::PORT`.

pub(crate) mod echo;
pub(crate) mod grpc;
mod iperf3;
mod nginx;

use std::time::Duration;

use crate::error::Result;
use crate::http::Connection;
use crate::peers::Tools;
use crate::process::Process;
use crate::programs::for_anybody;
use crate::world::{APP_USER, Place};

/// In every answer: must never be seen on the network between sidecars.
pub(crate) const MARK: &str = "what-only-the-pods-may-read";

/// What runs in both server pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum App {
    /// Answers every HTTP/1.1 request with 1 KiB.
    Nginx,
    /// The same over HTTP/2 with prior knowledge.
    NginxHttp2,
    /// Sends back every byte.
    Echo,
    /// Sends back every message.
    Grpc,
    /// iperf3's server.
    Iperf3,
}

impl App {
    /// Starts it in a pod and waits until it listens.
    pub(crate) fn start(self, tools: Tools<'_>, pod: Place) -> Result<Process> {
        let to = pod.app().to_string();
        match self {
            App::Nginx => nginx::start(tools, pod, ""),
            App::NginxHttp2 => nginx::start(tools, pod, "http2"),
            App::Echo => own(tools, pod, &["echo-server", &to]),
            App::Grpc => own(tools, pod, &["grpc-server", &to, pod.name()]),
            App::Iperf3 => iperf3::start(tools, pod),
        }
    }
}

/// A hidden command of this program.
fn own(tools: Tools<'_>, pod: Place, args: &[&str]) -> Result<Process> {
    let own = for_anybody(tools.world, &tools.programs.own)?;
    let mut app = Process::start(tools.world, pod, APP_USER, "app", &own, args)?;
    app.wait("listening", || {
        Connection::open(pod, pod.app(), Duration::from_secs(1)).is_ok()
    })?;
    Ok(app)
}

/// What a version answers: 1 KiB, and its name first.
pub(crate) fn body(version: &str) -> String {
    format!(
        "{version} {MARK:x<width$}",
        width = 1024 - version.len() - 1
    )
}
