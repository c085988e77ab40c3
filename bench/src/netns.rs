//! Enters a network namespace for one closure, on a thread that ends with it. What the closure
//! starts or connects stays in that namespace.

use std::fs::File;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::{Error, Result};

/// Where `ip netns` keeps its names.
pub(crate) const NAMES: &str = "/run/netns";

/// Runs `work` in the namespace of this name.
pub(crate) fn within<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = Path::new(NAMES).join(name);
    let file = File::open(&path).map_err(Error::file("open the network namespace", &path))?;
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| Error::io(format!("enter {name}"))(errno.into()))?;
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
