//! Labels of all namespaces, watched. Only labels and the one annotation that decides are kept. A
//! namespace that the watch has not brought yet is asked for by itself, so that a pod created right
//! after its namespace is not left out.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::TryStreamExt;
use heddle_injector::NamespaceMeta;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{TIMEOUT, backoff, followed};

/// The only annotation of a namespace that injection reads.
const LINKERD_SWITCH: &str = "linkerd.io/inject";

/// The namespaces of a cluster, as far as known.
pub(super) struct Namespaces {
    api: Api<PartialObjectMeta<Namespace>>,
    known: Arc<RwLock<Option<Known>>>,
}

/// By name.
type Known = HashMap<String, NamespaceMeta>;

impl Namespaces {
    pub(super) fn watch(client: Client, tasks: &mut JoinSet<()>) -> Self {
        let api = Api::<PartialObjectMeta<Namespace>>::all(client);
        let known = Arc::default();
        tasks.spawn(follow(api.clone(), Arc::clone(&known)));
        Self { api, known }
    }

    /// Whether all of them have been read once.
    pub(super) fn is_known(&self) -> bool {
        self.read(|known| known.is_some())
    }

    pub(super) async fn find(&self, name: &str) -> Result<NamespaceMeta, String> {
        if let Some(meta) = self.read(|known| known.as_ref()?.get(name).cloned()) {
            return Ok(meta);
        }
        match timeout(TIMEOUT / 2, self.api.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found
                .map(|found| meta(found.metadata).1)
                .unwrap_or_default()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the Kubernetes API does not answer".into()),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Option<Known>) -> T) -> T {
        read(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn follow(api: Api<PartialObjectMeta<Namespace>>, known: Arc<RwLock<Option<Known>>>) {
    let mut backoff = backoff();
    let mut events = pin!(followed(watcher(api, watcher::Config::default())));
    let mut relisted = Known::new();
    loop {
        let event = match events.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => {
                let wait = backoff.next();
                tracing::warn!(%error, ?wait, "namespaces cannot be watched; trying again");
                sleep(wait).await;
                continue;
            }
        };
        // A list that begins says nothing of how it ends.
        if !matches!(event, Event::Init) {
            backoff.reset();
        }
        let change = |change: &mut dyn FnMut(&mut Known)| {
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.as_mut() {
                change(known);
            }
        };
        match event {
            Event::Init => relisted.clear(),
            Event::InitApply(namespace) => {
                relisted.extend([meta(namespace.metadata)]);
            }
            Event::InitDone => {
                let all = std::mem::take(&mut relisted);
                tracing::debug!(namespaces = all.len(), "namespaces read");
                *known.write().unwrap_or_else(PoisonError::into_inner) = Some(all);
            }
            Event::Apply(namespace) => {
                let (name, meta) = meta(namespace.metadata);
                change(&mut |known| {
                    known.insert(name.clone(), meta.clone());
                });
            }
            Event::Delete(namespace) => {
                let name = namespace.metadata.name.unwrap_or_default();
                change(&mut |known| {
                    known.remove(&name);
                });
            }
        }
    }
}

fn meta(metadata: ObjectMeta) -> (String, NamespaceMeta) {
    let switch = metadata
        .annotations
        .and_then(|mut annotations| annotations.remove_entry(LINKERD_SWITCH));
    let meta = NamespaceMeta {
        labels: metadata.labels.unwrap_or_default(),
        annotations: BTreeMap::from_iter(switch),
    };
    (metadata.name.unwrap_or_default(), meta)
}
