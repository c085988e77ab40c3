//! HTTPRoute as it is written, v1 and v1beta1, and what its absent fields mean.

use serde::Deserialize;

use super::{
    Backend, BackendRef, FieldMatch, Match, Retry, Route, Rule, Target, check,
    filters::{Filter, FilterSpec},
    parents,
};
use crate::{
    resources::at::{At, Ignored},
    source::decode::Problem,
};

/// `spec:`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)] // fields exist so that their names are known
pub(crate) struct HttpRouteSpec {
    #[serde(default)]
    pub(super) parent_refs: Vec<At<ParentReference>>,
    #[serde(default)]
    pub(super) hostnames: Vec<At<String>>,
    pub(super) rules: Option<Vec<At<RuleSpec>>>,
    use_default_gateways: Option<Ignored>,
}

/// `parentRefs[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParentReference {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: At<String>,
    pub(super) section_name: Option<String>,
    pub(super) port: Option<At<u16>>,
}

/// `rules[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleSpec {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) matches: Vec<At<MatchSpec>>,
    #[serde(default)]
    pub(super) filters: Vec<At<FilterSpec>>,
    #[serde(default)]
    pub(super) backend_refs: Vec<At<BackendSpec>>,
    pub(super) timeouts: Option<Timeouts>,
    pub(super) retry: Option<At<RetrySpec>>,
    pub(super) session_persistence: Option<At<Ignored>>,
}

/// `matches[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MatchSpec {
    pub(super) path: Option<At<PathSpec>>,
    #[serde(default)]
    pub(super) headers: Vec<At<FieldSpec>>,
    #[serde(default)]
    pub(super) query_params: Vec<At<FieldSpec>>,
    pub(super) method: Option<Method>,
}

/// `path:`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PathSpec {
    #[serde(default, rename = "type")]
    pub(super) kind: PathType,
    pub(super) value: Option<At<String>>,
}

/// `path.type:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum PathType {
    Exact,
    #[default]
    PathPrefix,
    RegularExpression,
}

/// `headers[]` and `queryParams[]`.
#[derive(Debug, Deserialize)]
pub(super) struct FieldSpec {
    #[serde(default, rename = "type")]
    pub(super) kind: TextType,
    pub(super) name: At<String>,
    pub(super) value: At<String>,
}

/// `type:` of what is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum TextType {
    #[default]
    Exact,
    RegularExpression,
}

/// `method:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

/// `backendRefs[]`.
#[derive(Debug, Deserialize)]
pub(super) struct BackendSpec {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: At<String>,
    pub(super) namespace: Option<String>,
    pub(super) port: Option<At<u16>>,
    pub(super) weight: Option<At<u32>>,
    #[serde(default)]
    pub(super) filters: Vec<At<FilterSpec>>,
}

/// `backendRef:` of a copy.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BackendObject {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: At<String>,
    pub(super) namespace: Option<String>,
    pub(super) port: Option<At<u16>>,
}

impl BackendObject {
    pub(super) fn build(self) -> BackendRef {
        BackendRef {
            group: self.group.unwrap_or_default(),
            kind: self.kind.unwrap_or_else(|| "Service".to_owned()),
            name: self.name.value,
            namespace: self.namespace,
            port: self.port.map(|port| port.value),
        }
    }
}

/// `timeouts:`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeouts {
    pub(super) request: Option<At<String>>,
    pub(super) backend_request: Option<At<String>>,
}

/// `retry:`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RetrySpec {
    #[serde(default)]
    pub(super) codes: Vec<At<u16>>,
    pub(super) attempts: Option<At<u32>>,
    pub(super) backoff: Option<At<String>>,
}

impl HttpRouteSpec {
    /// What is wrong with it, as far as the API itself can tell.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        check::http(self)
    }

    /// With every default. Call it only where there are no problems.
    pub(crate) fn build(self) -> Route {
        let everything = || vec![At::nowhere(RuleSpec::default())];
        let rules = self.rules.unwrap_or_else(everything);
        Route {
            parents: parents(self.parent_refs),
            hostnames: self.hostnames,
            rules: rules.into_iter().map(rule).collect(),
            ..Route::default()
        }
    }
}

fn rule(written: At<RuleSpec>) -> At<Rule> {
    let spec = written.value;
    let mut matches: Vec<At<Match>> = spec.matches.into_iter().map(one_match).collect();
    if matches.is_empty() {
        matches.push(one_match(At::nowhere(MatchSpec::default())));
    }
    let timeouts = spec.timeouts.unwrap_or_default();
    // Zero is none.
    let span = |text: Option<At<String>>| {
        let span = check::duration(&text?)?;
        (span.millis() > 0).then_some(span)
    };
    let retry = spec.retry.map(|retry| At {
        at: retry.at,
        value: Retry {
            codes: retry.value.codes.iter().map(|code| code.value).collect(),
            attempts: retry.value.attempts.map(|attempts| attempts.value),
            backoff: span(retry.value.backoff),
        },
    });
    At {
        at: written.at,
        value: Rule {
            name: spec.name,
            matches,
            filters: filters(spec.filters),
            backends: spec.backend_refs.into_iter().map(backend).collect(),
            timeout: span(timeouts.request),
            backend_timeout: span(timeouts.backend_request),
            retry,
        },
    }
}

pub(super) fn filters(written: Vec<At<FilterSpec>>) -> Vec<At<Filter>> {
    let kept = |filter: At<FilterSpec>| At {
        at: filter.at,
        value: filter.value.build(),
    };
    written.into_iter().map(kept).collect()
}

pub(super) fn backend(written: At<BackendSpec>) -> At<Backend> {
    let spec = written.value;
    let to = BackendObject {
        group: spec.group,
        kind: spec.kind,
        name: spec.name,
        namespace: spec.namespace,
        port: spec.port,
    };
    At {
        at: written.at,
        value: Backend {
            to: to.build(),
            weight: spec.weight.map_or(1, |weight| weight.value),
            filters: filters(spec.filters),
        },
    }
}

fn one_match(written: At<MatchSpec>) -> At<Match> {
    let spec = written.value;
    let path = spec.path.map(|path| path.value).unwrap_or_default();
    let value = path.value.unwrap_or_else(|| At {
        at: written.at,
        value: "/".to_owned(),
    });
    let target = match path.kind {
        PathType::Exact => Target::Exact(value.value),
        PathType::PathPrefix => Target::Prefix(value.value),
        PathType::RegularExpression => Target::Regex(value.value),
    };
    At {
        at: written.at,
        value: Match {
            target: At {
                at: value.at,
                value: target,
            },
            method: spec.method.map(|method| method.as_str().to_owned()),
            headers: fields(spec.headers, true),
            query: fields(spec.query_params, false),
        },
    }
}

/// Of several of one name the first counts, as the API says.
pub(super) fn fields(written: Vec<At<FieldSpec>>, are_headers: bool) -> Vec<FieldMatch> {
    let mut kept: Vec<FieldMatch> = Vec::new();
    for field in written {
        let mut name = field.value.name;
        if are_headers {
            name.value.make_ascii_lowercase();
        }
        if kept.iter().all(|known| known.name != name) {
            kept.push(FieldMatch {
                name,
                value: field.value.value.value,
                regex: field.value.kind == TextType::RegularExpression,
            });
        }
    }
    kept
}
