//! Whether the sidecar takes traffic, and in words why not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_identity::workload::Workload;
use heddle_proxy_admin::Readiness;
use heddle_proxy_config::store::ConfigStore;
use tokio::sync::watch;

use crate::worker::Phase;

/// How often a certificate's expiry is looked at.
const EXPIRY_CHECK: Duration = Duration::from_secs(5);

/// Ready: there is a valid certificate and a configuration, and the sidecar is not draining. A
/// control plane or identity service that goes away later changes nothing.
pub(crate) async fn follow(
    identity: Arc<Workload>,
    store: ConfigStore,
    mut phase: watch::Receiver<Phase>,
    ready: watch::Sender<Readiness>,
    started: Instant,
) {
    let mut certificate = identity.status();
    let mut changed = store.changed();
    let mut was_ready = false;
    loop {
        let now = readiness(&identity, &store, *phase.borrow_and_update());
        if now.ready && !was_ready {
            let after = started.elapsed();
            tracing::info!(?after, "ready");
        }
        was_ready = now.ready;
        ready.send_replace(now);
        let any = tokio::select! {
            changed = certificate.changed() => changed.is_ok(),
            changed = changed.changed() => changed.is_ok(),
            changed = phase.changed() => changed.is_ok(),
            // A certificate can expire without anything happening.
            () = tokio::time::sleep(EXPIRY_CHECK) => true,
        };
        if !any {
            return;
        }
    }
}

fn readiness(identity: &Workload, store: &ConfigStore, phase: Phase) -> Readiness {
    let reason = if phase != Phase::Serving {
        "draining".to_owned()
    } else if !identity.tls().is_ready() {
        match &identity.status().borrow().last_error {
            Some(error) => format!("no valid certificate: {error}"),
            None => "waiting for a certificate from the identity service".to_owned(),
        }
    } else if store.snapshot().load().workload.is_none() {
        match store.status().last_error {
            Some(error) => format!("no configuration: {error}"),
            None => "waiting for the configuration from the control plane".to_owned(),
        }
    } else {
        return Readiness {
            ready: true,
            reason: "ready".into(),
        };
    };
    Readiness {
        ready: false,
        reason,
    }
}
