//! A running mesh as the command line sees it: answers status, `get`, `apply` and the rest from the
//! controller, the control plane, the sidecars and the trace store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use heddle_proto::admin::Proxy;
use serde_json::Value;
use tokio::sync::watch;

use super::collector::Collector;
use super::control::ControlAdmin;
use super::controller::Handle;
use super::refusals;
use super::sidecar::{self, SidecarStatus};
use super::system::System;
use super::view::PodView;
use crate::api::{
    Ask, Change, Container, Daemon, Deletion, Dns, Failed, Manifest, Nack, Pod, Query, Report,
    Status, Traces,
};
use crate::cluster::rfc3339;
use crate::manifests::Key;
use crate::node::status::ContainerKind;
use crate::node::{Layout, Phase};
use crate::traces::Store;

mod follow;
mod routes;

/// The mesh.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) layout: Layout,
    pub(crate) trust_domain: String,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) handle: Handle,
    pub(crate) control: ControlAdmin,
    pub(crate) system: System,
    pub(crate) store: Arc<Store>,
    pub(crate) collector: Collector,
    pub(crate) collector_address: SocketAddr,
    pub(crate) otlp_endpoint: Option<String>,
    pub(crate) stop: Arc<watch::Sender<bool>>,
}

impl Daemon for Mesh {
    async fn status(&self) -> Status {
        let view = self.handle.view();
        let control = self.control.status().await;
        let mut answers = sidecar::ask_all(
            view.pods
                .iter()
                .filter(|pod| pod.status.proxy_pid.is_some())
                .map(|pod| pod.status.netns.clone()),
        )
        .await;
        let proxies = control
            .as_ref()
            .map(|status| status.proxies.as_slice())
            .unwrap_or_default();
        let pods: Vec<Pod> = view
            .pods
            .iter()
            .map(|pod| self.pod(pod, answers.remove(&pod.status.netns), proxies))
            .collect();
        let mut control_plane = self.system.control_plane().await;
        if let (true, Err(reason)) = (control_plane.ready, &control) {
            (control_plane.ready, control_plane.reason) = (false, Some(reason.clone()));
        }
        let (identity, injector) = (self.system.identity().await, self.system.injector().await);
        let refused = control
            .as_ref()
            .map(|status| status.refused.as_slice())
            .unwrap_or_default();
        let (warnings, refused): (Vec<_>, Vec<_>) =
            refusals::merge(&view, refused, &self.layout.state_dir())
                .into_iter()
                .partition(|problem| problem.is_warning());
        let pods_ready = pods.iter().all(|pod| pod.ready || pod.phase == "Succeeded");
        Status {
            mesh: self.layout.mesh.to_string(),
            trust_domain: self.trust_domain.clone(),
            ready: view.settled
                && pods_ready
                && control_plane.ready
                && identity.ready
                && injector.ready,
            pods,
            control_plane,
            identity,
            injector,
            traces: Traces {
                address: self.collector_address.to_string(),
                ready: self.collector.is_ready(),
                forwarded_to: self.otlp_endpoint.clone(),
                usage: self.store.usage(),
            },
            dns: Dns {
                address: format!("{}:53", self.layout.plan.dns().v4),
                names: view.names,
            },
            model_version: control.as_ref().map_or(0, |status| status.model_version),
            refused,
            warnings,
            notes: view.notes.clone(),
            daemon_pid: std::process::id(),
            state_dir: self.layout.state_dir().display().to_string(),
            paths: self
                .paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
        }
    }

    async fn apply(&self, manifests: Vec<Manifest>) -> Result<Report, Failed> {
        let before = self.control.status().await.ok();
        let mut report = self.handle.apply(manifests).await.ok_or_else(stopping)?;
        self.follow(before, &mut report).await;
        Ok(report)
    }

    async fn delete(&self, deletion: Deletion) -> Result<Report, Failed> {
        let before = self.control.status().await.ok();
        let mut report = self
            .handle
            .delete(deletion.keys)
            .await
            .ok_or_else(stopping)?;
        self.follow(before, &mut report).await;
        Ok(report)
    }

