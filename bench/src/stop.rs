//! Ctrl-C, SIGTERM and panics: a flag that every wait looks at, so that whatever was made is unmade
//! on the way out; and a panic hook that does the same, since the release profile aborts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::error::{Error, Result};
use crate::world;

static STOPPED: AtomicBool = AtomicBool::new(false);

/// Must be called before any other thread is started: they inherit what is blocked.
pub(crate) fn install() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals
        .thread_block()
        .map_err(|errno| Error::io("block signals")(errno.into()))?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            STOPPED.store(true, Ordering::Relaxed);
        }
    });
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        world::sweep(std::process::id());
    }));
    Ok(())
}

/// An error once somebody has asked to stop.
pub(crate) fn check() -> Result<()> {
    match STOPPED.load(Ordering::Relaxed) {
        true => Err(Error::Stopped),
        false => Ok(()),
    }
}

/// Waits, unless somebody asks to stop.
pub(crate) fn sleep(time: Duration) -> Result<()> {
    thread::sleep(time);
    check()
}
