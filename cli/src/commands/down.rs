//! `heddle down`: asks the daemon to take the mesh down in order; where there is none, or it does not
//! manage, takes away whatever bears the mesh's name. Always ends with nothing left, or an error.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::{client, output};
use crate::daemon::guard;
use crate::failure::{Failure, Outcome};
use crate::node::{self, MeshName, layout::state_dir, privilege};
use crate::terminal::say;

/// Pods have their grace period of 30 s, and then a little.
const IN_ORDER: Duration = Duration::from_secs(45);
/// After SIGTERM and after SIGKILL.
const BY_FORCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(mesh: &MeshName) -> Outcome {
    privilege::require()?;
    let daemon = guard::holder(mesh);
    let left = state_dir(mesh).exists();
    if let Some(pid) = daemon {
        let asked = client(mesh).shutdown().await.is_ok();
        // A daemon that does not answer on its socket still takes the signal.
        let told = asked || kill(pid, Signal::SIGTERM).is_ok();
        if !(told && guard::ended(mesh, pid, IN_ORDER).await) {
            say!(
                "the daemon (process {pid}) did not manage in {} s; ending it by force",
                IN_ORDER.as_secs()
            );
            let _ = kill(pid, Signal::SIGKILL);
            if !guard::ended(mesh, pid, BY_FORCE).await {
                return Err(Failure::new(format!(
                    "the daemon of mesh `{mesh}` (process {pid}) cannot be ended"
                )));
            }
        }
    }
    node::destroy(mesh)?;
    let told = match (daemon, left) {
        (Some(_), _) => "is down",
        (None, true) => "is down; its daemon was gone already, what it left is removed",
        (None, false) => "was not running",
    };
    output::write(&format!("mesh {mesh} {told}\n"))
}
