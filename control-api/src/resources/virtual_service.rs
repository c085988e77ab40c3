//! Istio's VirtualService (networking.istio.io). Names every field of the API; holds those that
//! are supported. `problems` finds what can be told from the document alone, `warnings` what is in
//! force and hardly meant.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    at::{At, Unsupported},
    duration::Span,
    header::Headers,
    string_match::StringMatch,
};
use crate::check::Code;
use crate::source::{decode::Problem, node::Position};

mod actions;
mod check;
mod delegate;
mod sticky;

pub use self::{
    actions::{
        Abort, CorsPolicy, Delay, DirectResponse, DirectResponseBody, Fault, Mirror, Percentage,
        Redirect, RedirectPort, RegexRewrite, Rewrite, UnmatchedPreflights, redirected_uri,
    },
    delegate::Delegate,
    sticky::{STICKY, Sticky},
};
pub(crate) use check::{bad_host, host_meant};

/// The gateway that stands for every sidecar.
pub const MESH: &str = "mesh";

/// `spec:`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualService {
    /// Names that it routes; none: others delegate to it.
    #[serde(default)]
    pub hosts: Vec<At<String>>,
    /// Where it is in force; absent: every sidecar.
    pub gateways: Option<Vec<At<String>>>,
    /// Rules for HTTP; first match wins.
    #[serde(default)]
    pub http: Vec<At<HttpRoute>>,
    /// Rules for connections.
    #[serde(default)]
    pub tcp: Vec<At<TcpRoute>>,
    /// Rules for the application's own TLS, by the name that it asks for.
    #[serde(default)]
    pub tls: Vec<At<TlsRoute>>,
    /// Namespaces that see it.
    #[serde(default)]
    pub export_to: Vec<At<String>>,
    /// By what splits are sticky: an annotation says it.
    #[serde(skip)]
    pub sticky: Option<Sticky>,
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
    /// In place of a destination: go elsewhere.
    pub redirect: Option<At<Redirect>>,
    /// In place of a destination: this answer.
    pub direct_response: Option<At<DirectResponse>>,
    /// What the destination sees in place of what came.
    pub rewrite: Option<At<Rewrite>>,
    /// Failures on purpose.
    pub fault: Option<At<Fault>>,
    /// Where copies go.
    pub mirror: Option<At<Destination>>,
    /// Of which requests; all of them when absent.
    pub mirror_percentage: Option<At<Percentage>>,
    /// The older spelling of the same.
    pub mirror_percent: Option<At<u32>>,
    /// Where copies go, if to several.
    #[serde(default)]
    pub mirrors: Vec<At<Mirror>>,
    /// Which pages of other origins may call.
    pub cors_policy: Option<At<CorsPolicy>>,
    /// Changes of headers.
    pub headers: Option<At<Headers>>,
    /// In place of a destination: the rules of another VirtualService.
    pub delegate: Option<At<Delegate>>,
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
    /// `http` or `https`.
    pub scheme: Option<At<StringMatch>>,
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
    /// Changes of headers, after the rule's.
    pub headers: Option<At<Headers>>,
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
    /// Base of the pause between two.
    pub backoff: Option<At<Span>>,
    /// Whether an endpoint that failed is avoided; it is.
    pub retry_ignore_previous_hosts: Option<bool>,
    retry_remote_localities: Option<Unsupported>,
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

/// `tls[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// Any of these.
    #[serde(default, rename = "match")]
    pub matches: Vec<At<TlsMatch>>,
    /// Where to.
    #[serde(default)]
    pub route: Vec<TcpRouteDestination>,
}

/// `tls[].match[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsMatch {
    /// Names that a client asks for: exact, or `*.` and the rest.
    #[serde(default)]
    pub sni_hosts: Vec<At<String>>,
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
}

impl VirtualService {
    /// Whether sidecars are among those it is for.
    pub fn is_for_mesh(&self) -> bool {
        self.gateways
            .as_ref()
            .is_none_or(|gateways| gateways.iter().any(|name| name.as_str() == MESH))
    }

    /// Every destination with the path that leads to it, those of copies too.
    pub fn destinations(&self) -> impl Iterator<Item = (String, &Destination)> {
        let http = self.http.iter().enumerate().flat_map(|(rule, http)| {
            let path = format!("spec.http[{rule}]");
            let routes = http.route.iter().map(|route| &route.destination);
            let mirror = http.mirror.iter().map(|mirror| &mirror.value);
            let mirrors = http.mirrors.iter().map(|mirror| &mirror.destination);
            routed(&path, routes)
                .chain(mirror.map(|to| (format!("{path}.mirror"), to)))
                .chain(
                    mirrors
                        .enumerate()
                        .map(|(i, to)| (format!("{path}.mirrors[{i}].destination"), to)),
                )
                .collect::<Vec<_>>()
        });
        let tls = self.tls.iter().enumerate().flat_map(|(rule, tls)| {
            let routes = tls.route.iter().map(|route| &route.destination);
            routed(&format!("spec.tls[{rule}]"), routes).collect::<Vec<_>>()
        });
        let tcp = self.tcp.iter().enumerate().flat_map(|(rule, tcp)| {
            let routes = tcp.route.iter().map(|route| &route.destination);
            routed(&format!("spec.tcp[{rule}]"), routes).collect::<Vec<_>>()
        });
        http.chain(tls).chain(tcp)
    }

    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        check::problems(self)
    }

    /// What is in force of it and hardly meant.
    pub fn warnings(&self) -> Vec<Problem> {
        check::warnings(self)
    }
}

fn routed<'a>(
    path: &str,
    destinations: impl Iterator<Item = &'a Destination>,
) -> impl Iterator<Item = (String, &'a Destination)> {
    destinations
        .enumerate()
        .map(move |(i, to)| (format!("{path}.route[{i}].destination"), to))
}

fn problem(code: Code, at: Position, reason: String, suggestion: &str) -> Problem {
    Problem::new(code, at, reason).suggest(suggestion)
}
