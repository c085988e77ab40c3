//! What the control plane writes in a cluster, one replica at a time: the holder of the Lease alone says
//! what became of routes. Nothing here is needed to serve sidecars.

pub mod events;
pub mod lease;
pub mod status;

use std::{sync::Arc, time::Duration};

use heddle_identity::backoff::Backoff;
use kube::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::debug;

use self::{
    events::Events,
    lease::{Leader, Place, Timing},
    status::Statuses,
};
use crate::{
    push::Hub,
    source::kubernetes::{KubernetesSource, Registry},
};

/// Of one request. What a replica that has lost the Lease may still have on its way ends within this.
pub(crate) const REQUEST: Duration = Duration::from_secs(4);
/// Between two looks; and this many times as long as a look takes, up to `LONG`: of one that writes
/// much, most is its own pauses.
const PAUSE: Duration = Duration::from_millis(250);
const SHARE: u32 = 10;
const LONG: Duration = Duration::from_secs(5);
/// After a server said that it is asked too much: what it says by itself.
const TOO_MANY: Duration = Duration::from_secs(1);
/// Longest pause after a write that failed.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The tasks; they end when this is dropped.
pub struct Writer {
    tasks: JoinSet<()>,
    client: Client,
    place: Place,
    leader: Leader,
}

impl Writer {
    /// Stands for the Lease, and writes while it is held.
    pub fn start(
        client: Client,
        place: Place,
        timing: Timing,
        hub: Arc<Hub>,
        source: &KubernetesSource,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let events = Events::new(client.clone(), place.holder.clone());
        let registry = source.registry();
        let said = source.progress();
        let leader = lease::stand(client.clone(), place.clone(), timing, said, &mut tasks);
        let statuses = Statuses::new(client.clone(), &place.namespace);
        tasks.spawn(write(statuses, events, hub, registry, leader.clone()));
        Self {
            tasks,
            client,
            place,
            leader,
        }
    }

    /// Writes no more, and lets another replica go on at once.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        if self.leader.holds() {
            let given = timeout(REQUEST, lease::give_back(self.client, &self.place)).await;
            debug!(?given, lease = self.place.name, "given back");
        }
    }
}

async fn write(
    mut statuses: Statuses,
    mut events: Events,
    hub: Arc<Hub>,
    registry: Arc<Registry>,
    leader: Leader,
) {
    let (mut changed, mut known) = (hub.changes(), registry.changes());
    let mut backoff = Backoff::new(2 * PAUSE, MAX_PAUSE);
    loop {
        leader.is_held().await;
        let started = Instant::now();
        let done = match hub.is_ready() {
            true => write_all(&mut statuses, &mut events, &hub, &registry, &leader).await,
            false => Err(Left::default()),
        };
        let wanted = done.as_ref().err().map(|left| left.0).unwrap_or_default();
        sleep(pause(started.elapsed()).max(wanted)).await;
        let news = async {
            tokio::select! {
                _ = changed.changed() => {}
                _ = known.changed() => {}
            }
        };
        if done.is_ok() {
            backoff.reset();
            news.await;
        } else {
            // What could not be written may be possible then.
            _ = timeout(backoff.next(), news).await;
        }
    }
}

/// After a look that took so long.
fn pause(took: Duration) -> Duration {
    PAUSE.max(took.saturating_mul(SHARE).min(LONG))
}

async fn write_all(
    statuses: &mut Statuses,
    events: &mut Events,
    hub: &Arc<Hub>,
    registry: &Registry,
    leader: &Leader,
) -> Result<(), Left> {
    statuses.write(hub, registry, leader).await?;
    events.write(hub, registry, leader).await
}

/// Something is left to be written, and the server wants no more for so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left(pub Duration);

impl Left {
    /// After a write that failed.
    fn after(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::default();
        };
        let said = status.details.as_ref().map(|of| of.retry_after_seconds);
        let said = Duration::from_secs(said.unwrap_or_default().into());
        // A server that sheds load says so in a header alone, which does not come this far.
        let least = match status.code {
            429 => TOO_MANY,
            _ => Duration::ZERO,
        };
        Self(said.max(least).min(MAX_PAUSE))
    }
}

/// Whether it is this object that the server refuses; else it is the server that has no time, or is not well.
fn is_refusal(code: u16) -> bool {
    (400..500).contains(&code) && code != 429
}

#[cfg(test)]
mod tests;
