//! `heddle exec`: a command in a pod, as its app's user, with the caller's terminal.
//!
//! The program runs itself again as `container-init enter`, since a process must be single-threaded
//! to change its namespaces. What the pod is like is taken from its container's process.

use std::{
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::Command,
};

use crate::{
    NodeError,
    container::{
        SUBCOMMAND,
        credentials::DEFAULT_UID,
        spec::{EnterSpec, User},
    },
    netns,
};

/// What to run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecTarget {
    /// The pod's network namespace ([`crate::PodStatus::netns`]).
    pub netns: String,
    /// The process of the container to run beside; none: only the network is the pod's.
    pub pid: Option<u32>,
    /// The command.
    pub argv: Vec<String>,
}

impl ExecTarget {
    /// Becomes the command, so that its exit code, signals and terminal are its own; returns only
    /// when that fails.
    pub fn replace(&self, program: &Path) -> NodeError {
        match self.command(program) {
            Ok(mut command) => NodeError::file("run", program)(command.exec()),
            Err(error) => error,
        }
    }

    /// Runs the command with this process's standard streams; returns its exit code. Blocks.
    pub fn run(&self, program: &Path) -> Result<i32, NodeError> {
        let status = self
            .command(program)?
            .status()
            .map_err(NodeError::file("run", program))?;
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// The command to run, for callers that want its output.
    pub fn command(&self, program: &Path) -> Result<Command, NodeError> {
        crate::privilege::require()?;
        if self.argv.is_empty() {
            return Err(NodeError::spec(
                "nothing to run",
                "write `heddle exec POD -- COMMAND`",
            ));
        }
        let spec = EnterSpec {
            netns: netns::path(&self.netns),
            pid: self.pid,
            argv: self.argv.clone(),
            user: User {
                uid: DEFAULT_UID,
                gid: DEFAULT_UID,
                groups: Vec::new(),
                capabilities: 0,
                no_new_privileges: true,
            },
        };
        let text = serde_json::to_string(&spec)
            .map_err(|e| NodeError::system("cannot describe the command")(io::Error::from(e)))?;
        let mut command = Command::new(program);
        command.args([SUBCOMMAND, "enter", &text]);
        Ok(command)
    }
}
