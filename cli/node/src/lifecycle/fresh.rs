//! Keeps a pod's mounted files up to date while it runs.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

use super::context::PodContext;
use crate::volumes::Volumes;

/// Between attempts to bring volumes up to date.
const RETRY: Duration = Duration::from_secs(2);
/// Between looks at volumes that nothing is known to change.
const IDLE: Duration = Duration::from_secs(3600);

/// Renews tokens in time and follows changed objects.
pub(super) async fn keep_fresh(
    context: Arc<PodContext>,
    volumes: Arc<Mutex<Volumes>>,
) -> Infallible {
    let mut objects = context.node.options.objects.clone();
    let mut open = true;
    loop {
        objects.mark_unchanged();
        let now = context.objects();
        let refreshed = volumes.lock().await.refresh(&context.source(&now));
        let next = match refreshed {
            Ok(at) => at.map_or(IDLE, |at| {
                at.duration_since(std::time::SystemTime::now())
                    .unwrap_or_default()
            }),
            Err(error) => {
                tracing::warn!(pod = %context.name, error = %error.chain(),
                    "a pod's volumes keep their old content");
                RETRY
            }
        };
        let deadline = Instant::now() + next.max(Duration::from_millis(100));
        tokio::select! {
            () = sleep_until(deadline) => {}
            changed = objects.changed(), if open => open = changed.is_ok(),
        }
        // Many changes at once are one.
        sleep(Duration::from_millis(20)).await;
    }
}
