//! Looks for pods that ask for the mesh and have no sidecar, whoever made them and whatever kept the
//! webhook from them, and has it told. Of all pods only the metadata is watched, and nothing is kept;
//! the few that are looked at closer are asked for one by one.

use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use heddle_injector::{InjectConfig, PodContext, may_miss, missing};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::events::{Events, Regarding};
use super::namespaces::Namespaces;
use super::{TIMEOUT, backoff, followed};

pub(super) struct Look {
    pub(super) client: Client,
    pub(super) config: InjectConfig,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) events: Arc<Events>,
}

impl Look {
    pub(super) async fn follow(self) {
        let api = Api::<PartialObjectMeta<Pod>>::all(self.client.clone());
        let mut backoff = backoff();
        let mut changes = pin!(followed(watcher(api, watcher::Config::default())));
        loop {
            match changes.try_next().await {
                Ok(Some(Event::InitApply(pod) | Event::Apply(pod))) => {
                    self.look(&pod.metadata).await;
                }
                // A list that begins says nothing of how it ends.
                Ok(Some(Event::Init)) => {}
                Ok(Some(_)) => backoff.reset(),
                Ok(None) => return,
                Err(error) => {
                    let wait = backoff.next();
                    tracing::warn!(%error, ?wait, "pods cannot be watched; trying again");
                    sleep(wait).await;
                }
            }
        }
    }

    async fn look(&self, metadata: &ObjectMeta) {
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return;
        };
        // What cannot be known now is looked at when the watch begins anew.
        let Ok(namespace_meta) = self.namespaces.find(namespace).await else {
            return;
        };
        let context = PodContext {
            namespace_meta,
            ..PodContext::new(namespace)
        };
        let none = std::collections::BTreeMap::new();
        let labels = metadata.labels.as_ref().unwrap_or(&none);
        let annotations = metadata.annotations.as_ref().unwrap_or(&none);
        if !may_miss(labels, annotations, &context, &self.config) {
            return;
        }
        let regarding = Regarding::of(metadata);
        if !self.events.is_new(&regarding) {
            return;
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let found = match timeout(TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return tracing::debug!(%error, namespace, name, "a pod cannot be looked at");
            }
            Err(_) => return tracing::debug!(namespace, name, "a pod cannot be looked at in time"),
        };
        let Some(Ok(pod)) = found.map(serde_json::to_value) else {
            return;
        };
        if let Some(missing) = missing(&pod, &context, &self.config) {
            tracing::debug!(namespace, name, reason = %missing, "a pod has no sidecar");
            self.events.tell(regarding, name, &missing);
        }
    }
}
