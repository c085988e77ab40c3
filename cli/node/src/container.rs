//! Containers as local processes: `heddle container-init` turns itself into one.
//!
//! The daemon never forks by hand: it runs its own program again, which enters the pod's namespaces,
//! builds the container's file system view, gives up its rights and becomes the command. A failure
//! on the way is told to the daemon in a sentence; nothing of the container then runs.

pub(crate) mod credentials;
pub(crate) mod enter;
pub(crate) mod init;
pub(crate) mod log;
mod mountpoint;
mod mounts;
pub(crate) mod plan;
pub(crate) mod spawn;
pub(crate) mod spec;
pub(crate) mod user;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "container-init";
/// Where a container finds the mesh's own programs.
pub const BIN_DIR: &str = "/run/heddle-bin";
/// What a container's PATH is when its image would say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// To be called first in `main`: when this process was started as `heddle container-init` it becomes
/// the container (and this does not return), or fails and says so; otherwise `None`.
pub fn intercept() -> Option<std::process::ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    let verb = arguments.next().unwrap_or_default();
    Some(match verb.to_str() {
        Some("start") => init::start(),
        Some("enter") => enter::enter(arguments.next()),
        _ => {
            eprintln!("heddle container-init is how heddle starts containers; use `heddle exec`");
            std::process::ExitCode::from(2)
        }
    })
}
