//! The annotations that a pod may carry, each in every spelling that is understood.

use crate::names;

/// One setting's keys; earlier spellings win.
pub(super) struct Key(&'static [&'static str]);

impl Key {
    pub(super) fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.0.iter().copied()
    }
}

pub(super) const PROXY_CPU: Key = Key(&[
    "heddle.io/proxy-cpu",
    "sidecar.istio.io/proxyCPU",
    "config.linkerd.io/proxy-cpu-request",
]);
pub(super) const PROXY_MEMORY: Key = Key(&[
    "heddle.io/proxy-memory",
    "sidecar.istio.io/proxyMemory",
    "config.linkerd.io/proxy-memory-request",
]);
pub(super) const PROXY_CPU_LIMIT: Key = Key(&[
    "heddle.io/proxy-cpu-limit",
    "sidecar.istio.io/proxyCPULimit",
    "config.linkerd.io/proxy-cpu-limit",
]);
pub(super) const PROXY_MEMORY_LIMIT: Key = Key(&[
    "heddle.io/proxy-memory-limit",
    "sidecar.istio.io/proxyMemoryLimit",
    "config.linkerd.io/proxy-memory-limit",
]);
pub(super) const PROXY_IMAGE: Key = Key(&["heddle.io/proxy-image", "sidecar.istio.io/proxyImage"]);
pub(super) const LOG_LEVEL: Key = Key(&["heddle.io/log-level", "sidecar.istio.io/logLevel"]);
pub(super) const REWRITE_PROBES: Key = Key(&[
    "heddle.io/rewrite-probes",
    "sidecar.istio.io/rewriteAppHTTPProbers",
]);
pub(super) const NATIVE_SIDECAR: Key =
    Key(&["heddle.io/native-sidecar", "sidecar.istio.io/nativeSidecar"]);
pub(super) const MERGE_METRICS: Key = Key(&[
    "heddle.io/merge-metrics",
    "prometheus.istio.io/merge-metrics",
]);
pub(super) const STATUS_PORT: Key = Key(&["heddle.io/status-port", "status.sidecar.istio.io/port"]);
pub(super) const WORKERS: Key = Key(&["heddle.io/workers"]);
pub(super) const TERMINATION_GRACE: Key = Key(&["heddle.io/termination-grace-seconds"]);
pub(super) const OPAQUE_PORTS: Key =
    Key(&["heddle.io/opaque-ports", "config.linkerd.io/opaque-ports"]);
pub(super) const PRESERVE_HEADER_CASE: Key = Key(&["heddle.io/preserve-header-case"]);
pub(super) const INCLUDE_OUTBOUND_CIDRS: Key = Key(&[
    "heddle.io/include-outbound-cidrs",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
]);
pub(super) const EXCLUDE_OUTBOUND_CIDRS: Key = Key(&[
    "heddle.io/exclude-outbound-cidrs",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "config.linkerd.io/skip-subnets",
]);
pub(super) const INCLUDE_INBOUND_PORTS: Key = Key(&[
    "heddle.io/include-inbound-ports",
    "traffic.sidecar.istio.io/includeInboundPorts",
]);
pub(super) const EXCLUDE_INBOUND_PORTS: Key = Key(&[
    "heddle.io/exclude-inbound-ports",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "config.linkerd.io/skip-inbound-ports",
]);
pub(super) const INCLUDE_OUTBOUND_PORTS: Key = Key(&[
    "heddle.io/include-outbound-ports",
    "traffic.sidecar.istio.io/includeOutboundPorts",
]);
pub(super) const EXCLUDE_OUTBOUND_PORTS: Key = Key(&[
    "heddle.io/exclude-outbound-ports",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "config.linkerd.io/skip-outbound-ports",
]);

pub(super) const DNS_CAPTURE: Key = Key(&["heddle.io/dns-capture"]);

const ALL: [&Key; 21] = [
    &PROXY_CPU,
    &PROXY_MEMORY,
    &PROXY_CPU_LIMIT,
    &PROXY_MEMORY_LIMIT,
    &PROXY_IMAGE,
    &LOG_LEVEL,
    &REWRITE_PROBES,
    &NATIVE_SIDECAR,
    &MERGE_METRICS,
    &STATUS_PORT,
    &WORKERS,
    &TERMINATION_GRACE,
    &OPAQUE_PORTS,
    &PRESERVE_HEADER_CASE,
    &INCLUDE_OUTBOUND_CIDRS,
    &EXCLUDE_OUTBOUND_CIDRS,
    &INCLUDE_INBOUND_PORTS,
    &EXCLUDE_INBOUND_PORTS,
    &INCLUDE_OUTBOUND_PORTS,
    &EXCLUDE_OUTBOUND_PORTS,
    &DNS_CAPTURE,
];

/// Keys under `heddle.io/` that other parts of Heddle read.
const OTHERS: [&str; 3] = [crate::decide::SWITCH, names::STATUS, names::REVISION];

pub(super) fn is_known(key: &str) -> bool {
    OTHERS.contains(&key) || ALL.iter().any(|known| known.0.contains(&key))
}
