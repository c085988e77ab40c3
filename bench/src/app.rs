//! The applications of the server pods: what a case may put behind the sidecars, each at its pod's
//! address and `world::PORT`.

mod nginx;

use crate::error::Result;
use crate::peers::Tools;
use crate::process::Process;
use crate::world::Place;

/// In every answer: must never be seen on the network between sidecars.
pub(crate) const MARK: &str = "what-only-the-pods-may-read";

/// What runs in both server pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum App {
    /// Answers every HTTP/1.1 request with 1 KiB.
    Nginx,
}

impl App {
    /// Starts it in a pod and waits until it listens.
    pub(crate) fn start(self, tools: Tools<'_>, pod: Place) -> Result<Process> {
        match self {
            App::Nginx => nginx::start(tools, pod),
        }
    }
}

/// What a version answers: 1 KiB, and its name first.
pub(crate) fn body(version: &str) -> String {
    format!(
        "{version} {MARK:x<width$}",
        width = 1024 - version.len() - 1
    )
}
