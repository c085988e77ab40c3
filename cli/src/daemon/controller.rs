//! The owner of a mesh's state: takes edits and commands, plans with [`crate::cluster`], starts and
//! stops pods, and publishes the outcome. It alone changes anything, one event after the other;
//! whatever happens, the answer is the same: look at everything again and do what is missing.

mod pods;
mod publishing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heddle_control::check::Code;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use self::pods::Pods;
use self::publishing::Publisher;
use super::view::View;
use super::watch::PathWatch;
use crate::api::{Change, Manifest, Report};
use crate::cluster::{Desired, ServiceIps, Workload};
use crate::manifests::{Key, Problem, Source, load, parse};

pub(crate) use self::pods::{PodRunner, RunningPod};
pub(crate) use self::publishing::Outlets;

/// Between looks at the trust bundle, which pods mount.
const BUNDLE_LOOK: Duration = Duration::from_secs(1);

/// What a command asks of the controller.
#[derive(Debug)]
pub(crate) enum Request {
    Apply(Vec<Manifest>, oneshot::Sender<Report>),
    Delete(Vec<Key>, oneshot::Sender<Report>),
}

/// The controller; [`Controller::run`] owns it.
pub(crate) struct Controller<R: PodRunner> {
    sources: Vec<Source>,
    desired: Desired,
    services: ServiceIps,
    pods: Pods<R>,
    publisher: Publisher,
    /// Something happened to a pod.
    stirred: Arc<Notify>,
}

/// How others speak to the controller.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
}

impl Handle {
    /// The newest picture.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    pub(crate) async fn apply(&self, manifests: Vec<Manifest>) -> Option<Report> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Apply(manifests, reply))
            .await
            .ok()?;
        answer.await.ok()
    }

    pub(crate) async fn delete(&self, keys: Vec<Key>) -> Option<Report> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Delete(keys, reply))
            .await
            .ok()?;
        answer.await.ok()
    }
}

impl<R: PodRunner> Controller<R> {
    pub(crate) fn new(
        sources: Vec<Source>,
        services: ServiceIps,
        runner: R,
        outlets: Outlets,
    ) -> Self {
        let stirred = Arc::new(Notify::new());
        let mut desired = Desired::default();
        desired.set_watched(load(&sources));
        Self {
            sources,
            desired,
            services,
            pods: Pods::new(runner, Arc::clone(&stirred)),
            publisher: Publisher::new(outlets),
            stirred,
        }
    }

    /// Writes what the control plane reads before any pod runs, so that it starts with the mesh's
    /// Services.
    pub(crate) fn publish_first(&mut self) {
        self.step(false);
    }

    /// Runs until `stop`; then every pod is stopped in order.
    pub(crate) fn start(
        mut self,
        stop: watch::Receiver<bool>,
    ) -> (Handle, tokio::task::JoinHandle<()>) {
        let (requests, inbox) = mpsc::channel(16);
        let handle = Handle {
            requests,
            view: self.publisher.view(),
        };
        let task = tokio::spawn(async move {
            self.run(inbox, stop).await;
        });
        (handle, task)
    }

    async fn run(&mut self, mut inbox: mpsc::Receiver<Request>, mut stop: watch::Receiver<bool>) {
        let paths: Vec<PathBuf> = self
            .sources
            .iter()
            .filter_map(Source::path)
            .cloned()
            .collect();
        let mut watch = match PathWatch::new(&paths) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::error!(%error, "the paths cannot be watched: edits will not be seen");
                None
            }
        };
        let mut look = tokio::time::interval(BUNDLE_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.step(true);
        loop {
            let edited = async {
                match &mut watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = edited => self.desired.set_watched(load(&self.sources)),
                () = self.stirred.notified() => {}
                _ = look.tick() => if !self.publisher.read_bundle() { continue },
                Some(gone) = self.pods.next_gone() => self.pods.forget(&gone),
                Some(request) = inbox.recv() => {
                    self.answer(request);
                    continue;
                }
            }
            self.step(true);
        }
        self.pods.stop_all();
        self.publisher.publish(
            &self.desired,
            &mut self.services,
            &self.pods,
            Vec::new(),
            true,
        );
        while let Some(gone) = self.pods.next_gone().await {
            self.pods.forget(&gone);
            self.publisher.publish(
                &self.desired,
                &mut self.services,
                &self.pods,
                Vec::new(),
                true,
            );
        }
    }

    /// One look at everything.
    fn step(&mut self, run: bool) {
        let mut problems = Vec::new();
        let mut workloads: Vec<Workload> = Vec::new();
        for object in self.desired.objects() {
            match Workload::read(object) {
                Ok(Some(workload)) => workloads.push(workload),
                Ok(None) => {}
                // A workload that cannot be read keeps the pods it has.
                Err(reason) => {
                    self.pods.keep(&object.key);
                    problems.push(Problem::of(Code::BadWorkload, object, reason));
                }
            }
        }
        let mut settled = false;
        if run {
            let refused =
                self.pods
                    .advance(&workloads, &self.desired, self.publisher.trust_bundle());
            settled = self.pods.is_settled();
            for (key, reason) in refused {
                problems.extend(
                    self.desired
                        .get(&key)
                        .map(|object| Problem::of(Code::BadWorkload, object, reason)),
                );
            }
        }
        self.publisher.publish(
            &self.desired,
            &mut self.services,
            &self.pods,
            problems,
            settled,
        );
    }

    fn answer(&mut self, request: Request) {
        // An edit that is not seen yet comes first: what a person did first is older.
        self.desired.set_watched(load(&self.sources));
        match request {
            Request::Apply(manifests, reply) => {
                let mut report = Report::default();
                for manifest in manifests {
                    let (objects, problems) =
                        parse(std::path::Path::new(&manifest.file), &manifest.text);
                    report.refused.extend(problems);
                    for object in objects {
                        if let Err(reason) = Workload::read(&object) {
                            report
                                .refused
                                .push(Problem::of(Code::BadWorkload, &object, reason));
                            continue;
                        }
                        let key = object.key.clone();
                        let outcome = self.desired.apply(object).as_str().to_owned();
                        report.changes.push(Change { key, outcome });
                    }
                }
                self.step(true);
                let view = self.publisher.view();
                let applied = |problem: &&Problem| {
                    report
                        .changes
                        .iter()
                        .any(|change| problem.is_about(&change.key))
                };
                let refused: Vec<Problem> = view
                    .borrow()
                    .refused
                    .iter()
                    .filter(applied)
                    .cloned()
                    .collect();
                report.refused.extend(refused);
                let _ = reply.send(report);
            }
            Request::Delete(keys, reply) => {
                let mut report = Report::default();
                for key in keys {
                    let outcome = if self.desired.delete(&key) {
                        "deleted"
                    } else {
                        "not found"
                    };
                    report.changes.push(Change {
                        key,
                        outcome: outcome.to_owned(),
                    });
                }
                self.step(true);
                let _ = reply.send(report);
            }
        }
    }
}

#[cfg(test)]
mod tests;
