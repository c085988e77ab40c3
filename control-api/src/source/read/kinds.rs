//! Which kinds are read, in which versions, and what is said of one that is not: nothing of those of
//! other APIs, unless it can only be a slip of one of ours.

use crate::{check::Code, name::Kind, source::suggest};

/// Groups of which every kind is either read or refused.
const OUR_GROUPS: [(&str, &[&str]); 5] = [
    (
        "networking.istio.io",
        &[
            "VirtualService",
            "DestinationRule",
            "Gateway",
            "ServiceEntry",
            "Sidecar",
            "WorkloadEntry",
            "WorkloadGroup",
            "EnvoyFilter",
            "ProxyConfig",
        ],
    ),
    (
        "security.istio.io",
        &[
            "PeerAuthentication",
            "AuthorizationPolicy",
            "RequestAuthentication",
        ],
    ),
    ("telemetry.istio.io", &["Telemetry"]),
    ("extensions.istio.io", &["WasmPlugin"]),
    (
        "gateway.networking.k8s.io",
        &[
            "HTTPRoute",
            "GRPCRoute",
            "TLSRoute",
            "TCPRoute",
            "UDPRoute",
            "Gateway",
            "GatewayClass",
            "ReferenceGrant",
            "BackendTLSPolicy",
        ],
    ),
];

/// Core kinds that a misspelt kind may have meant.
const CORE_KINDS: [&str; 12] = [
    "Namespace",
    "ServiceAccount",
    "Service",
    "Pod",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Node",
    "Event",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "List",
];

/// Kinds, groups and versions that are read.
pub(super) fn kind_of(group: &str, kind: &str) -> Option<(Kind, &'static [&'static str])> {
    const NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];
    Some(match (group, kind) {
        ("", "Namespace") => (Kind::Namespace, &["v1"]),
        ("", "ServiceAccount") => (Kind::ServiceAccount, &["v1"]),
        ("", "Service") => (Kind::Service, &["v1"]),
        ("", "Node") => (Kind::Node, &["v1"]),
        ("", "Pod") => (Kind::Pod, &["v1"]),
        ("discovery.k8s.io", "EndpointSlice") => (Kind::EndpointSlice, &["v1", "v1beta1"]),
        ("networking.istio.io", "VirtualService") => (Kind::VirtualService, NETWORKING),
        ("networking.istio.io", "ServiceEntry") => (Kind::ServiceEntry, NETWORKING),
        ("networking.istio.io", "Sidecar") => (Kind::Sidecar, NETWORKING),
        ("networking.istio.io", "DestinationRule") => (Kind::DestinationRule, NETWORKING),
        ("security.istio.io", "PeerAuthentication") => {
            (Kind::PeerAuthentication, &["v1", "v1beta1"])
        }
        ("gateway.networking.k8s.io", "HTTPRoute") => (Kind::HttpRoute, &["v1", "v1beta1"]),
        ("gateway.networking.k8s.io", "GRPCRoute") => (Kind::GrpcRoute, &["v1"]),
        ("telemetry.istio.io", "Telemetry") => (Kind::Telemetry, &["v1", "v1alpha1"]),
        ("networking.k8s.io", "NetworkPolicy") => (Kind::NetworkPolicy, &["v1"]),
        _ => return None,
    })
}

/// The group of a kind whose name nobody but one of our APIs has, where it stands under a group of
/// Kubernetes' or Istio's own. Under any other it may be a definition of someone else's.
fn misplaced(group: &str, kind: &str) -> Option<&'static str> {
    let theirs = !group.contains('.') || group.ends_with(".k8s.io") || group.ends_with("istio.io");
    let ours = match kind {
        "VirtualService" | "DestinationRule" | "ServiceEntry" | "EnvoyFilter" => {
            "networking.istio.io"
        }
        "PeerAuthentication" | "AuthorizationPolicy" | "RequestAuthentication" => {
            "security.istio.io"
        }
        "HTTPRoute" | "GRPCRoute" => "gateway.networking.k8s.io",
        _ => return None,
    };
    theirs.then_some(ours)
}

/// None: a kind of someone else's.
pub(super) fn stranger(
    group: &str,
    kind: &str,
    api_version: &str,
) -> Option<(Code, String, String)> {
    if let Some((_, kinds)) = OUR_GROUPS.iter().find(|(ours, _)| *ours == group) {
        return Some(if kinds.contains(&kind) {
            (
                Code::UnsupportedKind,
                format!("kind {kind} of {group} is not supported yet"),
                "take the document out; it has no effect".into(),
            )
        } else {
            (
                Code::UnknownKind,
                format!("unknown kind `{}` of {group}", kind.escape_debug()),
                suggest::sentence(kind, kinds),
            )
        });
    }
    if let Some(ours) = misplaced(group, kind) {
        let reason = format!(
            "unknown apiVersion \"{}\" of {kind}",
            api_version.escape_debug()
        );
        let wanted = format!("write `apiVersion: {ours}/v1`");
        return Some((Code::UnknownVersion, reason, wanted));
    }
    if group.is_empty() && !CORE_KINDS.contains(&kind) {
        let near = suggest::nearest(kind, CORE_KINDS)?;
        return Some((
            Code::UnknownKind,
            format!("unknown kind `{}`", kind.escape_debug()),
            format!("did you mean `{near}`?"),
        ));
    }
    let (ours, _) = OUR_GROUPS.iter().find(|(ours, kinds)| {
        kinds.contains(&kind) && !group.is_empty() && suggest::distance(ours, group) <= 2
    })?;
    let reason = format!(
        "unknown apiVersion \"{}\" of {kind}",
        api_version.escape_debug()
    );
    Some((
        Code::UnknownVersion,
        reason,
        format!("write `apiVersion: {ours}/v1`"),
    ))
}
