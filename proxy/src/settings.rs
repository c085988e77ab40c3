//! The sidecar's flags, each with the environment variable that the injector sets. Parsed once; a
//! bad value is refused at the start by name.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use heddle_identity::{SpiffeId, TrustDomain};
use heddle_proxy_admin::{AdminSettings, AppChecks, AppMetrics, Ports};
use heddle_proxy_redirect::PortList;

use crate::limits;
use crate::serve::Habits;

/// Flags of `heddle-proxy run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Control plane, HOST:PORT.
    #[arg(
        long,
        env = "HEDDLE_CONTROL_ADDRESS",
        default_value = "heddle-control.heddle-system.svc:15012"
    )]
    control_address: String,
    /// Who the control plane must be [default: …/ns/heddle-system/sa/heddle-control].
    #[arg(long, env = "HEDDLE_CONTROL_IDENTITY")]
    control_identity: Option<SpiffeId>,
    /// Identity service, HOST:PORT.
    #[arg(
        long,
        env = "HEDDLE_IDENTITY_ADDRESS",
        default_value = "heddle-identity.heddle-system.svc:15013"
    )]
    identity_address: String,
    /// Who the identity service must be [default: …/ns/heddle-system/sa/heddle-identity].
    #[arg(long, env = "HEDDLE_IDENTITY_IDENTITY")]
    identity_identity: Option<SpiffeId>,
    /// Trust domain of the mesh.
    #[arg(long, env = "HEDDLE_TRUST_DOMAIN", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// Projected service-account token.
    #[arg(
        long,
        env = "HEDDLE_TOKEN_FILE",
        default_value = "/var/run/secrets/heddle/token/token"
    )]
    token_file: PathBuf,
    /// Roots to begin with, PEM.
    #[arg(
        long,
        env = "HEDDLE_TRUST_BUNDLE_FILE",
        default_value = "/var/run/secrets/heddle/trust/root-cert.pem"
    )]
    trust_bundle_file: PathBuf,
    /// Memory volume for the key, the certificate and the last accepted configuration.
    #[arg(
        long,
        env = "HEDDLE_STATE_DIR",
        default_value = "/var/run/heddle/state"
    )]
    state_dir: PathBuf,
    /// Name of this pod.
    #[arg(long, env = "HEDDLE_POD_NAME")]
    pod_name: String,
    /// Namespace of this pod.
    #[arg(long, env = "HEDDLE_POD_NAMESPACE")]
    pod_namespace: String,
    /// Address of this pod.
    #[arg(long, env = "HEDDLE_POD_IP")]
    pod_ip: Option<IpAddr>,
    /// Service account of this pod.
    #[arg(long, env = "HEDDLE_SERVICE_ACCOUNT", default_value = "default")]
    service_account: String,
    /// Threads that carry traffic.
    #[arg(long, env = "HEDDLE_WORKERS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// The application's probes as JSON, from the injector.
    #[arg(long, env = "HEDDLE_APP_PROBES", default_value = "")]
    app_probes: AppChecks,
    /// The application's lifecycle hooks as JSON, from the injector.
    #[arg(long, env = "HEDDLE_APP_LIFECYCLE", default_value = "")]
    app_lifecycle: AppChecks,
    /// The application's ports whose bytes are not looked at: a list of numbers and ranges.
    #[arg(long, env = "HEDDLE_OPAQUE_PORTS", default_value = "")]
    opaque_ports: PortList,
    /// Answer the pod's DNS queries, which the redirect leads here when it captures them.
    #[arg(long, env = "HEDDLE_DNS_CAPTURE", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    dns_capture: bool,
    /// The pod's own resolvers.
    #[arg(long, env = "HEDDLE_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Seconds that a peer may stand still in the middle of an HTTP/1.1 body or answer; 0: no bound.
    #[arg(long, env = "HEDDLE_STALL_SECONDS", default_value_t = limits::STALL_SECONDS)]
    stall_seconds: u32,
    /// Whether names of HTTP/1.1 header fields go on in the letters that they came in.
    #[arg(long, env = "HEDDLE_PRESERVE_HEADER_CASE", default_value_t = false, action = ArgAction::Set)]
    preserve_header_case: bool,
    /// Where the application serves its metrics, as JSON, from the injector.
    #[arg(long, env = "HEDDLE_APP_METRICS")]
    app_metrics: Option<AppMetrics>,
    /// What to log: off, error, warn, info, debug, trace, or a filter per module.
    #[arg(long, env = "HEDDLE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How to log.
    #[arg(long, env = "HEDDLE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Seconds that connections get to end after SIGTERM; less than the pod's grace period.
    #[arg(long, env = "HEDDLE_TERMINATION_GRACE_SECONDS", default_value_t = 30)]
    termination_grace_seconds: u32,
    /// Lifetime to ask of certificates, in seconds; 0: the identity service's default.
    #[arg(long, env = "HEDDLE_CERT_TTL_SECONDS", default_value_t = 0)]
    cert_ttl_seconds: u32,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Validated settings of a sidecar.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) control_address: String,
    pub(crate) control_id: SpiffeId,
    pub(crate) identity_address: String,
    pub(crate) identity_id: SpiffeId,
    pub(crate) own_id: SpiffeId,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) token_file: PathBuf,
    pub(crate) trust_bundle_file: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) pod_name: String,
    pub(crate) pod_namespace: String,
    pub(crate) workers: usize,
    pub(crate) opaque_ports: PortList,
    pub(crate) dns_capture: bool,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) habits: Habits,
    pub(crate) admin: AdminSettings,
    pub(crate) grace: Duration,
    pub(crate) cert_ttl: Option<Duration>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the identity of namespace {namespace:?} and service account {account:?} is not a SPIFFE id: {reason}"
)]
pub(crate) struct SettingsError {
    namespace: String,
    account: String,
    reason: String,
}

