//! Whether a pod is injected. The first rule that applies decides; a switch with any other value
//! than the allowed ones is an error that its author sees, never a silent default.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{DefaultInject, InjectConfig};
use crate::context::PodContext;
use crate::error::InjectError;
use crate::view::PodView;

/// Our switch, on pods and on namespaces.
pub(crate) const SWITCH: &str = "heddle.io/inject";
const ISTIO_SWITCH: &str = "sidecar.istio.io/inject";
const ISTIO_NAMESPACE_SWITCH: &str = "istio-injection";
/// The kubelet's mark on its copies of static pods.
const MIRROR: &str = "kubernetes.io/config.mirror";
const LINKERD_SWITCH: &str = "linkerd.io/inject";

/// Namespaces of the cluster itself, which a mesh must never be able to stop.
const CLUSTER_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Why a pod is left as it is. `Display` says it in a sentence for the pod's author.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// It shares the node's network, whose traffic is not the pod's to redirect.
    HostNetwork,
    /// It runs Windows.
    Windows,
    /// It is what the API server shows of a static pod; the kubelet runs the node's file.
    Mirror,
    /// Its namespace is the mesh's or the cluster's own.
    SystemNamespace(String),
    /// It, or its namespace, says no; the text names the key.
    SwitchedOff(String),
    /// A `neverInject` selector matches its labels.
    NeverInject,
    /// Nothing asks for it, and the mesh's default is not to.
    NotAsked,
    /// Another mesh's sidecar is in it; the text names what was found.
    OtherMesh(String),
}

impl SkipReason {
    /// One word for metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network",
            Self::Windows => "windows",
            Self::Mirror => "mirror",
            Self::SystemNamespace(_) => "system_namespace",
            Self::SwitchedOff(_) => "switched_off",
            Self::NeverInject => "never_inject",
            Self::NotAsked => "not_asked",
            Self::OtherMesh(_) => "other_mesh",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNetwork => {
                formatter.write_str("hostNetwork is true: the node's traffic is not redirected")
            }
            Self::Windows => formatter.write_str("it runs Windows"),
            Self::Mirror => formatter.write_str(
                "it is a static pod, which the kubelet runs as the node's file has it: inject the file",
            ),
            Self::SystemNamespace(name) => write!(formatter, "namespace {name} is never injected"),
            Self::SwitchedOff(what) => write!(formatter, "{what} switches injection off"),
            Self::NeverInject => {
                formatter.write_str("a neverInject selector of the mesh matches its labels")
            }
            Self::NotAsked => write!(
                formatter,
                "nothing asks for it; set the label {SWITCH}: \"true\" on the pod or its namespace"
            ),
            Self::OtherMesh(what) => write!(formatter, "another mesh injected it already ({what})"),
        }
    }
}

/// `None`: inject.
pub(crate) fn decide(
    pod: &PodView,
    context: &PodContext,
    config: &InjectConfig,
) -> Result<Option<SkipReason>, InjectError> {
    if pod.host_network() {
        return Ok(Some(SkipReason::HostNetwork));
    }
    if pod.windows() {
        return Ok(Some(SkipReason::Windows));
    }
    if pod.annotation(MIRROR).is_some() {
        return Ok(Some(SkipReason::Mirror));
    }
    if is_system(&context.namespace, config) {
        let namespace = context.namespace.clone();
        return Ok(Some(SkipReason::SystemNamespace(namespace)));
    }
    let skip = wanted(pod, context, config)?;
    Ok(skip.or_else(|| other_mesh(pod).map(SkipReason::OtherMesh)))
}

fn is_system(namespace: &str, config: &InjectConfig) -> bool {
    namespace == config.system_namespace || CLUSTER_NAMESPACES.contains(&namespace)
}

/// Whether a pod, or where it is, asks for the mesh: whether somebody wonders why it is not in it. One
/// that says no itself is among them where others are injected. A switch that cannot be read asks.
pub(crate) fn asks(pod: &PodView, context: &PodContext, config: &InjectConfig) -> bool {
    let asks = |pod: &PodView| !matches!(wanted(pod, context, config), Ok(Some(_)));
    let silent = PodView::of_metadata(&BTreeMap::new(), &BTreeMap::new());
    !is_system(&context.namespace, config) && (asks(pod) || asks(&silent))
}

