//! Events about pods that were not injected, where somebody will look for them: at the controller
//! that made the pod, else at the pod. Bounded: one for each thing and reason in ten minutes, a few
//! each second, a short queue; what does not fit is counted and dropped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heddle_injector::SkipReason;
use heddle_injector::webhook::Skipped;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{FIELD_MANAGER, TIMEOUT};

const CONTROLLER: &str = "heddle.io/injector";
const QUEUE: usize = 64;
/// At most five a second.
const PAUSE: Duration = Duration::from_millis(200);
/// The same thing is not told again for so long.
const QUIET: Duration = Duration::from_secs(600);
/// Things remembered as told. Beyond that, new ones wait until old ones are forgotten.
const REMEMBERED: usize = 1024;
/// Of a note, by the API's rules.
const MAX_NOTE: usize = 1024;

/// Tells the cluster of skips.
pub(super) struct Events {
    queue: mpsc::Sender<Event>,
    told: Mutex<HashMap<(String, String), Instant>>,
    sent: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    pub(super) fn start(client: Client, tasks: &mut JoinSet<()>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (sent, dropped) = (Arc::default(), Arc::default());
        tasks.spawn(send(
            client,
            queued,
            Arc::clone(&sent),
            Arc::clone(&dropped),
        ));
        Self {
            queue,
            told: Mutex::default(),
            sent,
            dropped,
        }
    }

    pub(super) fn skipped(&self, skipped: &Skipped<'_>) {
        // What nobody asked for surprises nobody.
        if matches!(
            skipped.reason,
            SkipReason::NotAsked | SkipReason::SystemNamespace(_)
        ) {
            return;
        }
        let Some(regarding) = regarding(skipped) else {
            return;
        };
        let thing = format!(
            "{}/{}/{}",
            skipped.namespace,
            regarding.kind.as_deref().unwrap_or_default(),
            regarding.name.as_deref().unwrap_or_default()
        );
        if !self.is_new((thing, skipped.reason.as_str().to_owned())) {
            return;
        }
        if self.queue.try_send(event(skipped, regarding)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_new(&self, what: (String, String)) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.retain(|_, when| when.elapsed() < QUIET);
        }
        let full = told.len() >= REMEMBERED;
        match told.entry(what) {
            Entry::Occupied(told) if told.get().elapsed() < QUIET => false,
            Entry::Occupied(mut told) => {
                told.insert(Instant::now());
                true
            }
            Entry::Vacant(_) if full => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
            Entry::Vacant(place) => {
                place.insert(Instant::now());
                true
            }
        }
    }

    pub(super) fn text(&self) -> String {
        format!(
            "# HELP heddle_injector_events_total Events about skipped pods, by what became of them.\n\
             # TYPE heddle_injector_events_total counter\n\
             heddle_injector_events_total{{outcome=\"sent\"}} {}\n\
             heddle_injector_events_total{{outcome=\"dropped\"}} {}\n",
            self.sent.load(Ordering::Relaxed),
            self.dropped.load(Ordering::Relaxed)
        )
    }
}

/// A pod that a controller makes has no name yet; the controller has.
fn regarding(skipped: &Skipped<'_>) -> Option<ObjectReference> {
    let metadata = skipped.pod.get("metadata")?;
    let text = |value: &Value, field: &str| {
        let text = value.get(field)?.as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let owners = metadata.get("ownerReferences").and_then(Value::as_array);
    let controller = owners
        .into_iter()
        .flatten()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true));
    let (api_version, kind, of) = match controller {
        Some(owner) => (text(owner, "apiVersion"), text(owner, "kind"), owner),
        None => (Some("v1".into()), Some("Pod".into()), metadata),
    };
    Some(ObjectReference {
        api_version,
        kind,
        name: Some(text(of, "name")?),
        namespace: Some(skipped.namespace.to_owned()),
        uid: text(of, "uid"),
        ..ObjectReference::default()
    })
}

fn event(skipped: &Skipped<'_>, regarding: ObjectReference) -> Event {
    let name = regarding.name.as_deref().unwrap_or_default();
    let note = format!(
        "pod is not injected with Heddle's sidecar: {}",
        skipped.reason
    );
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}.", name.chars().take(200).collect::<String>())),
            namespace: Some(skipped.namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Inject".into()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(note.chars().take(MAX_NOTE).collect()),
        reason: Some("InjectionSkipped".into()),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(instance()),
        type_: Some("Normal".into()),
        ..Event::default()
    }
}

/// This process, as far as it knows itself; at most 128 bytes, by the API's rules.
fn instance() -> String {
    let name = std::env::var("HOSTNAME").unwrap_or_default();
    match name.is_empty() {
        true => FIELD_MANAGER.into(),
        false => name.chars().take(63).collect(),
    }
}

async fn send(
    client: Client,
    mut queued: mpsc::Receiver<Event>,
    sent: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
) {
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    while let Some(event) = queued.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api = Api::<Event>::namespaced(client.clone(), &namespace);
        let counter = match timeout(TIMEOUT, api.create(&parameters, &event)).await {
            Ok(Ok(_)) => &sent,
            Ok(Err(error)) => {
                tracing::warn!(%error, namespace, "an Event was not taken");
                &dropped
            }
            Err(_) => {
                tracing::warn!(
                    namespace,
                    "an Event was not taken: the Kubernetes API does not answer"
                );
                &dropped
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}
