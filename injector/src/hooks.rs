//! Sends the kubelet's probes and hooks through the sidecar, because the kubelet has no mesh
//! certificate and STRICT would refuse it. What they asked before goes to the sidecar as JSON, and
//! from there comes back when the injection is taken out again. Exec is left alone.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use crate::handler::{self, Unresolved};
use crate::names;
use crate::view::{ContainerView, PodView};

/// The kubelet's own default.
const PROBE_TIMEOUT_SECONDS: i32 = 1;
/// The kubelet waits for a postStart hook without end; the sidecar does not.
const POST_START_SECONDS: i64 = 300;

/// What the sidecar takes.
const TIMEOUT_SECONDS: RangeInclusive<i64> = 1..=3600;

const PROBES: [(&str, &str); 3] = [
    ("readinessProbe", "readyz"),
    ("livenessProbe", "livez"),
    ("startupProbe", "startupz"),
];
const HOOKS: [(&str, &str); 2] = [("postStart", "poststartz"), ("preStop", "prestopz")];

/// What the sidecar has to ask on the kubelet's behalf, by path.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) probes: Map<String, Value>,
    pub(crate) lifecycle: Map<String, Value>,
}

impl Asked {
    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        self.probes.keys().chain(self.lifecycle.keys())
    }
}

/// Rewrites every probe and hook of `pod` (which `view` is read from) that goes over the network.
pub(crate) fn rewrite(pod: &mut Value, view: &PodView, warnings: &mut Vec<String>) -> Asked {
    let mut asked = Asked::default();
    let grace = view
        .spec
        .termination_grace_period_seconds
        .unwrap_or(names::DEFAULT_GRACE_SECONDS);
    for (list, containers) in [
        ("initContainers", view.init_containers()),
        ("containers", &view.spec.containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let target = &mut pod["spec"][list][index];
            rewrite_probes(target, container, &mut asked.probes, warnings);
            rewrite_hooks(target, container, grace, &mut asked.lifecycle, warnings);
        }
    }
    asked
}

fn rewrite_probes(
    target: &mut Value,
    container: &ContainerView,
    asked: &mut Map<String, Value>,
    warnings: &mut Vec<String>,
) {
    let probes = [
        &container.readiness_probe,
        &container.liveness_probe,
        &container.startup_probe,
    ];
    for ((field, word), probe) in PROBES.into_iter().zip(probes) {
        let Some(probe) = probe else { continue };
        let timeout = probe
            .timeout_seconds
            .filter(|seconds| *seconds > 0)
            .unwrap_or(PROBE_TIMEOUT_SECONDS);
        let path = format!("/app-health/{}/{word}", container.name);
        match handler::of_probe(probe, container) {
            Ok(Some(action)) => send(&mut target[field], path, action, timeout.into(), asked),
            Ok(None) => {}
            Err(reason) => warnings.push(left_alone(container, field, &reason)),
        }
    }
}

fn rewrite_hooks(
    target: &mut Value,
    container: &ContainerView,
    grace: i64,
    asked: &mut Map<String, Value>,
    warnings: &mut Vec<String>,
) {
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    let hooks = [
        (&lifecycle.post_start, POST_START_SECONDS),
        (&lifecycle.pre_stop, grace),
    ];
    for ((field, word), (hook, timeout)) in HOOKS.into_iter().zip(hooks) {
        let Some(hook) = hook else { continue };
        let path = format!("/app-lifecycle/{}/{word}", container.name);
        match handler::of_hook(hook, container) {
            Ok(Some(action)) => send(
                &mut target["lifecycle"][field],
                path,
                action,
                timeout,
                asked,
            ),
            Ok(None) => {}
            Err(reason) => warnings.push(left_alone(container, field, &reason)),
        }
    }
}

fn send(
    probe: &mut Value,
    path: String,
    mut action: Map<String, Value>,
    timeout: i64,
    asked: &mut Map<String, Value>,
) {
    handler::replace(probe, "httpGet", handler::through_sidecar(&path));
    let timeout = timeout.clamp(*TIMEOUT_SECONDS.start(), *TIMEOUT_SECONDS.end());
    action.insert("timeoutSeconds".into(), json!(timeout));
    asked.insert(path, Value::Object(action));
}

fn left_alone(container: &ContainerView, field: &str, Unresolved(reason): &Unresolved) -> String {
    format!(
        "container {}: {field} is left as it is, because {reason}",
        container.name
    )
}

/// Undoes [`rewrite`]: puts back what `asked` says, and tells which paths it found in use.
pub(crate) fn restore(pod: &mut Value, asked: &Asked) -> Vec<String> {
    let mut found = Vec::new();
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) =
            pod.get_mut("spec").and_then(|spec| spec.get_mut(list))
        else {
            continue;
        };
        for container in containers
            .iter_mut()
            .filter(|container| container["name"] != names::PROXY_CONTAINER)
        {
            for (field, _) in PROBES {
                restore_one(container.get_mut(field), &asked.probes, &mut found);
            }
            for (field, _) in HOOKS {
                let hook = container
                    .get_mut("lifecycle")
                    .and_then(|lifecycle| lifecycle.get_mut(field));
                restore_one(hook, &asked.lifecycle, &mut found);
            }
        }
    }
    found
}

fn restore_one(probe: Option<&mut Value>, asked: &Map<String, Value>, found: &mut Vec<String>) {
    let Some(probe) = probe else { return };
    let Some(path) = handler::sidecar_path(probe).map(str::to_owned) else {
        return;
    };
    let Some(Value::Object(entry)) = asked.get(&path) else {
        return;
    };
    let Some((kind, action)) = entry
        .iter()
        .find(|(key, _)| handler::NETWORK_KINDS.contains(&key.as_str()))
    else {
        return;
    };
    handler::replace(probe, kind, action.clone());
    found.push(path);
}
