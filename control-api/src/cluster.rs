//! What the control plane writes in a cluster, one replica at a time: the holder of the Lease alone says
//! what became of routes. Nothing here is needed to serve sidecars.

pub mod events;
pub mod lease;

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::{
    events::Events,
    lease::{Leader, Place, Timing},
};
use crate::{push::Hub, source::kubernetes::Registry};

/// Of one request. What a replica that has lost the Lease may still have on its way ends within this.
pub(crate) const REQUEST: Duration = Duration::from_secs(4);
/// Between two looks; and this many times as long as a look takes.
const PAUSE: Duration = Duration::from_millis(250);
const SHARE: u32 = 10;
/// Without news, in case a write has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// The tasks; they end when this is dropped.
#[derive(Debug)]
pub struct Writer {
    _tasks: JoinSet<()>,
}

impl Writer {
    /// Stands for the Lease, and writes while it is held.
    pub fn start(
        client: Client,
        place: Place,
        timing: Timing,
        hub: Arc<Hub>,
        registry: Arc<Registry>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let events = Events::new(client.clone(), place.holder.clone());
        let leader = lease::stand(client.clone(), place, timing, &mut tasks);
        tasks.spawn(write(events, hub, registry, leader));
        Self { _tasks: tasks }
    }
}

async fn write(mut events: Events, hub: Arc<Hub>, registry: Arc<Registry>, leader: Leader) {
    let (mut changed, mut known) = (hub.changes(), registry.changes());
    loop {
        leader.is_held().await;
        let started = Instant::now();
        if hub.is_ready() {
            events.write(&hub, &registry, &leader).await;
        }
        sleep(PAUSE.max(started.elapsed() * SHARE)).await;
        let news = async {
            tokio::select! {
                _ = changed.changed() => {}
                _ = known.changed() => {}
            }
        };
        // Without news too: what could not be written may be possible now.
        _ = timeout(AGAIN, news).await;
    }
}

#[cfg(test)]
mod tests;
