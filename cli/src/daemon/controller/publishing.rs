//! What follows from the state, for those who read it: files for the control plane, names for DNS,
//! ConfigMaps and Secrets for containers, the picture for status and `get`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use heddle_control::check::Code;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::pods::{PodRunner, Pods};
use crate::cluster::{Desired, ServiceIps};
use crate::daemon::names::{self, NamedPod};
use crate::daemon::publish::{Mirror, file_name};
use crate::daemon::view::{PodView, View};
use crate::manifests::{Key, Problem};
use crate::node::dns::names::Names;
use crate::node::objects::{Data, Objects};
use crate::node::{AddressPlan, Phase};

/// ConfigMap that sidecars mount the trust bundle from, and its key.
const TRUST_BUNDLE: (&str, &str) = ("heddle-trust-bundle", "root-cert.pem");

/// Where things are published.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) plan: AddressPlan,
    pub(crate) cluster: Mirror,
    pub(crate) applied: Mirror,
    pub(crate) names: watch::Sender<Arc<Names>>,
    pub(crate) objects: watch::Sender<Arc<Objects>>,
    pub(crate) trust_bundle: PathBuf,
}

#[derive(Debug)]
pub(super) struct Publisher {
    outlets: Outlets,
    /// What the trust bundle's file held last.
    bundle: String,
    view: watch::Sender<Arc<View>>,
}

impl Publisher {
    pub(super) fn new(outlets: Outlets) -> Self {
        Self {
            outlets,
            bundle: String::new(),
            view: watch::channel(Arc::default()).0,
        }
    }

    pub(super) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Whether there is a trust bundle yet: no pod can start before.
    pub(super) fn trust_bundle(&self) -> bool {
        self.outlets.trust_bundle.exists()
    }

    /// Reads the trust bundle again; true when it has changed, as it does when roots rotate.
    pub(super) fn read_bundle(&mut self) -> bool {
        let now = std::fs::read_to_string(&self.outlets.trust_bundle).unwrap_or_default();
        let changed = now != self.bundle;
        self.bundle = now;
        changed
    }

    pub(super) fn publish<R: PodRunner>(
        &mut self,
        desired: &Desired,
        ips: &mut ServiceIps,
        pods: &Pods<R>,
        problems: Vec<Problem>,
        settled: bool,
    ) {
        let mut view = View {
            settled,
            ..View::default()
        };
        view.refused.extend(desired.problems().iter().cloned());
        view.refused.extend(problems);
        for object in desired.objects() {
            view.origins
                .insert(object.key.clone(), object.origin.clone());
            match object.key.kind.as_str() {
                "Service" => match ips.fill(object) {
                    Ok(filled) => {
                        view.services.insert(object.key.clone(), Arc::new(filled));
                    }
                    Err(reason) => {
                        view.refused
                            .push(Problem::of(Code::BadWorkload, object, reason))
                    }
                },
                // Shown as they run.
                "Pod" => {}
                _ => {
                    view.objects
                        .insert(object.key.clone(), Arc::new(object.value.clone()));
                }
            }
        }
        view.removed = desired
            .removed()
            .map(|object| (object.key.clone(), object.origin.clone()))
            .collect();
        view.pods = pods.views().collect();
        self.read_bundle();
        self.add_implied(&mut view);
        view.notes.extend(notes(&view));
        for (key, warnings) in &pods.warnings {
            view.notes
                .extend(warnings.iter().map(|warning| format!("{key}: {warning}")));
        }
        view.names = self.publish_names(&view);
        self.publish_objects(&view);
        self.publish_files(desired, &view);
        let view = Arc::new(view);
        self.view.send_replace(view);
    }

    /// Namespaces that are used, and the ServiceAccount and trust bundle that each has.
    fn add_implied(&self, view: &mut View) {
        let mut namespaces: BTreeSet<String> = ["default".to_owned()].into();
        namespaces.extend(view.pods.iter().map(|pod| pod.status.namespace.clone()));
        let keys = view.objects.keys().chain(view.services.keys());
        namespaces.extend(
            keys.filter(|key| key.kind != "Namespace")
                .map(|key| key.namespace.clone()),
        );
        namespaces.extend(
            view.objects
                .keys()
                .filter(|key| key.kind == "Namespace")
                .map(|key| key.name.clone()),
        );
        namespaces.remove("");
        let bundle = &self.bundle;
        for namespace in namespaces {
            let mut imply = |version: &str,
                             kind: &str,
                             ns: &str,
                             name: &str,
                             more: Option<(&str, Value)>| {
                view.objects.entry(Key::new(kind, ns, name)).or_insert_with(|| {
                    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
                    if !ns.is_empty() {
                        object["metadata"]["namespace"] = json!(ns);
                    }
                    if let Some((key, value)) = more {
                        object[key] = value;
                    }
                    Arc::new(object)
                });
            };
            imply("v1", "Namespace", "", &namespace, None);
            imply("v1", "ServiceAccount", &namespace, "default", None);
            if !bundle.is_empty() {
                let data = json!({TRUST_BUNDLE.1: bundle});
                imply(
                    "v1",
                    "ConfigMap",
                    &namespace,
                    TRUST_BUNDLE.0,
                    Some(("data", data)),
                );
            }
        }
    }

