//! Istio's VirtualService (networking.istio.io). Names every field of the API; holds those that
//! are supported. `problems` finds what can be told from the document alone.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    at::{At, Unsupported},
    duration::Span,
    string_match::StringMatch,
};
use crate::source::{decode::Problem, node::Position};

mod check;

pub(crate) use check::bad_host;

/// The gateway that stands for every sidecar.
pub const MESH: &str = "mesh";

/// `spec:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualService {
    /// Names that it routes.
    pub hosts: Vec<At<String>>,
    /// Where it is in force; absent: every sidecar.
    pub gateways: Option<Vec<At<String>>>,
    /// Rules for HTTP; first match wins.
    #[serde(default)]
    pub http: Vec<At<HttpRoute>>,
    /// Rules for connections.
    #[serde(default)]
    pub tcp: Vec<At<TcpRoute>>,
    /// Namespaces that see it; only `*` is supported.
    pub export_to: Option<Vec<At<String>>>,
    tls: Option<Unsupported>,
}

/// `http[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// For people.
    pub name: Option<String>,
    /// Any of these; empty: every request.
    #[serde(default, rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Where to.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
    /// For the whole request, retries included.
    pub timeout: Option<Span>,
    /// When to try again.
    pub retries: Option<Retries>,
    redirect: Option<Unsupported>,
    direct_response: Option<Unsupported>,
    delegate: Option<Unsupported>,
    rewrite: Option<Unsupported>,
    fault: Option<Unsupported>,
    mirror: Option<Unsupported>,
    mirrors: Option<Unsupported>,
    mirror_percent: Option<Unsupported>,
    mirror_percentage: Option<Unsupported>,
    cors_policy: Option<Unsupported>,
    headers: Option<Unsupported>,
}

/// `http[].match[]`: all of what is given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// For people.
    pub name: Option<String>,
    /// The path.
    pub uri: Option<At<StringMatch>>,
    /// Compare `uri` without case.
    #[serde(default)]
    pub ignore_uri_case: bool,
    /// The method.
    pub method: Option<At<StringMatch>>,
    /// The Host header.
    pub authority: Option<At<StringMatch>>,
    /// Headers that must match.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<At<StringMatch>>>,
    /// Headers that must not match.
    #[serde(default)]
    pub without_headers: BTreeMap<String, Option<At<StringMatch>>>,
    /// Query parameters that must match.
    #[serde(default)]
    pub query_params: BTreeMap<String, Option<At<StringMatch>>>,
    /// Port of the service that was called.
    pub port: Option<At<u16>>,
    /// Labels that the client's pod must have.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// The client's namespace.
    pub source_namespace: Option<String>,
    /// Where the match is in force; empty: as the VirtualService.
    #[serde(default)]
    pub gateways: Vec<String>,
    scheme: Option<Unsupported>,
    stat_prefix: Option<Unsupported>,
}

/// `route[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative share. A single destination ignores it.
    pub weight: Option<At<u32>>,
    headers: Option<Unsupported>,
}

/// `destination:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Destination {
    /// A service's name.
    pub host: At<String>,
    /// A subset that a DestinationRule of it defines.
    pub subset: Option<At<String>>,
    /// One of its ports.
    pub port: Option<PortSelector>,
}

/// `port: {number: 80}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PortSelector {
    /// The service's port number.
    pub number: At<u16>,
}

/// `retries:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Beyond the first; 0: off.
    pub attempts: At<u32>,
    /// For each.
    pub per_try_timeout: Option<Span>,
    /// Conditions, by comma.
    pub retry_on: Option<At<String>>,
    backoff: Option<Unsupported>,
    retry_remote_localities: Option<Unsupported>,
    retry_ignore_previous_hosts: Option<Unsupported>,
}

/// `tcp[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// Any of these; empty: every connection.
    #[serde(default, rename = "match")]
    pub matches: Vec<TcpMatch>,
    /// Where to.
    #[serde(default)]
    pub route: Vec<TcpRouteDestination>,
}

/// `tcp[].match[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpMatch {
    /// Port of the service that was called.
    pub port: Option<At<u16>>,
    /// Labels that the client's pod must have.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// The client's namespace.
    pub source_namespace: Option<String>,
    /// Where the match is in force; empty: as the VirtualService.
    #[serde(default)]
    pub gateways: Vec<String>,
    destination_subnets: Option<Unsupported>,
    source_subnet: Option<Unsupported>,
}

/// `tcp[].route[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TcpRouteDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative share.
    pub weight: Option<At<u32>>,
}

impl VirtualService {
    /// Whether sidecars are among those it is for.
    pub fn is_for_mesh(&self) -> bool {
        self.gateways
            .as_ref()
            .is_none_or(|gateways| gateways.iter().any(|name| name.as_str() == MESH))
    }

    /// Every destination with the path that leads to it.
    pub fn destinations(&self) -> impl Iterator<Item = (String, &Destination)> {
        let http = self.http.iter().enumerate().flat_map(|(rule, http)| {
            http.route.iter().enumerate().map(move |(i, route)| {
                (
                    format!("spec.http[{rule}].route[{i}].destination"),
                    &route.destination,
                )
            })
        });
        let tcp = self.tcp.iter().enumerate().flat_map(|(rule, tcp)| {
            tcp.route.iter().enumerate().map(move |(i, route)| {
                (
                    format!("spec.tcp[{rule}].route[{i}].destination"),
                    &route.destination,
                )
            })
        });
        http.chain(tcp)
    }

    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        check::problems(self)
    }
}

fn problem(at: Position, reason: String, suggestion: &str) -> Problem {
    Problem {
        at,
        reason,
        suggestion: suggestion.to_owned(),
    }
}
