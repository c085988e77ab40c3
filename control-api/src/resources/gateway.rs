//! Gateway API's HTTPRoute and GRPCRoute (gateway.networking.k8s.io), as they are kept: one type for
//! both, every default of the API applied. `http_route` and `grpc_route` name every field as it is
//! written; `check` finds what the API itself would refuse. What depends on the mesh (parents,
//! backends, filters that nobody has) is the model's to judge, since such a rule still answers.

mod check;
mod filters;
mod grpc_route;
mod http_route;

use serde::Serialize;

use super::{at::At, duration::Span, virtual_service::Sticky};
use crate::{
    check::Code,
    source::{decode::Problem, node::Position},
};

pub use self::filters::{
    Cors, Filter, HeaderModifier, HeaderValue, Mirror, PathModifier, Redirect, Rewrite, STATUSES,
};
pub(crate) use self::{grpc_route::GrpcRouteSpec, http_route::HttpRouteSpec};

/// The API's group.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// A route of either kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// What it is attached to.
    pub parents: Vec<At<ParentRef>>,
    /// Hosts that requests must name; empty: any.
    pub hostnames: Vec<At<String>>,
    /// Its rules.
    pub rules: Vec<At<Rule>>,
    /// By what splits are sticky: an annotation says it.
    pub sticky: Option<Sticky>,
    /// `metadata.generation`; 0: it is not known.
    pub generation: i64,
}

/// `parentRefs[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The group of its kind; empty: the core's.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; the route's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The name of a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// The number of a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// `rules[]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// For people.
    pub name: Option<String>,
    /// Any of these; never empty.
    pub matches: Vec<At<Match>>,
    /// What it does.
    pub filters: Vec<At<Filter>>,
    /// Where to.
    pub backends: Vec<At<Backend>>,
    /// For the whole request; None: none.
    pub timeout: Option<Span>,
    /// For each try; None: none.
    pub backend_timeout: Option<Span>,
    /// When to try again.
    pub retry: Option<At<Retry>>,
}

/// `matches[]`: all of what is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// The path, or the gRPC method.
    pub target: At<Target>,
    /// The HTTP method.
    pub method: Option<String>,
    /// Headers, in lower case, each once.
    pub headers: Vec<FieldMatch>,
    /// Query parameters, each once.
    pub query: Vec<FieldMatch>,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This path.
    Exact(String),
    /// This path or one below it.
    Prefix(String),
    /// A path that matches wholly.
    Regex(String),
    /// A gRPC method.
    Grpc {
        /// Its service; None: any.
        service: Option<String>,
        /// Its name; None: any.
        method: Option<String>,
        /// They are regexes.
        regex: bool,
    },
}

/// A header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMatch {
    /// Its name.
    pub name: At<String>,
    /// Its value.
    pub value: String,
    /// The value is a regex for the whole.
    pub regex: bool,
}

/// `backendRefs[]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Who.
    pub to: BackendRef,
    /// Its relative share.
    pub weight: u32,
    /// What is done to requests that go there, after the rule's.
    pub filters: Vec<At<Filter>>,
}

/// Who gets requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// The group of its kind; empty: the core's.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; the route's when absent.
    pub namespace: Option<String>,
    /// Its port; a Service's is always named.
    pub port: Option<u16>,
}

impl BackendRef {
    /// Whether it is a Service.
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
}

/// `retry:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Statuses that are tried again.
    pub codes: Vec<u16>,
    /// Beyond the first; None: as many as by default.
    pub attempts: Option<u32>,
    /// Least pause between two.
    pub backoff: Option<Span>,
}

/// Defaults that both kinds share.
fn parents(written: Vec<At<http_route::ParentReference>>) -> Vec<At<ParentRef>> {
    let kept = |parent: At<http_route::ParentReference>| At {
        at: parent.at,
        value: ParentRef {
            group: parent.value.group.unwrap_or_else(|| GROUP.to_owned()),
            kind: parent.value.kind.unwrap_or_else(|| "Gateway".to_owned()),
            namespace: parent.value.namespace,
            name: parent.value.name.value,
            section_name: parent.value.section_name,
            port: parent.value.port.map(|port| port.value),
        },
    };
    written.into_iter().map(kept).collect()
}

fn problem(code: Code, at: Position, reason: String, suggestion: &str) -> Problem {
    Problem::new(code, at, reason).suggest(suggestion)
}

#[cfg(test)]
mod tests;
