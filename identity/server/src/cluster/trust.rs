//! The trust bundle as a ConfigMap in every namespace, where the pods of the mesh mount it.
//!
//! Written by server-side apply, only where it is different, again when somebody edits or deletes it,
//! and at once when a namespace comes or the roots change. Every replica does so: what they write is
//! the same.

use std::{convert::Infallible, time::Duration};

use futures_util::{StreamExt, stream};
use heddle_identity::{backoff::Backoff, channel::explain};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
    runtime::watcher,
};
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{
    FIELD_MANAGER, followed,
    namespaces::{KEY, View},
    within,
};

/// What comes within this time is looked at together; and nobody who edits as we do keeps us busier.
const GATHER: Duration = Duration::from_millis(100);
/// Requests at once.
const AT_ONCE: usize = 8;
const FIRST_RETRY: Duration = Duration::from_millis(500);
const SLOWEST_RETRY: Duration = Duration::from_secs(30);

/// Keeps the bundle in every namespace.
pub struct Publisher {
    client: Client,
    name: String,
    bundle: watch::Receiver<String>,
}

impl Publisher {
    /// Keeps `bundle` in ConfigMaps called `name`.
    pub fn new(client: Client, name: String, bundle: watch::Receiver<String>) -> Self {
        Self {
            client,
            name,
            bundle,
        }
    }

    /// Goes on for as long as the service does.
    pub async fn follow(mut self) -> Infallible {
        let every: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let namespaces = followed(watcher::watcher(every, watcher::Config::default()));
        let ours = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let maps: Api<ConfigMap> = Api::all(self.client.clone());
        let maps = followed(watcher::watcher(maps, ours));
        tokio::pin!(namespaces, maps);

        let mut view = View::default();
        let mut backoff = Backoff::new(FIRST_RETRY, SLOWEST_RETRY);
        let mut retry = None;
        loop {
            let again = async {
                match retry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let news = tokio::select! {
                Some(event) = namespaces.next() => namespace(&mut view, event),
                Some(event) = maps.next() => config_map(&mut view, event),
                Ok(()) = self.bundle.changed() => true,
                () = again => true,
            };
            if !news {
                continue;
            }
            // A listing is many events.
            let gathering = tokio::time::sleep(GATHER);
            tokio::pin!(gathering);
            loop {
                tokio::select! {
                    biased;
                    () = &mut gathering => break,
                    Some(event) = namespaces.next() => { namespace(&mut view, event); }
                    Some(event) = maps.next() => { config_map(&mut view, event); }
                }
            }
            let bundle = self.bundle.borrow_and_update().clone();
            retry = match self.write(&mut view, &bundle).await {
                true => {
                    backoff.reset();
                    None
                }
                false => Some(tokio::time::Instant::now() + backoff.next()),
            };
        }
    }

    /// True when every namespace has it.
    async fn write(&self, view: &mut View, bundle: &str) -> bool {
        let wanting = view.without(bundle);
        if wanting.is_empty() {
            return true;
        }
        let mut written = stream::iter(wanting)
            .map(|namespace| async {
                let done = self.apply(&namespace, bundle).await;
                (namespace, done)
            })
            .buffer_unordered(AT_ONCE);
        let mut whole = true;
        let mut count = 0_usize;
        while let Some((namespace, done)) = written.next().await {
            match done {
                Ok(Done::Written) => {
                    count += 1;
                    view.written(&namespace, bundle);
                }
                // Not held to be written: one of its name may come again.
                Ok(Done::Going) => whole = false,
                Err(reason) => {
                    whole = false;
                    warn!(namespace, reason, "a namespace has no current trust bundle");
                }
            }
        }
        info!(
            namespaces = count,
            config_map = self.name,
            "wrote the trust bundle"
        );
        whole
    }

    async fn apply(&self, namespace: &str, bundle: &str) -> Result<Done, String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let wanted = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "labels": {
                    "app.kubernetes.io/part-of": "heddle",
                    "app.kubernetes.io/managed-by": FIELD_MANAGER,
                },
            },
            "data": {KEY: bundle},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match within(api.patch(&self.name, &params, &Patch::Apply(&wanted))).await {
            Ok(_) => Ok(Done::Written),
            // The namespace is going, or gone: the watch will say so.
            Err(failed) if failed.code == 404 || is_going(&failed.reason) => {
                debug!(namespace, "the namespace is going away");
                Ok(Done::Going)
            }
            Err(failed) => Err(failed.reason),
        }
    }
}

/// What became of a namespace's bundle.
enum Done {
    Written,
    /// The namespace is going, so there is none.
    Going,
}

fn is_going(reason: &str) -> bool {
    reason.contains("being terminated")
}

fn namespace(
    view: &mut View,
    event: watcher::Result<watcher::Event<PartialObjectMeta<Namespace>>>,
) -> bool {
    match event {
        Ok(event) => {
            view.hear_namespace(event);
            true
        }
        Err(error) => told(&error, "namespaces"),
    }
}

fn config_map(view: &mut View, event: watcher::Result<watcher::Event<ConfigMap>>) -> bool {
    match event {
        Ok(event) => {
            view.hear_bundle(event);
            true
        }
        Err(error) => told(&error, "trust bundles"),
    }
}

fn told(error: &watcher::Error, what: &str) -> bool {
    warn!(what, reason = %explain(error), "cannot watch; trying again");
    false
}
