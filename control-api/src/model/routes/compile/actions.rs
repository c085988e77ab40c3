//! What a rule does besides routing, in its wire form.

use std::collections::BTreeMap;

use heddle_proto::mesh::{
    self, Cors, Fault, Header, HeaderChanges, Millis, PathRewrite, Rewrite,
    fault::{Abort, Delay, abort::Status},
    header_changes::Changes,
    sticky::Key,
    string_match::Kind,
};

use super::matches::string_match;
use crate::resources::{
    at::At,
    duration::Span,
    header::{HeaderOperations, Headers, literal, names_authority},
    string_match::Meaning,
    virtual_service::{
        self as written, CorsPolicy, DirectResponse, HttpRoute, Redirect, RedirectPort, Sticky,
        UnmatchedPreflights,
    },
};

pub(super) fn redirect(to: &Redirect, path: Option<PathRewrite>) -> mesh::Redirect {
    let text = |text: &Option<At<String>>| {
        let text = text.as_ref().map(|text| text.value.clone());
        text.unwrap_or_default()
    };
    let scheme = text(&to.scheme);
    let of_scheme = if scheme == "https" { 443 } else { 80 };
    let port = match (&to.port, to.derive_port) {
        (Some(port), _) => port.value.into(),
        (None, Some(RedirectPort::FromProtocolDefault)) => of_scheme,
        (None, _) => 0,
    };
    mesh::Redirect {
        scheme,
        authority: text(&to.authority),
        port,
        path,
        keep_port: to.derive_port == Some(RedirectPort::FromRequestPort),
        status: to.redirect_code.as_ref().map_or(301, |code| code.value),
    }
}

pub(super) fn direct_response(answer: &DirectResponse) -> mesh::DirectResponse {
    let body = answer.body.as_ref().and_then(|body| body.string.clone());
    mesh::DirectResponse {
        status: answer.status.value,
        body: body.unwrap_or_default().into(),
        headers: Vec::new(),
    }
}

pub(super) fn fault(fault: &written::Fault) -> Fault {
    let delay = fault.delay.as_ref().map(|delay| {
        let older = delay.percent.as_ref().map(|percent| percent.value * 10_000);
        let ppm = delay.percentage.as_ref().map(|p| p.ppm());
        Delay {
            fixed: Some(millis(delay.fixed_delay.value)),
            ppm: ppm.or(older).unwrap_or(0),
        }
    });
    let abort = fault.abort.as_ref().map(|abort| {
        let http = abort.http_status.as_ref();
        let grpc = || abort.grpc_number().map(Status::Grpc);
        Abort {
            status: http.map(|http| Status::Http(http.value)).or_else(grpc),
            ppm: abort.percentage.as_ref().map_or(0, |p| p.ppm()),
        }
    });
    Fault { delay, abort }
}

/// What the rule itself says; `set` of the host counts where `rewrite` names no authority.
pub(super) fn rewrite(rule: &HttpRoute, path: Option<PathRewrite>) -> Option<Rewrite> {
    let named = rule.rewrite.as_ref().and_then(|r| r.authority.as_ref());
    let set = || {
        rule.headers
            .as_ref()
            .and_then(|headers| headers.authority())
    };
    let authority = named.map(|named| named.as_str()).or_else(set);
    if path.is_none() && authority.is_none() {
        return None;
    }
    Some(Rewrite {
        path,
        authority: authority.unwrap_or_default().to_owned(),
    })
}

/// The authority that a destination's `set` of the host asks for.
pub(super) fn authority(headers: &Headers) -> Option<Rewrite> {
    let authority = headers.authority()?.to_owned();
    Some(Rewrite {
        path: None,
        authority,
    })
}

/// None: nothing changes.
pub(super) fn headers(headers: &Headers) -> Option<HeaderChanges> {
    let (request, response) = (changes(&headers.request), changes(&headers.response));
    let any = request.is_some() || response.is_some();
    any.then_some(HeaderChanges { request, response })
}

fn changes(operations: &HeaderOperations) -> Option<Changes> {
    let list = |list: &BTreeMap<String, At<String>>| -> Vec<Header> {
        let kept = list.iter().filter(|(name, _)| !names_authority(name));
        kept.map(|(name, value)| Header {
            name: name.to_ascii_lowercase(),
            value: literal(value),
        })
        .collect()
    };
    let changes = Changes {
        set: list(&operations.set),
        add: list(&operations.add),
        remove: operations
            .remove
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
    };
    (changes != Changes::default()).then_some(changes)
}

pub(super) fn cors(policy: &CorsPolicy) -> Cors {
    let any = || mesh::StringMatch {
        kind: Some(Kind::Present(true)),
    };
    let origins = policy
        .allow_origins
        .iter()
        .map(|origin| match origin.meaning() {
            Meaning::Exact("*") => any(),
            _ => string_match(origin),
        });
    let older = policy
        .allow_origin
        .iter()
        .map(|origin| match origin.as_str() {
            "*" => any(),
            exact => mesh::StringMatch {
                kind: Some(Kind::Exact(exact.to_owned())),
            },
        });
    let texts = |list: &[At<String>]| list.iter().map(|text| text.value.clone()).collect();
    Cors {
        allow_origins: origins.chain(older).collect(),
        allow_methods: texts(&policy.allow_methods),
        allow_headers: texts(&policy.allow_headers),
        expose_headers: texts(&policy.expose_headers),
        max_age: policy.max_age.map(millis),
        allow_credentials: policy.allow_credentials == Some(true),
        forward_unmatched_preflights: policy.unmatched_preflights
            != Some(UnmatchedPreflights::Ignore),
    }
}

pub(in crate::model) fn sticky(by: &Sticky) -> mesh::Sticky {
    let key = match by {
        Sticky::Header(name) => Key::Header(name.clone()),
        Sticky::Cookie { name, path, ttl } => Key::Cookie(mesh::Cookie {
            name: name.clone(),
            path: path.clone(),
            ttl: ttl.map(millis),
        }),
        Sticky::Source => Key::SourceIp(true),
    };
    mesh::Sticky { key: Some(key) }
}

fn millis(span: Span) -> Millis {
    Millis {
        millis: span.millis(),
    }
}