fn wanted(
    pod: &PodView,
    context: &PodContext,
    config: &InjectConfig,
) -> Result<Option<SkipReason>, InjectError> {
    if let Some(switch) = pod_switch(pod, config)? {
        return Ok(switch.skip());
    }
    let labels = pod.labels();
    if config
        .never_inject
        .iter()
        .any(|selector| selector.matches(&labels))
    {
        return Ok(Some(SkipReason::NeverInject));
    }
    if config
        .always_inject
        .iter()
        .any(|selector| selector.matches(&labels))
    {
        return Ok(None);
    }
    if let Some(switch) = namespace_switch(context, config)? {
        return Ok(switch.skip());
    }
    Ok((config.default_inject == DefaultInject::Disabled).then_some(SkipReason::NotAsked))
}

/// A switch that is set.
struct Switch {
    on: bool,
    what: String,
}

impl Switch {
    fn skip(self) -> Option<SkipReason> {
        (!self.on).then_some(SkipReason::SwitchedOff(self.what))
    }
}

/// Words that mean on, and words that mean off.
type Words = (&'static [&'static str], &'static [&'static str]);

const TRUE_FALSE: Words = (&["true"], &["false"]);
const ENABLED: Words = (&["enabled"], &["disabled"]);
const EITHER: Words = (&["enabled", "true"], &["disabled", "false"]);
/// Linkerd's `ingress` mode is on too: how a request is routed is not the injector's question.
const LINKERD: Words = (&["enabled", "ingress"], &["disabled"]);

/// Whether what stands under this key is said to this mesh.
fn is_heard(key: &str, config: &InjectConfig) -> bool {
    match key {
        ISTIO_SWITCH | ISTIO_NAMESPACE_SWITCH => config.istio_switches,
        LINKERD_SWITCH => config.linkerd_switches,
        _ => true,
    }
}

fn pod_switch(pod: &PodView, config: &InjectConfig) -> Result<Option<Switch>, InjectError> {
    for (place, key, value, words) in [
        ("label", SWITCH, pod.label(SWITCH), TRUE_FALSE),
        ("label", ISTIO_SWITCH, pod.label(ISTIO_SWITCH), TRUE_FALSE),
        ("annotation", SWITCH, pod.annotation(SWITCH), TRUE_FALSE),
        (
            "annotation",
            ISTIO_SWITCH,
            pod.annotation(ISTIO_SWITCH),
            TRUE_FALSE,
        ),
        (
            "annotation",
            LINKERD_SWITCH,
            pod.annotation(LINKERD_SWITCH),
            LINKERD,
        ),
    ] {
        if let Some(value) = value.filter(|_| is_heard(key, config)) {
            return read(place, key, value, words).map(Some);
        }
    }
    Ok(None)
}

fn namespace_switch(
    context: &PodContext,
    config: &InjectConfig,
) -> Result<Option<Switch>, InjectError> {
    let meta = &context.namespace_meta;
    for (place, key, value, words) in [
        ("namespace label", SWITCH, meta.labels.get(SWITCH), EITHER),
        (
            "namespace label",
            ISTIO_NAMESPACE_SWITCH,
            meta.labels.get(ISTIO_NAMESPACE_SWITCH),
            ENABLED,
        ),
        (
            "namespace annotation",
            LINKERD_SWITCH,
            meta.annotations.get(LINKERD_SWITCH),
            LINKERD,
        ),
    ] {
        if let Some(value) = value.filter(|_| is_heard(key, config)) {
            return read(place, key, value, words).map(Some);
        }
    }
    Ok(None)
}

fn read(
    place: &'static str,
    key: &str,
    value: &str,
    (on, off): Words,
) -> Result<Switch, InjectError> {
    if on.contains(&value) || off.contains(&value) {
        return Ok(Switch {
            on: on.contains(&value),
            what: format!("{place} {key}: {value:?}"),
        });
    }
    let allowed: Vec<_> = on
        .iter()
        .chain(off)
        .map(|word| format!("{word:?}"))
        .collect();
    Err(InjectError::BadValue {
        place,
        key: key.into(),
        value: value.into(),
        allowed: allowed.join(", "),
    })
}

fn other_mesh(pod: &PodView) -> Option<String> {
    const CONTAINERS: [&str; 5] = [
        "istio-proxy",
        "istio-init",
        "linkerd-proxy",
        "kuma-sidecar",
        "consul-dataplane",
    ];
    const ANNOTATIONS: [&str; 5] = [
        "sidecar.istio.io/status",
        "linkerd.io/proxy-version",
        "linkerd.io/created-by",
        "kuma.io/sidecar-injected",
        "consul.hashicorp.com/connect-inject-status",
    ];
    let container = pod
        .all_containers()
        .map(|container| container.name.as_str())
        .find(|name| CONTAINERS.contains(name));
    let annotation = ANNOTATIONS
        .into_iter()
        .find(|key| pod.annotation(key).is_some());
    container
        .map(|name| format!("container {name}"))
        .or_else(|| annotation.map(|key| format!("annotation {key}")))
}
