//! Everything that one injection adds to a pod, made from the app's own pod; whether a pod has it
//! already; and how it is put in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::InjectConfig;
use crate::containers::{Needs, Who, literal_json, variable};
use crate::context::PodContext;
use crate::error::InjectError;
use crate::hooks::{self, Asked};
use crate::inject::{Decision, Injection};
use crate::metrics::{self, Merged};
use crate::names;
use crate::patch;
use crate::settings::Settings;
use crate::status::{self, Change, Status};
use crate::traps::{refuse_reserved_names, warn_of_traps};
use crate::view::PodView;
use crate::volumes;

/// Everything that will be added to a pod.
pub(crate) struct Plan {
    /// The app's own pod, its probes already rewritten.
    pod: Value,
    asked: Asked,
    native: bool,
    init_container: Value,
    proxy: Value,
    volumes: Vec<Value>,
    status: Status,
    /// As the annotation says it.
    status_text: String,
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    pub(crate) fn make(
        mut pod: Value,
        view: &PodView,
        context: &PodContext,
        config: &InjectConfig,
    ) -> Result<Self, InjectError> {
        refuse_reserved_names(view)?;
        let mut warnings = Vec::new();
        let settings = Settings::read(view, config, &mut warnings)?;
        warn_of_traps(view, context, &settings, &mut warnings);
        let asked = if settings.rewrite_probes {
            hooks::rewrite(&mut pod, view, &mut warnings)
        } else {
            Asked::default()
        };
        let merged = if settings.merge_metrics {
            metrics::merge(view, &mut warnings)
        } else {
            Merged::default()
        };
        let who = Who {
            name: view.name().to_owned(),
            namespace: context.namespace.clone(),
            account: view.service_account().to_owned(),
        };
        let needs = Needs {
            config,
            settings: &settings,
            asked: &asked,
            app_metrics: merged.app.as_ref(),
            who: &who,
        };
        let (init_container, mut proxy) = (needs.init_container(), needs.proxy_container());
        let volumes = volumes::volumes(config, &who);
        let mut status = new_status(view, config, &settings, merged.annotations);
        status.volumes = volumes
            .iter()
            .filter_map(|volume| volume["name"].as_str().map(str::to_owned))
            .collect();
        status.hash = status::hash(&json!([
            init_container,
            proxy,
            volumes,
            status.labels,
            status.annotations
        ]));
        let mut status_text = json!(status).to_string();
        if config.podman.is_some()
            && let Some(env) = proxy["env"].as_array_mut()
        {
            env.push(variable(names::INJECTION, literal_json(&json!(status))));
            status_text = status.short();
        }
        Ok(Self {
            pod,
            asked,
            native: settings.native_sidecar,
            init_container,
            proxy,
            volumes,
            status,
            status_text,
            warnings,
        })
    }

    /// Whether `view` already has all of this, where it belongs. Others (admission plugins,
    /// defaulting) may have filled in our containers meanwhile, so their contents are not compared.
    pub(crate) fn is_in(
        &self,
        view: &PodView,
        earlier: &Status,
        rewritten: &BTreeSet<String>,
    ) -> bool {
        let init: Vec<_> = view
            .init_containers()
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        let placed = if self.native {
            init.starts_with(&[names::INIT_CONTAINER, names::PROXY_CONTAINER])
        } else {
            init.ends_with(&[names::INIT_CONTAINER])
                && view.spec.containers[0].name == names::PROXY_CONTAINER
        };
        let stands = |changes: &BTreeMap<String, Change>,
                      text: fn(&PodView, &str) -> Option<String>| {
            changes
                .iter()
                .all(|(key, change)| text(view, key).as_ref() == Some(&change.set))
        };
        placed
            && earlier.hash == self.status.hash
            && self
                .status
                .volumes
                .iter()
                .all(|name| view.volumes().iter().any(|volume| volume.name == *name))
            && self.asked.paths().eq_unordered(rewritten)
            && stands(&self.status.labels, |view, key| {
                view.label(key).map(str::to_owned)
            })
            && stands(&self.status.annotations, |view, key| {
                view.annotation(key).map(str::to_owned)
            })
    }

    pub(crate) fn into_decision(self, original: &Value) -> Decision {
        let Self {
            mut pod,
            native,
            init_container,
            proxy,
            volumes,
            status,
            status_text,
            warnings,
            ..
        } = self;
        let spec = &mut pod["spec"];
        if native {
            list(spec, "initContainers").splice(..0, [init_container, proxy]);
        } else {
            // Last, so that the app's own init containers still reach the network: the sidecar
            // that the redirect leads to does not run yet while they do.
            list(spec, "initContainers").push(init_container);
            list(spec, "containers").insert(0, proxy);
        }
        list(spec, "volumes").extend(volumes);
        for (field, changes) in [
            ("labels", &status.labels),
            ("annotations", &status.annotations),
        ] {
            for (key, change) in changes {
                pod["metadata"][field][key] = Value::String(change.set.clone());
            }
        }
        pod["metadata"]["annotations"][names::STATUS] = Value::String(status_text);
        let patch = patch::between(original, &pod);
        Decision::Inject(Injection {
            pod,
            patch,
            warnings,
        })
    }
}

/// Compares paths with a set, whatever their order.
trait EqUnordered<'a>: Iterator<Item = &'a String> + Sized {
    fn eq_unordered(self, set: &BTreeSet<String>) -> bool {
        self.collect::<BTreeSet<_>>().into_iter().eq(set)
    }
}

impl<'a, I: Iterator<Item = &'a String>> EqUnordered<'a> for I {}

/// The list at `field`, made if there is none. (`null` is how an empty one may be written.)
fn list<'a>(spec: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !spec[field].is_array() {
        spec[field] = Value::Array(Vec::new());
    }
    // It is an array: if it was none, it was made one just above.
    spec[field].as_array_mut().expect("an array")
}

fn new_status(
    view: &PodView,
    config: &InjectConfig,
    settings: &Settings,
    mut annotations: BTreeMap<String, String>,
) -> Status {
    if view.annotation(names::DEFAULT_CONTAINER).is_none() {
        annotations.insert(
            names::DEFAULT_CONTAINER.into(),
            view.spec.containers[0].name.clone(),
        );
    }
    let change = |was: Option<&str>, set: String| Change {
        set,
        was: was.map(str::to_owned),
    };
    let with_old = |(key, set): (String, String)| {
        let change = change(view.annotation(&key), set);
        (key, change)
    };
    let proxy = vec![names::PROXY_CONTAINER.to_owned()];
    let init = vec![names::INIT_CONTAINER.to_owned()];
    let (init_containers, containers) = if settings.native_sidecar {
        ([init, proxy].concat(), Vec::new())
    } else {
        (init, proxy)
    };
    let revision = change(view.label(names::REVISION), config.revision.clone());
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: config.revision.clone(),
        hash: String::new(),
        init_containers,
        containers,
        volumes: Vec::new(),
        annotations: annotations.into_iter().map(with_old).collect(),
        labels: BTreeMap::from([(names::REVISION.to_owned(), revision)]),
    }
}