    fn publish_names(&self, view: &View) -> usize {
        let pods: Vec<NamedPod<'_>> = view
            .pods
            .iter()
            .map(|pod| NamedPod {
                pod: &pod.object,
                ips: &pod.status.ips,
                ready: pod.status.ready && pod.stopping.is_none(),
            })
            .collect();
        let names = names::build(
            &self.outlets.plan,
            view.services.values().map(Arc::as_ref),
            &pods,
        );
        let count = names.len();
        self.outlets.names.send_if_modified(|current| {
            let changed = **current != names;
            *current = Arc::new(names);
            changed
        });
        count
    }

    fn publish_objects(&self, view: &View) {
        let mut objects = Objects::default();
        for (key, object) in &view.objects {
            let place = (key.namespace.clone(), key.name.clone());
            match key.kind.as_str() {
                "ConfigMap" => {
                    let mut data = plain(&object["data"]);
                    data.extend(decoded(&object["binaryData"]));
                    objects.config_maps.insert(place, data);
                }
                "Secret" => {
                    let mut data = decoded(&object["data"]);
                    data.extend(plain(&object["stringData"]));
                    objects.secrets.insert(place, data);
                }
                _ => {}
            }
        }
        self.outlets.objects.send_if_modified(|current| {
            let changed =
                current.config_maps != objects.config_maps || current.secrets != objects.secrets;
            *current = Arc::new(objects);
            changed
        });
    }

    fn publish_files(&mut self, desired: &Desired, view: &View) {
        let mut cluster = BTreeMap::new();
        for (key, service) in &view.services {
            cluster.insert(file_name(key, "json"), service.to_string());
        }
        for pod in view.pods.iter().filter(|pod| is_published(pod)) {
            let key = Key::new("Pod", &pod.status.namespace, &pod.status.name);
            cluster.insert(file_name(&key, "json"), pod.with_status().to_string());
        }
        for removed in desired.removed() {
            let object = json!({
                "apiVersion": removed.value["apiVersion"],
                "kind": removed.key.kind,
                "metadata": {
                    "name": removed.key.name,
                    "namespace": removed.key.namespace,
                    "annotations": {"heddle.io/deleted": "true"},
                },
            });
            cluster.insert(file_name(&removed.key, "json"), object.to_string());
        }
        let applied = desired
            .applied()
            .map(|object| (file_name(&object.key, "yaml"), object.text.to_string()));
        // The applied first: a Service among them is followed by its filled-in copy.
        let written = self
            .outlets
            .applied
            .set(applied.collect())
            .and_then(|_| self.outlets.cluster.set(cluster));
        if let Err(error) = written {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(%error, cause, "the control plane does not see the newest state");
        }
    }
}

/// What ended for good has no endpoint; what has no address cannot be one.
fn is_published(pod: &PodView) -> bool {
    !pod.status.ips.is_empty() && !matches!(pod.status.phase, Phase::Succeeded | Phase::Failed)
}

fn notes(view: &View) -> BTreeSet<String> {
    let mut notes = BTreeSet::new();
    for pod in &view.pods {
        let account = pod.object["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or("default");
        let key = Key::new("ServiceAccount", &pod.status.namespace, account);
        if !view.objects.contains_key(&key) {
            notes.insert(format!(
                "{}: {key} is not defined; a cluster would not start its pods",
                pod.owner
            ));
        }
    }
    notes
}

fn plain(data: &Value) -> Data {
    let entries = data.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.as_bytes().to_vec())))
        .collect()
}

fn decoded(data: &Value) -> Data {
    let decode = |text: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .ok()
    };
    let entries = data.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), decode(value.as_str()?)?)))
        .collect()
}
