//! The names, ports and paths that an injected pod has in common with the proxy and the control
//! plane. Changing one of them is a change of the contract with pods that already run.

pub(crate) const INIT_CONTAINER: &str = "heddle-init";
pub(crate) const PROXY_CONTAINER: &str = "heddle-proxy";
/// Everything that injection adds to a pod's lists starts with this.
pub(crate) const OWN_PREFIX: &str = "heddle-";

pub(crate) const PROXY_UID: i64 = 1337;
pub(crate) const PROBE_PORT: u16 = 15020;
pub(crate) const HEALTH_PORT: u16 = 15021;
pub(crate) const PROXY_METRICS_PORT: u16 = 15090;
/// Ports that the sidecar listens on in the pod; an app cannot have them too.
pub(crate) const PROXY_PORTS: [u16; 7] = [15000, 15001, 15006, 15020, 15021, 15053, 15090];
pub(crate) const METRICS_PATH: &str = "/stats/prometheus";

/// Kubernetes' default for `terminationGracePeriodSeconds`.
pub(crate) const DEFAULT_GRACE_SECONDS: i64 = 30;

pub(crate) const STATUS: &str = "heddle.io/status";
pub(crate) const REVISION: &str = "heddle.io/rev";
pub(crate) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

pub(crate) const APP_PROBES: &str = "HEDDLE_APP_PROBES";
pub(crate) const APP_LIFECYCLE: &str = "HEDDLE_APP_LIFECYCLE";
pub(crate) const APP_METRICS: &str = "HEDDLE_APP_METRICS";
/// The status, where the annotation is too short for it.
pub(crate) const INJECTION: &str = "HEDDLE_INJECTION";
