//! What the tests stand on: namespaces, a control plane and an identity service, pods with real
//! sidecars, applications and clients.

pub(crate) mod app;
pub(crate) mod collector;
pub(crate) mod control;
pub(crate) mod dns;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod mesh;
pub(crate) mod netns;
pub(crate) mod resources;
pub(crate) mod sidecar;
pub(crate) mod tcp;

use std::time::{Duration, Instant};

/// Longer than anything takes on a loaded machine; a test that passes never waits it out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "did not come about: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
