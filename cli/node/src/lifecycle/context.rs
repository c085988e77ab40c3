//! What a pod's task and its containers' supervisors know of the pod.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::{
    DualIp, Node, Objects, PodNames, environment::Facts, status::ContainerKind, token::stable_uid,
    volumes::Source,
};

/// Kubernetes' default.
const GRACE_SECONDS: i64 = 30;

/// One pod, as its manifest says it.
#[derive(Debug)]
pub(crate) struct PodContext {
    pub(crate) node: Arc<Node>,
    pub(crate) pod: Pod,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) ip: DualIp,
    ips: Vec<IpAddr>,
    node_name: String,
}

impl PodContext {
    pub(crate) fn new(node: Arc<Node>, pod: Pod, ip: DualIp) -> Self {
        let meta = &pod.metadata;
        let namespace = meta
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let name = meta.name.clone().unwrap_or_else(|| "pod".to_owned());
        let uid = meta
            .uid
            .clone()
            .unwrap_or_else(|| stable_uid(&format!("pod/{namespace}/{name}")));
        let node_name = node.layout.node_netns();
        Self {
            node,
            namespace,
            name,
            uid,
            ip,
            ips: ip.all(),
            node_name,
            pod,
        }
    }

    pub(crate) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// Every container in the order of the status: init containers, then the app's.
    pub(crate) fn containers(&self) -> Vec<(Container, ContainerKind)> {
        let spec = self.spec();
        let init = spec
            .into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten());
        let apps = spec.into_iter().flat_map(|spec| &spec.containers);
        let kind = |container: &Container| match container.restart_policy.as_deref() {
            Some("Always") => ContainerKind::Sidecar,
            _ => ContainerKind::Init,
        };
        init.map(|container| (container.clone(), kind(container)))
            .chain(apps.map(|container| (container.clone(), ContainerKind::App)))
            .collect()
    }

    pub(crate) fn restart_policy(&self) -> &str {
        self.spec()
            .and_then(|spec| spec.restart_policy.as_deref())
            .unwrap_or("Always")
    }

    pub(crate) fn grace(&self) -> Duration {
        let seconds = self
            .spec()
            .and_then(|spec| spec.termination_grace_period_seconds);
        Duration::from_secs(seconds.unwrap_or(GRACE_SECONDS).unsigned_abs())
    }

    pub(crate) fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    pub(crate) fn names(&self) -> PodNames {
        let spec = self.spec();
        let hostname = spec.and_then(|spec| spec.hostname.clone());
        let mut hostname = hostname.unwrap_or_else(|| self.name.clone());
        // The kernel allows 64 bytes; Kubernetes cuts here too.
        hostname.truncate(hostname.floor_char_boundary(63));
        PodNames {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            hostname: hostname.trim_end_matches(['-', '.']).to_owned(),
            subdomain: spec.and_then(|spec| spec.subdomain.clone()),
            cluster_domain: self.node.options.cluster_domain.clone(),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.node.layout.pod_dir(&self.namespace, &self.name)
    }

    pub(crate) fn log(&self, container: &str) -> PathBuf {
        self.node
            .layout
            .container_log(&self.namespace, &self.name, container)
    }

    /// The objects as they are now.
    pub(crate) fn objects(&self) -> Arc<Objects> {
        self.node.options.objects.borrow().clone()
    }

    pub(crate) fn facts<'a>(&'a self, objects: &'a Objects) -> Facts<'a> {
        Facts {
            pod: &self.pod,
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
            ips: &self.ips,
            host_ip: IpAddr::V4(self.node.layout.plan.gateway().v4),
            node_name: &self.node_name,
            objects,
        }
    }

    pub(crate) fn source<'a>(&'a self, objects: &'a Objects) -> Source<'a> {
        Source {
            facts: self.facts(objects),
            tokens: &self.node.tokens,
        }
    }
}