    async fn objects(&self, query: Query) -> Result<Vec<Value>, Failed> {
        let kinds: Vec<&str> = query
            .kinds
            .split(',')
            .filter(|kind| !kind.is_empty())
            .collect();
        let view = self.handle.view();
        let (namespace, name) = (query.namespace.as_deref(), query.name.as_deref());
        let mut found = view.select(&kinds, namespace, name);
        if found.iter().any(routes::has_status) {
            routes::put_statuses(&mut found, &self.control.routes().await);
        }
        Ok(found)
    }

    async fn explain(&self, ask: Ask) -> Result<Value, Failed> {
        let view = self.handle.view();
        let mut pods = view.pods.iter();
        let named = format!("{}/{}", ask.namespace, ask.pod);
        let pod = pods
            .find(|pod| (&pod.status.namespace, &pod.status.name) == (&ask.namespace, &ask.pod));
        let pod = pod.ok_or_else(|| Failed {
            error: format!("there is no pod {named}"),
            advice: Some("heddle get pods -A  lists them".to_owned()),
        })?;
        if let Some(reason) = pod.skipped {
            return Err(Failed {
                error: format!("pod {named} has no sidecar: {reason}"),
                advice: Some(
                    "no route applies to what it sends; name a pod that has one".to_owned(),
                ),
            });
        }
        let answered = sidecar::explain(&pod.status.netns, &ask.question).await;
        answered.map_err(|failed| Failed {
            error: format!("pod {named}: {}", failed.error),
            ..failed
        })
    }

    async fn system(&self, component: String, action: String) -> Result<Change, Failed> {
        let outcome = self.system.act(&component, &action).await?;
        Ok(Change {
            key: Key::new("system", "", &component),
            outcome,
        })
    }

    fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    fn traces(&self) -> &Store {
        &self.store
    }
}

fn stopping() -> Failed {
    Failed {
        error: "the mesh is being taken down".to_owned(),
        advice: None,
    }
}

impl Mesh {
    fn pod(&self, pod: &PodView, answer: Option<SidecarStatus>, proxies: &[Proxy]) -> Pod {
        let status = &pod.status;
        let answer = answer.unwrap_or_default();
        let proxy = proxies
            .iter()
            .find(|proxy| (&proxy.namespace, &proxy.pod) == (&status.namespace, &status.name));
        let injected = pod.skipped.is_none();
        let apps = status
            .containers
            .iter()
            .filter(|container| container.kind == ContainerKind::App);
        Pod {
            namespace: status.namespace.clone(),
            name: status.name.clone(),
            owner: pod.owner.to_string(),
            revision: pod.revision.clone(),
            ip: status.ips.first().copied(),
            ips: status.ips.clone(),
            netns: status.netns.clone(),
            node: "heddle".to_owned(),
            phase: word(&if pod.stopping.is_some() {
                Phase::Terminating
            } else {
                status.phase
            }),
            ready: status.ready && pod.stopping.is_none(),
            reason: status.reason.clone(),
            injected,
            not_injected_because: pod.skipped.map(str::to_owned),
            identity: injected.then(|| {
                answer
                    .identity
                    .clone()
                    .unwrap_or_else(|| pod.identity(&self.trust_domain))
            }),
            proxy_pid: status.proxy_pid,
            app_pids: apps
                .filter_map(|container| container.pid)
                .filter(|pid| Some(*pid) != status.proxy_pid)
                .collect(),
            certificate_expiry: answer.certificate_expiry,
            config_version: proxy
                .map(|proxy| proxy.config_version.clone())
                .or(answer.config_version),
            config_synced: proxy.map(|proxy| proxy.synced),
            restarts: status
                .containers
                .iter()
                .map(|container| container.restarts)
                .sum(),
            nacks: proxy
                .into_iter()
                .flat_map(|proxy| &proxy.nacks)
                .map(nack)
                .collect(),
            started: rfc3339(status.started_at),
            containers: status.containers.iter().map(container).collect(),
        }
    }
}

fn nack(nack: &heddle_proto::admin::Nack) -> Nack {
    Nack {
        resource: nack
            .type_url
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .to_owned(),
        name: nack.name.clone(),
        reason: nack.reason.clone(),
    }
}

fn container(container: &crate::node::ContainerStatus) -> Container {
    Container {
        name: container.name.clone(),
        kind: word(&container.kind),
        state: word(&container.state),
        ready: container.ready,
        restarts: container.restarts,
        pid: container.pid,
        reason: container.reason.clone(),
        log: container.log.display().to_string(),
    }
}

/// The word that an enum is in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
