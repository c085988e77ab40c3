//! The pods there are, and the steps towards those there should be. Names, addresses and the
//! choice of injection are made here; starting and stopping is the runner's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::cluster::{Desired, Plan, PodTemplate, Replica, Style, Workload, plan};
use crate::daemon::injection::{self, Injected};
use crate::daemon::view::PodView;
use crate::manifests::Key;
use crate::node::{Phase, PodStatus};

/// Most pods that come up at once: each starts several processes and asks for a certificate.
const STARTING: usize = 32;

/// From the moment a pod is published as going until it is told to: the control plane sees the file
/// within some 50 ms and pushes at once, so that nobody calls a pod whose app is ending. (Clusters
/// leave this race to a `sleep` in preStop.)
const NOTICE: Duration = Duration::from_millis(250);

/// Runs pods.
pub(crate) trait PodRunner: Send + 'static {
    type Pod: RunningPod;
    /// Starts a pod; what goes wrong later shows in its status.
    fn start(&mut self, pod: &Value) -> Result<Self::Pod, String>;
    /// The pod is gone: what it held is free.
    fn release(&mut self, status: &PodStatus);
    /// How this mesh injects.
    fn injection(&self) -> &heddle_injector::InjectConfig;
}

/// A pod that was started.
pub(crate) trait RunningPod: Send + 'static {
    fn status(&self) -> watch::Receiver<PodStatus>;
    /// Stops it in order; returns when nothing of it is left.
    fn stop(self) -> impl Future<Output = ()> + Send;
}

struct Pod<P> {
    object: Arc<Value>,
    owner: Key,
    revision: String,
    order: u64,
    skipped: Option<&'static str>,
    status: watch::Receiver<PodStatus>,
    /// Taken when the pod is told to stop.
    handle: Option<P>,
    stopping: Option<SystemTime>,
}

/// Namespace and name.
type PodKey = (String, String);

/// All pods of the mesh.
pub(super) struct Pods<R: PodRunner> {
    runner: R,
    pods: BTreeMap<PodKey, Pod<R::Pod>>,
    stopping: JoinSet<PodKey>,
    watching: JoinSet<()>,
    stirred: Arc<Notify>,
    starts: u64,
    /// Owners that are broken just now: their pods stay.
    kept: BTreeSet<Key>,
    pending: bool,
    pub(super) warnings: BTreeMap<Key, Vec<String>>,
}

impl<R: PodRunner> Pods<R> {
    pub(super) fn new(runner: R, stirred: Arc<Notify>) -> Self {
        Self {
            runner,
            pods: BTreeMap::new(),
            stopping: JoinSet::new(),
            watching: JoinSet::new(),
            stirred,
            starts: 0,
            kept: BTreeSet::new(),
            pending: false,
            warnings: BTreeMap::new(),
        }
    }

    /// This workload cannot be read now; its pods are to stay.
    pub(super) fn keep(&mut self, owner: &Key) {
        self.kept.insert(owner.clone());
    }

    /// Nothing starts, stops or waits to.
    pub(super) fn is_settled(&self) -> bool {
        !self.pending && self.stopping.is_empty()
    }

    /// Starts and stops what is due; what cannot be started is told with its reason.
    pub(super) fn advance(
        &mut self,
        workloads: &[Workload],
        desired: &Desired,
        ready: bool,
    ) -> Vec<(Key, String)> {
        let mut refused = Vec::new();
        while self.watching.try_join_next().is_some() {}
        self.pending = false;
        let kept = std::mem::take(&mut self.kept);
        let owners: BTreeSet<&Key> = workloads
            .iter()
            .map(|workload| &workload.key)
            .chain(&kept)
            .collect();
        let orphans: Vec<PodKey> = self
            .pods
            .iter()
            .filter(|(_, pod)| !owners.contains(&pod.owner))
            .map(|(key, _)| key.clone())
            .collect();
        for orphan in orphans {
            self.stop(&orphan, NOTICE);
        }
        self.warnings.retain(|key, _| owners.contains(key));
        for workload in workloads {
            if let Err(reason) = self.follow(workload, desired, ready) {
                refused.push((workload.key.clone(), reason));
            }
        }
        refused
    }