impl TryFrom<RunArgs> for Settings {
    type Error = SettingsError;

    fn try_from(args: RunArgs) -> Result<Self, SettingsError> {
        let id = |namespace: &str, account: &str| {
            SpiffeId::for_service_account(&args.trust_domain, namespace, account).map_err(|error| {
                SettingsError {
                    namespace: namespace.to_owned(),
                    account: account.to_owned(),
                    reason: error.to_string(),
                }
            })
        };
        let system = |given: &Option<SpiffeId>, account| match given {
            Some(given) => Ok(given.clone()),
            None => id("heddle-system", account),
        };
        Ok(Self {
            control_id: system(&args.control_identity, "heddle-control")?,
            identity_id: system(&args.identity_identity, "heddle-identity")?,
            own_id: id(&args.pod_namespace, &args.service_account)?,
            control_address: args.control_address,
            identity_address: args.identity_address,
            trust_domain: args.trust_domain,
            token_file: args.token_file,
            trust_bundle_file: args.trust_bundle_file,
            state_dir: args.state_dir,
            pod_name: args.pod_name,
            pod_namespace: args.pod_namespace,
            workers: usize::from(args.workers),
            opaque_ports: args.opaque_ports,
            dns_capture: args.dns_capture,
            resolv_conf: args.resolv_conf,
            habits: Habits {
                stall: Duration::from_secs(u64::from(args.stall_seconds)),
                header_case: args.preserve_header_case,
                windows: limits::H2_PEERS,
            },
            admin: AdminSettings {
                ports: Ports::default(),
                pod_ip: args.pod_ip,
                app_probes: args.app_probes,
                app_lifecycle: args.app_lifecycle,
                app_metrics: args.app_metrics,
            },
            grace: Duration::from_secs(u64::from(args.termination_grace_seconds)),
            cert_ttl: (args.cert_ttl_seconds > 0)
                .then(|| Duration::from_secs(u64::from(args.cert_ttl_seconds))),
        })
    }
}
