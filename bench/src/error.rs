//! What can go wrong, said to the person who runs the comparison.

use std::io;
use std::path::Path;

/// The result of everything here.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The system refused something.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A program that should have succeeded did not.
    #[error("`{line}` failed: {said}")]
    Command {
        /// What was run.
        line: String,
        /// What it said.
        said: String,
    },
    /// A program that is needed is not there.
    #[error("{program} is missing: {remedy}")]
    Missing {
        /// Which.
        program: String,
        /// What to do.
        remedy: String,
    },
    /// A server ended, or did not become ready.
    #[error("{name} {what}; the end of its log:\n{log}")]
    Server {
        /// Which.
        name: String,
        /// What it did.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// The two would not be doing the same work.
    #[error("{peer}: not comparable: {what}")]
    Check {
        /// Whose work.
        peer: &'static str,
        /// What was seen.
        what: String,
    },
    /// The certificate authority refused.
    #[error("cannot make the certificate of {0}: {1}")]
    Certificate(String, String),
    /// Something cannot be compared, for a reason that is known beforehand.
    #[error("cannot be measured: {0}")]
    Unable(String),
    /// A hidden command of this program failed.
    #[error("{0}")]
    Own(String),
    /// Ctrl-C.
    #[error("stopped; everything that was made is removed")]
    Stopped,
}

impl Error {
    /// For `map_err`: what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: what was tried with a file.
    pub(crate) fn file(verb: &str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{verb} {}", path.as_ref().display()))
    }
}

/// An error and its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
