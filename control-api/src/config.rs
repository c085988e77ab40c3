//! Flags and their environment variables, parsed once into what the rest works with. A bad value
//! fails at the start, with its name and what is allowed.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use clap::{Parser, ValueEnum};
use heddle_identity::{SpiffeId, TrustDomain};

use crate::{model::Settings, resources::telemetry::ppm, source::kubernetes::Access};

const EXAMPLE: &str = "Example, everything on one machine:
  heddle-control --config-dir ./manifests --listen 127.0.0.1:15012 \\
    --identity-address 127.0.0.1:15013 --token-file ./control.token \\
    --trust-bundle-file ./root-cert.pem

Edit a file under ./manifests and the proxies concerned have it some 20 ms later. What was
refused, and why, is in the log and on the admin listener (`heddle status`).";

/// The control plane of the Heddle mesh: reads manifests, pushes to each proxy what it needs.
#[derive(Clone, Debug, Parser)]
#[command(name = "heddle-control", version, after_help = EXAMPLE)]
pub struct Config {
    /// Directory (or file) of manifests; a later one wins over an earlier one
    #[arg(
        long = "config-dir",
        env = "HEDDLE_CONFIG_DIR",
        value_name = "DIR",
        value_delimiter = ',',
        required_unless_present = "kubernetes"
    )]
    pub config_dirs: Vec<PathBuf>,

    /// Read a cluster's API server instead: as a pod of it, or with --kubeconfig
    #[arg(long, env = "HEDDLE_KUBERNETES", conflicts_with = "config_dirs")]
    pub kubernetes: bool,

    /// How the API server is reached from outside a pod: this file's current context
    #[arg(
        long,
        env = "HEDDLE_KUBECONFIG",
        value_name = "FILE",
        conflicts_with = "config_dirs"
    )]
    pub kubeconfig: Option<PathBuf>,

    /// Where to answer /healthz and /readyz (HTTP); nowhere without
    #[arg(long, env = "HEDDLE_HEALTH_LISTEN", value_name = "IP:PORT")]
    pub health_listen: Option<SocketAddr>,

    /// In a cluster: where the API server calls the validating webhook (HTTPS)
    #[arg(long, env = "HEDDLE_WEBHOOK_LISTEN", default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15019)))]
    pub webhook_listen: SocketAddr,

    /// In a cluster: the Lease, in the system namespace, whose holder writes what became of routes
    #[arg(
        long,
        env = "HEDDLE_LEASE",
        default_value = "heddle-control",
        value_name = "NAME"
    )]
    pub lease: String,

    /// In a cluster: this replica's own name [default: the host's name]
    #[arg(long, env = "HEDDLE_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// Where proxies connect (gRPC, mutual TLS)
    #[arg(long, env = "HEDDLE_LISTEN", default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15012)))]
    pub listen: SocketAddr,

    /// Where operators ask (gRPC, no TLS): HOST:PORT, or unix:/PATH
    #[arg(long, env = "HEDDLE_ADMIN_LISTEN", default_value = "127.0.0.1:15014")]
    pub admin_listen: AdminAddress,

    /// The mesh's trust domain
    #[arg(long, env = "HEDDLE_TRUST_DOMAIN", default_value_t)]
    pub trust_domain: TrustDomain,

    /// What the names of services end with
    #[arg(long, env = "HEDDLE_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Namespace of the mesh's own parts and of policies for the whole mesh
    #[arg(long, env = "HEDDLE_SYSTEM_NAMESPACE", default_value = "heddle-system")]
    pub system_namespace: String,

    /// Where the identity service is
    #[arg(
        long,
        env = "HEDDLE_IDENTITY_ADDRESS",
        value_name = "HOST:PORT",
        default_value = "heddle-identity.heddle-system.svc:15013"
    )]
    pub identity_address: String,

    /// Who it must be [default: spiffe://TRUST-DOMAIN/ns/SYSTEM-NAMESPACE/sa/heddle-identity]
    #[arg(long, env = "HEDDLE_IDENTITY_IDENTITY", value_name = "SPIFFE-ID")]
    pub identity_identity: Option<SpiffeId>,

    /// Service-account token that proves who we are
    #[arg(
        long,
        env = "HEDDLE_TOKEN_FILE",
        default_value = "/var/run/secrets/heddle/token/token"
    )]
    pub token_file: PathBuf,

    /// Roots to trust at first (PEM)
    #[arg(
        long,
        env = "HEDDLE_TRUST_BUNDLE_FILE",
        default_value = "/var/run/secrets/heddle/trust/root-cert.pem"
    )]
    pub trust_bundle_file: PathBuf,

    /// Where the key, the certificate and the last good version of what is bad survive a restart
    #[arg(long, env = "HEDDLE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Share of requests that are traced where nobody says otherwise, in percent
    #[arg(long, env = "HEDDLE_DEFAULT_SAMPLING_PERCENTAGE", default_value = "1", value_parser = percentage)]
    pub default_sampling_percentage: f64,

    /// Where proxies send spans: http://HOST:PORT, https://… or spiffe+https://… (OTLP over gRPC)
    #[arg(long, env = "HEDDLE_OTLP_ENDPOINT", value_name = "URL", default_value = "", value_parser = otlp_endpoint)]
    pub otlp_endpoint: String,

    /// Who a spiffe+https endpoint must be
    #[arg(long, env = "HEDDLE_OTLP_IDENTITY", value_name = "SPIFFE-ID")]
    pub otlp_identity: Option<SpiffeId>,

    /// Addresses that one proxy may follow
    #[arg(long, env = "HEDDLE_MAX_SUBSCRIPTIONS", default_value_t = 10_000)]
    pub max_subscriptions: usize,

    /// error, warn, info, debug, trace, or a filter such as info,heddle_control=debug
    #[arg(long, env = "HEDDLE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// How log lines look
    #[arg(long, env = "HEDDLE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("the path after unix: must begin with /".into()),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "it must be IP:PORT or unix:/PATH".into()),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn percentage(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percentage) if (0.0..=100.0).contains(&percentage) => Ok(percentage),
        _ => Err("it must be a number from 0 to 100".into()),
    }
}

