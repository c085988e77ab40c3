//! Objects from a cluster's API server. Every kind that we read and the cluster serves is followed by a
//! task; one task holds the picture and emits batches. A kind that comes later is followed from then
//! on. While the server is away, or has forgotten where we were, the mesh goes on with what it
//! has: only a server that says so makes anything gone. The first batch is the whole.

mod client;
mod follow;
mod index;
mod kinds;
mod known;
mod raw;

use std::{collections::HashMap, sync::Arc, time::Duration};

use heddle_identity::backoff::Backoff;
use kube::Client;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tracing::{info, warn};

pub(crate) use self::raw::{Raw, read_unstored};
pub use self::{
    client::{Access, ClientError},
    known::{Known, Registry},
};
use self::{
    follow::{Follower, Letter, News},
    index::Index,
    kinds::{Served, WANTED, Wanted, discover},
};
use super::{Batch, Object};
use crate::name::Kind;

/// Letters on their way; who follows a kind waits when there are more.
const LETTERS: usize = 1024;
/// A kind that so many looks in a row did not find is served no more. A server that has just started
/// does not show all kinds at once.
const ABSENT: u8 = 3;

/// How often and how patiently the server is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks at what is served.
    pub look: Duration,
    /// Longest pause after a failure.
    pub max_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(20),
            max_pause: Duration::from_secs(30),
        }
    }
}

/// The tasks; they end when this is dropped.
#[derive(Debug)]
pub struct KubernetesSource {
    registry: Arc<Registry>,
    _tasks: JoinSet<()>,
}

impl KubernetesSource {
    /// Lists everything, sends it as the first batch, and sends what changes after. A slow receiver makes
    /// batches larger, not more. `last_good` is what was kept of objects that were bad when the
    /// process before this one ended ([`super::last_good`]).
    pub fn start(
        client: Client,
        pace: Pace,
        last_good: Vec<Arc<Object>>,
        batches: mpsc::Sender<Batch>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let (served, looks) = mpsc::channel(1);
        tasks.spawn(look(client.clone(), pace, served));
        let registry = Arc::new(Registry::default());
        let source = Source {
            client,
            pace,
            followed: HashMap::new(),
            followers: JoinSet::new(),
            epoch: 0,
            index: Index::new(last_good, registry.clone()),
            batches,
        };
        tasks.spawn(source.run(looks));
        Self {
            registry,
            _tasks: tasks,
        }
    }

    /// Objects as they stand on the server.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }
}

/// Looks again and again at what is served.
async fn look(client: Client, pace: Pace, served: mpsc::Sender<Served>) {
    let mut backoff = Backoff::new(pace.max_pause / 64, pace.max_pause);
    let mut failing = false;
    loop {
        let pause = match discover(&client).await {
            Ok(now) => {
                backoff.reset();
                if std::mem::take(&mut failing) {
                    info!("the API server is there again");
                }
                if served.send(now).await.is_err() {
                    return;
                }
                pace.look
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "cannot ask the API server what it serves; the mesh goes on with what it has");
                }
                backoff.next()
            }
        };
        sleep(pause).await;
    }
}

struct Followed {
    version: &'static str,
    epoch: u64,
    task: AbortHandle,
    /// Looks in a row that did not find it.
    absent: u8,
}

struct Source {
    client: Client,
    pace: Pace,
    followed: HashMap<Kind, Followed>,
    followers: JoinSet<()>,
    epoch: u64,
    index: Index,
    batches: mpsc::Sender<Batch>,
}

impl Source {
    async fn run(mut self, mut looks: mpsc::Receiver<Served>) {
        let (sender, mut letters) = mpsc::channel(LETTERS);
        let mut read = Vec::new();
        let mut started = false;
        loop {
            tokio::select! {
                served = looks.recv() => match served {
                    Some(served) => self.follow(&served, &sender),
                    None => return,
                },
                count = letters.recv_many(&mut read, LETTERS) => {
                    if count == 0 {
                        return;
                    }
                    read.drain(..).for_each(|letter| self.read(letter));
                }
            }
            if !started && (self.followed.is_empty() || !self.is_whole()) {
                continue;
            }
            if let Some(batch) = self.index.batch() {
                if !std::mem::replace(&mut started, true) {
                    let kinds = self.followed.len();
                    info!(kinds, objects = self.index.len(), "the cluster is read");
                }
                if self.batches.send(batch).await.is_err() {
                    return;
                }
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.followed
            .keys()
            .all(|kind| self.index.is_complete(*kind))
    }

    /// Follows what is served, and drops what is not any more.
    fn follow(&mut self, served: &Served, letters: &mpsc::Sender<Letter>) {
        while self.followers.try_join_next().is_some() {}
        for wanted in WANTED {
            let version = served.get(&wanted.kind).copied();
            match (self.followed.get_mut(&wanted.kind), version) {
                (Some(followed), Some(version)) if followed.version == version => {
                    followed.absent = 0;
                }
                (before, Some(version)) => {
                    if let Some(before) = before {
                        before.task.abort();
                    }
                    self.start(wanted, version, letters);
                }
                (Some(followed), None) => {
                    followed.absent += 1;
                    if followed.absent >= ABSENT {
                        followed.task.abort();
                        self.followed.remove(&wanted.kind);
                        self.index.drop_kind(wanted.kind);
                        warn!(
                            resource = wanted.full_name(),
                            "the cluster does not serve it any more"
                        );
                    }
                }
                (None, None) => {}
            }
        }
    }

    fn start(
        &mut self,
        wanted: &'static Wanted,
        version: &'static str,
        letters: &mpsc::Sender<Letter>,
    ) {
        self.epoch += 1;
        let follower = Follower {
            client: self.client.clone(),
            wanted,
            version,
            epoch: self.epoch,
            letters: letters.clone(),
            max_pause: self.pace.max_pause,
        };
        let followed = Followed {
            version,
            epoch: self.epoch,
            task: self.followers.spawn(follower.run()),
            absent: 0,
        };
        self.followed.insert(wanted.kind, followed);
    }

    fn read(
        &mut self,
        Letter {
            wanted,
            epoch,
            news,
        }: Letter,
    ) {
        let kind = wanted.kind;
        // Letters of one that was stopped may still be on their way.
        let followed = self
            .followed
            .get(&kind)
            .filter(|followed| followed.epoch == epoch);
        let Some(followed) = followed else {
            return;
        };
        match news {
            News::Relisting => self.index.begin(kind),
            News::Here(raw) => self
                .index
                .here(kind, &wanted.resource(followed.version), *raw),
            News::Gone(raw) => {
                if let Some(name) = raw.name() {
                    self.index.remove(kind, &name);
                }
            }
            News::Complete => self.index.complete(kind),
        }
    }
}

#[cfg(test)]
mod tests;
