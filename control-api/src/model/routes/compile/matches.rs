//! What a rule asks of a request.

use std::collections::BTreeMap;

use heddle_proto::mesh::{HttpMatch, NamedMatch, StringMatch, string_match};

use crate::resources::{
    at::At,
    string_match::{Meaning, StringMatch as Matcher},
    virtual_service,
};

pub(in crate::model) fn http_match(one: &virtual_service::HttpMatch) -> HttpMatch {
    let scalar =
        |matcher: &Option<At<Matcher>>| matcher.as_ref().map(|matcher| string_match(matcher));
    HttpMatch {
        path: scalar(&one.uri),
        ignore_path_case: one.ignore_uri_case,
        method: scalar(&one.method),
        authority: scalar(&one.authority),
        headers: named(&one.headers, true),
        without_headers: named(&one.without_headers, true),
        query: named(&one.query_params, false),
        port: one.port.as_ref().map_or(0, |port| port.value.into()),
        scheme: scalar(&one.scheme),
        ..HttpMatch::default()
    }
}

fn named(map: &BTreeMap<String, Option<At<Matcher>>>, lower: bool) -> Vec<NamedMatch> {
    let present = Matcher::default();
    map.iter()
        .map(|(name, matcher)| NamedMatch {
            name: if lower {
                name.to_ascii_lowercase()
            } else {
                name.clone()
            },
            value: Some(string_match(
                matcher.as_ref().map_or(&present, |matcher| &matcher.value),
            )),
        })
        .collect()
}

pub(super) fn string_match(matcher: &Matcher) -> StringMatch {
    let kind = match matcher.meaning() {
        Meaning::Present => string_match::Kind::Present(true),
        Meaning::Exact(text) => string_match::Kind::Exact(text.to_owned()),
        Meaning::Prefix(text) => string_match::Kind::Prefix(text.to_owned()),
        Meaning::Regex(text) => string_match::Kind::Regex(text.to_owned()),
    };
    StringMatch { kind: Some(kind) }
}
