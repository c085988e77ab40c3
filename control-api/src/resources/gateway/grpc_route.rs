//! GRPCRoute as it is written, and what its absent fields mean. What it shares with HTTPRoute it
//! takes from there; a filter or field that only HTTP has is refused by name.

use serde::Deserialize;

use super::{
    Backend, Match, Route, Rule, Target, check,
    filters::GrpcFilterSpec,
    http_route::{BackendObject, FieldSpec, ParentReference, TextType, fields},
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
pub(crate) struct GrpcRouteSpec {
    #[serde(default)]
    pub(super) parent_refs: Vec<At<ParentReference>>,
    #[serde(default)]
    pub(super) hostnames: Vec<At<String>>,
    #[serde(default)]
    pub(super) rules: Vec<At<GrpcRuleSpec>>,
    use_default_gateways: Option<Ignored>,
}

/// `rules[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GrpcRuleSpec {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) matches: Vec<At<GrpcMatchSpec>>,
    #[serde(default)]
    pub(super) filters: Vec<At<GrpcFilterSpec>>,
    #[serde(default)]
    pub(super) backend_refs: Vec<At<GrpcBackendSpec>>,
    pub(super) session_persistence: Option<At<Ignored>>,
}

/// `matches[]`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GrpcMatchSpec {
    pub(super) method: Option<At<MethodSpec>>,
    #[serde(default)]
    pub(super) headers: Vec<At<FieldSpec>>,
}

/// `method:`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MethodSpec {
    #[serde(default, rename = "type")]
    pub(super) kind: TextType,
    pub(super) service: Option<At<String>>,
    pub(super) method: Option<At<String>>,
}

/// `backendRefs[]`.
#[derive(Debug, Deserialize)]
pub(super) struct GrpcBackendSpec {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: At<String>,
    pub(super) namespace: Option<String>,
    pub(super) port: Option<At<u16>>,
    pub(super) weight: Option<At<u32>>,
    #[serde(default)]
    pub(super) filters: Vec<At<GrpcFilterSpec>>,
}

impl GrpcRouteSpec {
    /// What is wrong with it, as far as the API itself can tell.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        check::grpc(self)
    }

    /// With every default. Call it only where there are no problems.
    pub(crate) fn build(self) -> Route {
        Route {
            parents: parents(self.parent_refs),
            hostnames: self.hostnames,
            rules: self.rules.into_iter().map(rule).collect(),
            ..Route::default()
        }
    }
}

fn rule(written: At<GrpcRuleSpec>) -> At<Rule> {
    let spec = written.value;
    let mut matches: Vec<At<Match>> = spec.matches.into_iter().map(one_match).collect();
    if matches.is_empty() {
        matches.push(one_match(At::nowhere(GrpcMatchSpec::default())));
    }
    At {
        at: written.at,
        value: Rule {
            name: spec.name,
            matches,
            filters: spec
                .filters
                .into_iter()
                .map(GrpcFilterSpec::build)
                .collect(),
            backends: spec.backend_refs.into_iter().map(backend).collect(),
            ..Rule::default()
        },
    }
}

fn backend(written: At<GrpcBackendSpec>) -> At<Backend> {
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
            filters: spec
                .filters
                .into_iter()
                .map(GrpcFilterSpec::build)
                .collect(),
        },
    }
}

fn one_match(written: At<GrpcMatchSpec>) -> At<Match> {
    let method = written.value.method;
    let at = method.as_ref().map_or(written.at, |method| method.at);
    let method = method.map(|method| method.value).unwrap_or_default();
    let text = |text: Option<At<String>>| text.map(|text| text.value).filter(|t| !t.is_empty());
    let target = Target::Grpc {
        service: text(method.service),
        method: text(method.method),
        regex: method.kind == TextType::RegularExpression,
    };
    At {
        at: written.at,
        value: Match {
            target: At { at, value: target },
            method: None,
            headers: fields(written.value.headers, true),
            query: Vec::new(),
        },
    }
}
