//! What can go wrong while a node is made, run or taken away.
//!
//! Every variant says what was being done and to what; the cause is the source, so that the chain
//! is written once, at the boundary.

use std::{io, path::PathBuf};

/// Why the node could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The process may not make namespaces.
    #[error(
        "pods are network namespaces, and this process may not make them: it lacks {missing}. Run it as root: {command}"
    )]
    Privilege {
        /// The capabilities that are missing, or what else is.
        missing: String,
        /// The same command with sudo.
        command: String,
    },
    /// A mesh, namespace or pod has a name that cannot be used.
    #[error("{kind} `{name}`: {reason}")]
    Name {
        /// What is named.
        kind: &'static str,
        /// The name as given.
        name: String,
        /// What is wrong with it and what is allowed.
        reason: String,
    },
    /// Every address range we could use overlaps a route or an address of this machine.
    #[error(
        "no free address range for mesh `{mesh}`: {tried} ranges overlap routes of this machine or other meshes (`ip route` lists them; `heddle down --mesh NAME` frees one)"
    )]
    NoRange {
        /// The mesh that wanted one.
        mesh: String,
        /// How many were tried.
        tried: usize,
    },
    /// No mesh of that name is on this machine.
    #[error("no mesh `{mesh}` on this machine: {path} is not there. `heddle up` starts one")]
    NoMesh {
        /// The name asked for.
        mesh: String,
        /// The state that was looked for.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("{what} {path}")]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A system call on something other than a file failed.
    #[error("{what}")]
    System {
        /// What was being done, and to what.
        what: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A program that we run (`ip`) failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Program {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The pod asks for what this node does not do.
    #[error("{what}: {reason}")]
    Spec {
        /// The container or volume.
        what: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl NodeError {
    /// A `map_err` for file operations.
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// A `map_err` for system calls.
    pub fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::System {
            what,
            source: source.into(),
        }
    }

    /// The pod's specification cannot be honoured.
    pub fn spec(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Spec {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// The message with its causes, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
