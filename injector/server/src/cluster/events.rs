//! Events about pods without a sidecar, where somebody will look for them: at the controller that made
//! the pod, else at the pod. Bounded: one for each of these in ten minutes, a few each second, a short
//! queue; what does not fit is counted and dropped. An Event's name says what it is about, so that of
//! several injectors one tells it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heddle_injector::Missing;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
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
/// Bytes of a note, by the API's rules.
const MAX_NOTE: usize = 1024;
/// Of what an Event is about, in the Event's own name of at most 253 bytes.
const MAX_NAME: usize = 200;
/// The API's answer to a name that is there already.
const CONFLICT: u16 = 409;

/// Tells the cluster of pods without a sidecar.
pub(super) struct Events {
    queue: mpsc::Sender<Event>,
    told: Mutex<HashMap<String, Instant>>,
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

    /// Whether nothing was told of it lately; from now on it was.
    pub(super) fn is_new(&self, regarding: &Regarding) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.retain(|_, when| when.elapsed() < QUIET);
        }
        let full = told.len() >= REMEMBERED;
        match told.entry(regarding.uid.clone()) {
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

    pub(super) fn tell(&self, regarding: Regarding, pod: &str, missing: &Missing) {
        if self.queue.try_send(event(regarding, pod, missing)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn text(&self) -> String {
        format!(
            "# HELP heddle_injector_events_total Events about pods without a sidecar, by what became of them.\n\
             # TYPE heddle_injector_events_total counter\n\
             heddle_injector_events_total{{outcome=\"sent\"}} {}\n\
             heddle_injector_events_total{{outcome=\"dropped\"}} {}\n",
            self.sent.load(Ordering::Relaxed),
            self.dropped.load(Ordering::Relaxed)
        )
    }
}

/// What an Event is about.
pub(super) struct Regarding {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
}

impl Regarding {
    /// The controller of a pod, else the pod.
    pub(super) fn of(pod: &ObjectMeta) -> Self {
        let namespace = pod.namespace.clone().unwrap_or_default();
        let mut owners = pod.owner_references.iter().flatten();
        match owners.find(|owner| owner.controller == Some(true)) {
            Some(owner) => Self {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                namespace,
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            },
            None => Self {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace,
                name: pod.name.clone().unwrap_or_default(),
                uid: pod.uid.clone().unwrap_or_default(),
            },
        }
    }
}

fn event(regarding: Regarding, pod: &str, missing: &Missing) -> Event {
    let note = format!("pod {pod} has no sidecar of Heddle's: {missing}");
    let (reason, type_) = match missing {
        Missing::Skipped(_) => ("InjectionSkipped", "Normal"),
        Missing::Refused(_) | Missing::Missed => ("InjectionMissed", "Warning"),
    };
    let mut hasher = DefaultHasher::new();
    (&regarding.uid, missing.as_str()).hash(&mut hasher);
    let name: String = regarding.name.chars().take(MAX_NAME).collect();
    let name = name.trim_end_matches(['-', '.']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:016x}", hasher.finish())),
            namespace: Some(regarding.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Inject".into()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(note[..note.floor_char_boundary(MAX_NOTE)].to_owned()),
        reason: Some(reason.into()),
        regarding: Some(ObjectReference {
            api_version: Some(regarding.api_version),
            kind: Some(regarding.kind),
            name: Some(regarding.name),
            namespace: Some(regarding.namespace),
            uid: Some(regarding.uid),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(instance()),
        type_: Some(type_.into()),
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
            // Another injector, or this one before it was started anew, has told it.
            Ok(Err(kube::Error::Api(status))) if status.code == CONFLICT => continue,
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
