//! `trafficPolicy:` of a DestinationRule: how clients balance over a service, connect to it, judge
//! its endpoints and speak TLS. A policy is merged by whole components (`Components`), as in Istio:
//! what a narrower one names replaces what the wider one says of it.

mod check;
mod load_balancer;
mod pool;

use serde::Deserialize;

pub use self::{
    load_balancer::{
        ConsistentHash, Distribute, Failover, HttpCookie, LoadBalancer, LocalitySetting, Maglev,
        RingHash, Simple, Warmup,
    },
    pool::{
        ConnectionPool, HttpPool, OutlierDetection, RetryBudget, TcpKeepalive, TcpPool,
        UpgradePolicy,
    },
};
use super::at::{At, Unsupported};
use crate::check::Code;
use crate::source::decode::Problem;

/// `trafficPolicy:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How requests are spread.
    pub load_balancer: Option<At<LoadBalancer>>,
    /// Bounds of connections and requests.
    pub connection_pool: Option<At<ConnectionPool>>,
    /// When endpoints are left out.
    pub outlier_detection: Option<At<OutlierDetection>>,
    /// Client TLS.
    pub tls: Option<At<ClientTls>>,
    /// Policies of single ports. Each replaces everything.
    #[serde(default)]
    pub port_level_settings: Vec<At<PortPolicy>>,
    /// How many retries may be under way.
    pub retry_budget: Option<At<RetryBudget>>,
    tunnel: Option<Unsupported>,
    proxy_protocol: Option<Unsupported>,
}

/// `portLevelSettings[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortPolicy {
    /// Whose.
    pub port: At<PortNumber>,
    /// How requests are spread.
    pub load_balancer: Option<At<LoadBalancer>>,
    /// Bounds of connections and requests.
    pub connection_pool: Option<At<ConnectionPool>>,
    /// When endpoints are left out.
    pub outlier_detection: Option<At<OutlierDetection>>,
    /// Client TLS.
    pub tls: Option<At<ClientTls>>,
}

/// `port: {number: 80}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PortNumber {
    /// The service's port number.
    pub number: u16,
}

/// `tls:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// Which TLS.
    pub mode: At<TlsMode>,
    /// Path in the pod.
    pub client_certificate: Option<At<String>>,
    /// Path in the pod.
    pub private_key: Option<At<String>>,
    /// Path in the pod; none: the system's roots.
    pub ca_certificates: Option<At<String>>,
    /// Names of which the server's certificate must have one.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// Server name to ask for.
    pub sni: Option<At<String>>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: Option<bool>,
    ca_crl: Option<Unsupported>,
    credential_name: Option<Unsupported>,
}

/// `tls.mode:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// TLS to the server's name.
    Simple,
    /// With a certificate of one's own.
    Mutual,
    /// The mesh's own.
    IstioMutual,
}

/// A policy without its ports: what is merged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Components<'a> {
    /// How requests are spread.
    pub load_balancer: Option<&'a LoadBalancer>,
    /// Bounds of connections and requests.
    pub connection_pool: Option<&'a ConnectionPool>,
    /// When endpoints are left out.
    pub outlier_detection: Option<&'a OutlierDetection>,
    /// Client TLS.
    pub tls: Option<&'a ClientTls>,
    /// How many retries may be under way.
    pub retry_budget: Option<&'a RetryBudget>,
}

impl<'a> Components<'a> {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These under what a narrower policy says for a port of the service (0: for any).
    pub fn merged(self, narrower: Option<&'a TrafficPolicy>, port: u16) -> Self {
        let Some(policy) = narrower else { return self };
        let own = policy.components();
        let merged = Self {
            load_balancer: own.load_balancer.or(self.load_balancer),
            connection_pool: own.connection_pool.or(self.connection_pool),
            outlier_detection: own.outlier_detection.or(self.outlier_detection),
            tls: own.tls.or(self.tls),
            retry_budget: own.retry_budget.or(self.retry_budget),
        };
        let of_port = policy
            .port_level_settings
            .iter()
            .find(|of_port| port != 0 && of_port.port.number == port);
        match of_port {
            Some(of_port) => Self {
                retry_budget: merged.retry_budget,
                ..of_port.components()
            },
            None => merged,
        }
    }

    /// Names of the components that are given and that a port's policy can give.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            ("loadBalancer", self.load_balancer.is_some()),
            ("connectionPool", self.connection_pool.is_some()),
            ("outlierDetection", self.outlier_detection.is_some()),
            ("tls", self.tls.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
    }
}

impl PortPolicy {
    fn components(&self) -> Components<'_> {
        Components {
            load_balancer: self.load_balancer.as_deref(),
            connection_pool: self.connection_pool.as_deref(),
            outlier_detection: self.outlier_detection.as_deref(),
            tls: self.tls.as_deref(),
            retry_budget: None,
        }
    }
}

impl TrafficPolicy {
    /// What it says of every port.
    pub fn components(&self) -> Components<'_> {
        Components {
            load_balancer: self.load_balancer.as_deref(),
            connection_pool: self.connection_pool.as_deref(),
            outlier_detection: self.outlier_detection.as_deref(),
            tls: self.tls.as_deref(),
            retry_budget: self.retry_budget.as_deref(),
        }
    }

    /// What is wrong with it; `path` leads to it.
    pub fn problems(&self, path: &str, found: &mut Vec<Problem>) {
        check::problems(self, path, found);
    }

    /// What it drops without saying so, under a wider policy.
    pub fn warnings(&self, path: &str, wider: Components<'_>, found: &mut Vec<Problem>) {
        let above = wider.merged(Some(self), 0);
        for (i, of_port) in self.port_level_settings.iter().enumerate() {
            let kept: Vec<&str> = of_port.components().names().collect();
            let lost: Vec<&str> = above.names().filter(|name| !kept.contains(name)).collect();
            if lost.is_empty() {
                continue;
            }
            let lost = lost.join(", ");
            let reason = format!(
                "{path}.portLevelSettings[{i}]: it replaces everything for port {}, so {lost} \
                 from above is dropped",
                of_port.port.number
            );
            found.push(
                Problem::new(Code::PortSettingsDrop, of_port.at, reason).suggest(format!(
                    "repeat {lost} here if it is meant for this port too"
                )),
            );
        }
    }
}
