//! The sidecar's configuration against a control plane over loopback: what is subscribed to, what
//! is applied, what is refused, and what survives on either side.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod addresses;
mod fake;
mod kept;
mod mesh;
mod names;
mod pushes;
mod stream;

use std::time::Duration;

use heddle_proxy_config::ads::{self, AdsConfig, Connect};
use heddle_proxy_config::store::ConfigStore;
use tokio::task::JoinSet;

/// Runs the client until the set is dropped.
fn run(store: &ConfigStore, control_plane: impl Connect + 'static) -> JoinSet<()> {
    let config = AdsConfig {
        backoff_base: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..AdsConfig::default()
    };
    run_with(store, control_plane, config)
}

fn run_with(
    store: &ConfigStore,
    control_plane: impl Connect + 'static,
    config: AdsConfig,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let store = store.clone();
    tasks.spawn(async move {
        ads::run(store, control_plane, config).await;
    });
    tasks
}

/// Waits until `condition` holds of the store; it is looked at after every change and now and then.
async fn eventually(store: &ConfigStore, what: &str, condition: impl Fn(&ConfigStore) -> bool) {
    let mut changed = store.changed();
    let wait = async {
        while !condition(store) {
            let _ = tokio::time::timeout(Duration::from_millis(10), changed.changed()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
