//! How many files a process may have open: every program that is started here inherits it, so all
//! peers have the same.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{Error, Result};

/// Allows as many as this user may allow.
pub(crate) fn allow_all() -> Result<()> {
    let (_, hard) = limits()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .map_err(|errno| Error::io("raise the limit of open files")(errno.into()))
}

/// How many are allowed.
pub(crate) fn allowed() -> Result<u64> {
    limits().map(|(soft, _)| soft)
}

fn limits() -> Result<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| Error::io("ask for the limit of open files")(errno.into()))
}