fn otlp_endpoint(text: &str) -> Result<String, String> {
    let known = ["http://", "https://", "spiffe+https://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    if known || text.is_empty() {
        Ok(text.to_owned())
    } else {
        Err("it must begin with http://, https:// or spiffe+https://".into())
    }
}

impl Config {
    /// What no single flag can tell of itself.
    ///
    /// # Errors
    /// With what is missing.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.otlp_endpoint.starts_with("spiffe+https://") && self.otlp_identity.is_none() {
            return Err(
                "--otlp-endpoint spiffe+https://… needs --otlp-identity: who must answer there",
            );
        }
        Ok(())
    }

    /// How the API server is reached, if the mesh is read from there.
    pub fn access(&self) -> Option<Access> {
        self.kubernetes.then(|| match &self.kubeconfig {
            Some(file) => Access::Kubeconfig(file.clone()),
            None => Access::InCluster,
        })
    }

    /// What this replica is called.
    pub fn own_name(&self) -> String {
        let host = || nix::unistd::gethostname().ok()?.into_string().ok();
        let name = self.pod_name.clone().or_else(host);
        name.unwrap_or_else(|| format!("heddle-control-{}", std::process::id()))
    }

    /// What the model needs to know.
    pub fn settings(&self) -> Settings {
        Settings {
            trust_domain: self.trust_domain.clone(),
            cluster_domain: self.cluster_domain.to_ascii_lowercase(),
            system_namespace: self.system_namespace.clone(),
            sampling_ppm: ppm(self.default_sampling_percentage),
            otlp_endpoint: self.otlp_endpoint.clone(),
            otlp_identity: self
                .otlp_identity
                .as_ref()
                .map(|id| id.as_str().to_owned())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_have_the_documented_defaults() {
        let config =
            Config::try_parse_from(["heddle-control", "--config-dir", "a", "--config-dir", "b"])
                .unwrap();
        assert_eq!(config.config_dirs.len(), 2);
        assert_eq!(config.listen.port(), 15012);
        assert_eq!(config.admin_listen.to_string(), "127.0.0.1:15014");
        assert_eq!(config.settings().sampling_ppm, 10_000);
    }

    #[test]
    fn a_cluster_or_directories_but_not_both() {
        let parse = |arguments: &[&str]| {
            Config::try_parse_from(["heddle-control"].iter().chain(arguments))
                .map(|config| config.access())
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--kubernetes", "--config-dir", "a"]).is_err());
        assert!(parse(&["--config-dir", "a", "--kubeconfig", "b"]).is_err());
        assert_eq!(parse(&["--config-dir", "a"]).unwrap(), None);
        assert_eq!(parse(&["--kubernetes"]).unwrap(), Some(Access::InCluster));
        let file = parse(&["--kubernetes", "--kubeconfig", "b"]).unwrap();
        assert_eq!(file, Some(Access::Kubeconfig("b".into())));
    }

    #[test]
    fn bad_values_are_refused() {
        for bad in [
            ["--default-sampling-percentage", "101"],
            ["--admin-listen", "unix:relative"],
            ["--otlp-endpoint", "collector:4317"],
            ["--trust-domain", "Has Space"],
        ] {
            let arguments = ["heddle-control", "--config-dir", "a"]
                .into_iter()
                .chain(bad);
            assert!(Config::try_parse_from(arguments).is_err(), "{bad:?}");
        }
    }
    #[test]
    fn spans_over_mesh_tls_need_to_know_whom_to_expect() {
        let parse = |more: &[&str]| {
            let base = [
                "heddle-control",
                "--config-dir",
                "a",
                "--otlp-endpoint",
                "spiffe+https://c:4317",
            ];
            Config::try_parse_from(base.iter().chain(more))
                .unwrap()
                .check()
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--otlp-identity", "spiffe://cluster.local/ns/a/sa/b"]).is_ok());
    }
}
