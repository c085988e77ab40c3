//! Objects from a cluster's API server. Every kind that we read and the cluster serves is followed by a
//! task; one task holds the picture and emits batches. A kind that comes later is followed from then
//! on. While the server is away, or has forgotten where we were, the mesh goes on with what it
//! has: only a server that says so makes anything gone. The first batch is the whole: until each kind that
//! is installed has been listed there is none, for sidecars that run have more than that. What is waited
//! for, and why, is told ([`Progress`]).

mod client;
mod follow;
mod index;
mod kinds;
mod known;
mod look;
mod once;
mod progress;
mod raw;
mod rights;

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

pub(crate) use self::raw::{Raw, read_unstored};
pub use self::{
    client::{Access, ClientError},
    known::{Known, Registry},
    once::{Once, ReadError, read_once},
    progress::Progress,
    rights::{Forbidden, forbidden},
};
use self::{
    follow::{Follower, Letter, News},
    index::Index,
    kinds::{Served, WANTED, Wanted},
    progress::ENDLESS,
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
    /// How long a server that answers may keep one kind from us before that is told, though nothing fails.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(20),
            max_pause: Duration::from_secs(30),
            patience: Duration::from_secs(30),
        }
    }
}

/// The tasks; they end when this is dropped.
#[derive(Debug)]
pub struct KubernetesSource {
    registry: Arc<Registry>,
    progress: Arc<Progress>,
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
        tasks.spawn(look::follow(client.clone(), pace, served));
        let registry = Arc::new(Registry::default());
        let progress = Arc::new(Progress::default());
        let source = Source {
            client,
            pace,
            followed: HashMap::new(),
            followers: JoinSet::new(),
            epoch: 0,
            started: false,
            index: Index::new(last_good, registry.clone()),
            progress: progress.clone(),
            batches,
        };
        tasks.spawn(source.run(looks));
        Self {
            registry,
            progress,
            _tasks: tasks,
        }
    }

    /// Objects as they stand on the server.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// How far each kind has been read.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

struct Followed {
    version: &'static str,
    epoch: u64,
    task: AbortHandle,
    /// Looks in a row that did not find it.
    absent: u8,
    /// For how long a server that answers has kept it from us.
    since: Instant,
    /// Why it has not been listed yet has been said.
    told: bool,
}

struct Source {
    client: Client,
    pace: Pace,
    followed: HashMap<Kind, Followed>,
    followers: JoinSet<()>,
    epoch: u64,
    /// The first batch has gone.
    started: bool,
    index: Index,
    progress: Arc<Progress>,
    batches: mpsc::Sender<Batch>,
}

impl Source {
    async fn run(mut self, mut looks: mpsc::Receiver<Result<Served, String>>) {
        let (sender, mut letters) = mpsc::channel(LETTERS);
        let mut read = Vec::new();
        loop {
            let late = self.next_late();
            tokio::select! {
                served = looks.recv() => match served {
                    Some(Ok(served)) => self.follow(&served, &sender),
                    Some(Err(reason)) => self.is_away(reason),
                    None => return,
                },
                () = at(late) => self.tell_late(),
                count = letters.recv_many(&mut read, LETTERS) => {
                    if count == 0 {
                        return;
                    }
                    read.drain(..).for_each(|letter| self.read(letter));
                }
            }
            if !self.started && (self.followed.is_empty() || self.missing().next().is_some()) {
                continue;
            }
            if let Some(batch) = self.index.batch() {
                if !std::mem::replace(&mut self.started, true) {
                    let kinds = self.followed.len();
                    info!(kinds, objects = self.index.len(), "the cluster is read");
                    self.progress.is_served();
                }
                if self.batches.send(batch).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Kinds that have not been listed yet.
    fn missing(&self) -> impl Iterator<Item = (&'static Wanted, &Followed)> {
        let all = WANTED.iter();
        all.filter_map(|wanted| Some((wanted, self.followed.get(&wanted.kind)?)))
            .filter(|(wanted, _)| !self.index.is_complete(wanted.kind))
    }

    /// When the next kind has been waited for without a word.
    fn next_late(&self) -> Option<Instant> {
        let silent = self.missing().filter(|(_, followed)| !followed.told);
        silent
            .map(|(_, followed)| followed.since + self.pace.patience)
            .min()
    }

    fn tell_late(&mut self) {
        let late = self.missing().filter(|(_, followed)| {
            !followed.told && followed.since.elapsed() >= self.pace.patience
        });
        let late: Vec<_> = late.map(|(wanted, _)| wanted).collect();
        for wanted in late {
            self.fails(wanted, ENDLESS.to_owned());
        }
    }

    /// Who does not answer at all keeps no kind from us.
    fn is_away(&mut self, reason: String) {
        let now = Instant::now();
        for followed in self.followed.values_mut() {
            followed.since = now;
        }
        self.progress.is_away(Some(reason));
    }

    /// It cannot be followed now, or not be listed at all.
    fn fails(&mut self, wanted: &Wanted, reason: String) {
        let resource = wanted.full_name();
        match (self.index.is_complete(wanted.kind), self.started) {
            (true, _) => {
                warn!(
                    resource,
                    reason, "cannot follow it; the mesh goes on with what it has"
                );
            }
            (false, false) => warn!(
                resource,
                reason,
                "cannot list it; until it can, this replica is not ready and serves no sidecar: those \
                 that run keep what they have"
            ),
            (false, true) => warn!(
                resource,
                reason,
                "cannot list it; it is not in force, and a replica that starts now does not become ready"
            ),
        }
        if let Some(followed) = self.followed.get_mut(&wanted.kind) {
            followed.told = true;
        }
        self.progress.fails(&resource, Some(reason));
    }

    /// Follows what is served, and drops what is not any more.
    fn follow(&mut self, served: &Served, letters: &mpsc::Sender<Letter>) {
        self.progress.is_away(None);
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
                        self.progress.ends(&wanted.full_name());
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
            failing: None,
        };
        self.progress.begins(wanted.full_name());
        let followed = Followed {
            version,
            epoch: self.epoch,
            task: self.followers.spawn(follower.run()),
            absent: 0,
            since: Instant::now(),
            told: false,
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
            News::Complete => {
                self.index.complete(kind);
                self.progress.completes(&wanted.full_name());
            }
            News::Failing(reason) => self.fails(wanted, reason),
            News::Mended => self.progress.fails(&wanted.full_name(), None),
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
