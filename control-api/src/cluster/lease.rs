//! A Lease (coordination.k8s.io), held by one replica: taken when it is free or its holder has not renewed
//! it for its whole length by our own clock, renewed, given back at the end. Who could not renew it
//! stops before anybody else may take it. What of the cluster the holder cannot read stands beside it.

use std::{sync::Arc, time::Duration};

use heddle_identity::backoff::Backoff;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::REQUEST;
use crate::source::kubernetes::Progress;

/// Annotation of the Lease: a line for each kind that its holder cannot read.
pub const TROUBLES: &str = "heddle.io/not-read";
/// Of all lines; annotations of one object may have 256 KiB.
const MAX_TROUBLES: usize = 8 * 1024;

/// Which Lease, and who we are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of each replica its own: the pod's name.
    pub holder: String,
}

/// How long things may take. The defaults are those of Kubernetes' own controllers.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A holder that has not renewed it for so long has lost it.
    pub length: Duration,
    /// A holder that could not renew it for so long stops.
    pub renew: Duration,
    /// Between two attempts.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            length: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Whether we hold it.
#[derive(Clone, Debug)]
pub struct Leader(watch::Receiver<Option<Instant>>);

impl Leader {
    /// Now.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Until we do.
    pub async fn is_held(&self) {
        let mut until = self.0.clone();
        let held = |until: &Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        if until.wait_for(held).await.is_err() {
            // Nobody stands for it any more.
            std::future::pending().await
        }
    }
}

/// What was seen of the Lease, and when by our own clock.
struct Seen {
    holder: String,
    renewed: Option<MicroTime>,
    at: Instant,
}

struct Candidate {
    leases: Api<Lease>,
    place: Place,
    timing: Timing,
    progress: Arc<Progress>,
    seen: Option<Seen>,
    until: Arc<watch::Sender<Option<Instant>>>,
}

/// Gives it back, if it is ours: who comes next need not wait for its length.
///
/// # Errors
/// When the API server does not do it.
pub async fn give_back(client: Client, place: &Place) -> Result<(), kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client, &place.namespace);
    let Some(mut lease) = leases.get_opt(&place.name).await? else {
        return Ok(());
    };
    let spec = lease.spec.as_mut();
    let own = spec.filter(|spec| spec.holder_identity.as_deref() == Some(&place.holder));
    let Some(spec) = own else {
        return Ok(());
    };
    spec.holder_identity = None;
    leases
        .replace(&place.name, &PostParams::default(), &lease)
        .await?;
    Ok(())
}

/// Stands for it until the tasks end.
pub fn stand(
    client: Client,
    place: Place,
    timing: Timing,
    progress: Arc<Progress>,
    tasks: &mut JoinSet<()>,
) -> Leader {
    let (until, leader) = watch::channel(None);
    let candidate = Candidate {
        leases: Api::namespaced(client, &place.namespace),
        place,
        timing,
        progress,
        seen: None,
        until: Arc::new(until),
    };
    tasks.spawn(candidate.run());
    Leader(leader)
}

impl Candidate {
    async fn run(mut self) {
        let mut backoff = Backoff::new(self.timing.retry, self.timing.retry * 4);
        let mut failing = false;
        loop {
            let started = Instant::now();
            let held = timeout(REQUEST.min(self.timing.renew), self.attempt()).await;
            let pause = match held {
                Ok(Ok(true)) => {
                    if self
                        .until
                        .send_replace(Some(started + self.timing.renew))
                        .is_none()
                    {
                        info!(
                            lease = self.place.name,
                            "this replica writes what became of routes"
                        );
                    }
                    failing = false;
                    backoff.reset();
                    self.timing.retry
                }
                Ok(Ok(false)) => {
                    if self.until.send_replace(None).is_some() {
                        info!(
                            lease = self.place.name,
                            "another replica writes what became of routes"
                        );
                    }
                    failing = false;
                    backoff.reset();
                    self.timing.retry
                }
                failed => {
                    let error = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer in time".to_owned(),
                    };
                    if std::mem::replace(&mut failing, true) {
                        debug!(lease = self.place.name, error, "still cannot ask for it");
                    } else {
                        warn!(
                            lease = self.place.name,
                            error, "cannot ask for it; statuses of routes wait"
                        );
                    }
                    // What is left of our time is ours: the next attempt must be within it.
                    backoff.next().min(self.timing.renew / 4)
                }
            };
            sleep(pause).await;
        }
    }

    /// One look and, where it is ours to write, one write. Whether we hold it now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(&self.place.name).await? else {
            let lease = self.mine(Lease::default());
            return won(self.leases.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let is_news = self
            .seen
            .as_ref()
            .is_none_or(|seen| seen.holder != holder || seen.renewed != spec.renew_time);
        if is_news {
            self.seen = Some(Seen {
                holder: holder.clone(),
                renewed: spec.renew_time,
                at: Instant::now(),
            });
        }
        if holder != self.place.holder && !holder.is_empty() {
            let length = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            let length = length
                .map_or(self.timing.length, Duration::from_secs)
                .max(self.timing.length);
            let since = self
                .seen
                .as_ref()
                .map(|seen| seen.at.elapsed())
                .unwrap_or_default();
            if since < length {
                return Ok(false);
            }
        }
        let name = self.place.name.clone();
        let lease = self.mine(lease);
        // Its resourceVersion is in it: who is second is told of the conflict.
        won(self
            .leases
            .replace(&name, &PostParams::default(), &lease)
            .await)
    }

    fn mine(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let is_new = before.holder_identity.as_deref() != Some(&self.place.holder);
        let transitions = before.lease_transitions.unwrap_or_default();
        let mut annotations = lease.metadata.annotations.take().unwrap_or_default();
        match self.progress.troubles() {
            none if none.is_empty() => _ = annotations.remove(TROUBLES),
            some => {
                let text = some.join("\n").chars().take(MAX_TROUBLES).collect();
                annotations.insert(TROUBLES.to_owned(), text);
            }
        }
        lease.metadata = ObjectMeta {
            name: Some(self.place.name.clone()),
            namespace: Some(self.place.namespace.clone()),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..lease.metadata
        };
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.place.holder.clone()),
            lease_duration_seconds: i32::try_from(self.timing.length.as_secs().max(1)).ok(),
            acquire_time: if is_new {
                Some(now.clone())
            } else {
                before.acquire_time
            },
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(is_new && before.renew_time.is_some())),
            ..before
        });
        lease
    }
}

/// A conflict is an answer: somebody else has it.
fn won(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