    /// Steps of one workload until there is nothing left to do, or something has to happen first.
    fn follow(
        &mut self,
        workload: &Workload,
        desired: &Desired,
        ready: bool,
    ) -> Result<(), String> {
        loop {
            let Plan { start, stop } = plan(workload, &self.replicas(&workload.key));
            if start.is_empty() && stop.is_empty() {
                return Ok(());
            }
            for name in &stop {
                self.stop(&(workload.key.namespace.clone(), name.clone()), NOTICE);
            }
            let mut acted = !stop.is_empty();
            for name in start {
                if !ready || self.starting() >= STARTING {
                    self.pending = true;
                    return Ok(());
                }
                acted |= self.start(workload, name, desired)?;
            }
            if !acted {
                self.pending = true;
                return Ok(());
            }
        }
    }

    fn starting(&self) -> usize {
        let starting = |pod: &&Pod<R::Pod>| {
            let status = pod.status.borrow();
            !status.ready && status.phase == Phase::Pending
        };
        self.pods.values().filter(starting).count()
    }

    fn replicas(&self, owner: &Key) -> Vec<Replica> {
        let own = self.pods.iter().filter(|(_, pod)| pod.owner == *owner);
        own.map(|((_, name), pod)| {
            let status = pod.status.borrow();
            let job = owner.kind == "Job";
            Replica {
                name: name.clone(),
                revision: pod.revision.clone(),
                ready: status.ready,
                stopping: pod.handle.is_none(),
                finished: match status.phase {
                    Phase::Succeeded if job => Some(true),
                    Phase::Failed if job => Some(false),
                    _ => None,
                },
                order: pod.order,
            }
        })
        .collect()
    }

    /// False: somebody else has the name for now.
    fn start(
        &mut self,
        workload: &Workload,
        name: Option<String>,
        desired: &Desired,
    ) -> Result<bool, String> {
        let namespace = workload.key.namespace.clone();
        let taken = |name: &str| {
            self.pods
                .contains_key(&(namespace.clone(), name.to_owned()))
        };
        let name = name.unwrap_or_else(|| workload.pod_name(taken));
        if taken(&name) {
            // A pod of another owner has the name; when it is gone there is a new look.
            return match workload.style {
                Style::Single => Err(format!("a pod of the name {name} is there already")),
                _ => Ok(false),
            };
        }
        let labels = desired
            .get(&Key::new("Namespace", "", &namespace))
            .map(|object| &object.value);
        let Injected {
            pod,
            skipped,
            warnings,
        } = injection::run(
            PodTemplate::new(workload, &name),
            labels,
            self.runner.injection(),
        )?;
        self.warnings.insert(workload.key.clone(), warnings);
        let handle = self.runner.start(&pod)?;
        let status = handle.status();
        let (mut changes, stirred) = (status.clone(), Arc::clone(&self.stirred));
        self.watching.spawn(async move {
            while changes.changed().await.is_ok() {
                stirred.notify_one();
            }
        });
        self.starts += 1;
        let pod = Pod {
            object: Arc::new(pod),
            owner: workload.key.clone(),
            revision: workload.revision.clone(),
            order: self.starts,
            skipped,
            status,
            handle: Some(handle),
            stopping: None,
        };
        self.pods.insert((namespace, name), pod);
        Ok(true)
    }

    fn stop(&mut self, key: &PodKey, notice: Duration) {
        let Some(pod) = self.pods.get_mut(key) else {
            return;
        };
        if let Some(handle) = pod.handle.take() {
            pod.stopping = Some(SystemTime::now());
            let key = key.clone();
            self.stopping.spawn(async move {
                tokio::time::sleep(notice).await;
                handle.stop().await;
                key
            });
        }
    }

    /// Tells every pod to stop.
    pub(super) fn stop_all(&mut self) {
        let all: Vec<PodKey> = self.pods.keys().cloned().collect();
        for key in all {
            self.stop(&key, Duration::ZERO);
        }
    }

    /// The next pod that has stopped; never ends a `select!` while none is stopping.
    pub(super) async fn next_gone(&mut self) -> Option<PodKey> {
        self.stopping.join_next().await?.ok()
    }

    pub(super) fn forget(&mut self, key: &PodKey) {
        if let Some(pod) = self.pods.remove(key) {
            let status = pod.status.borrow().clone();
            self.runner.release(&status);
        }
    }

    pub(super) fn views(&self) -> impl Iterator<Item = PodView> {
        self.pods.values().map(|pod| PodView {
            object: Arc::clone(&pod.object),
            owner: pod.owner.clone(),
            revision: pod.revision.clone(),
            status: pod.status.borrow().clone(),
            stopping: pod.stopping,
            skipped: pod.skipped,
        })
    }
}
