//! `http[].delegate`: the rules of another VirtualService, one without hosts, in the place of one rule,
//! narrowed by it. Each match of theirs must lie within one of the rule's own; a rule of theirs with one
//! that does not is left out, as Istio documents. What they do not set is taken from the rule.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{HttpMatch, HttpRoute};
use crate::resources::{
    at::At,
    string_match::{Meaning, StringMatch},
};

/// Whose rules stand here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Delegate {
    /// A VirtualService.
    pub name: At<String>,
    /// Its namespace; absent: that of the VirtualService that delegates.
    pub namespace: Option<At<String>>,
}

impl HttpRoute {
    /// A delegate's rule in place of this one; None: it does not lie within this one.
    pub fn narrowed(&self, theirs: &HttpRoute) -> Option<HttpRoute> {
        let mut merged = theirs.clone();
        merged.matches = matches(&self.matches, &theirs.matches)?;
        merged.name = joined(self.name.as_deref(), theirs.name.as_deref());
        macro_rules! inherit {
            ($($field:ident)*) => { $(
                if merged.$field.is_none() {
                    merged.$field = self.$field.clone();
                }
            )* };
        }
        inherit!(timeout retries rewrite fault cors_policy headers);
        if merged.mirror.is_none() && merged.mirrors.is_empty() {
            merged.mirror = self.mirror.clone();
            merged.mirrors = self.mirrors.clone();
            merged.mirror_percentage = self.mirror_percentage;
            merged.mirror_percent = self.mirror_percent;
        }
        Some(merged)
    }
}

fn joined(ours: Option<&str>, theirs: Option<&str>) -> Option<String> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(format!("{ours}-{theirs}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// None: one of theirs lies within none of ours.
fn matches(ours: &[HttpMatch], theirs: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if ours.is_empty() {
        return Some(theirs.to_vec());
    }
    if theirs.is_empty() {
        return Some(ours.to_vec());
    }
    let mut found = Vec::new();
    for one in theirs {
        let before = found.len();
        found.extend(ours.iter().filter_map(|wide| within(wide, one)));
        if found.len() == before {
            return None;
        }
    }
    Some(found)
}

/// `one`, asking besides what only `wide` asks; None: it does not lie within it.
fn within(wide: &HttpMatch, one: &HttpMatch) -> Option<HttpMatch> {
    let both_paths = wide.uri.is_some() && one.uri.is_some();
    if both_paths && wide.ignore_uri_case != one.ignore_uri_case {
        return None;
    }
    Some(HttpMatch {
        name: joined(wide.name.as_deref(), one.name.as_deref()),
        uri: scalar(&wide.uri, &one.uri)?,
        ignore_uri_case: match one.uri {
            Some(_) => one.ignore_uri_case,
            None => wide.ignore_uri_case,
        },
        method: scalar(&wide.method, &one.method)?,
        authority: scalar(&wide.authority, &one.authority)?,
        scheme: scalar(&wide.scheme, &one.scheme)?,
        headers: named(&wide.headers, &one.headers, true, implies)?,
        without_headers: named(&wide.without_headers, &one.without_headers, true, same)?,
        query_params: named(&wide.query_params, &one.query_params, false, implies)?,
        port: equal(wide.port, one.port)?,
        source_labels: labels(&wide.source_labels, &one.source_labels)?,
        source_namespace: equal(wide.source_namespace.clone(), one.source_namespace.clone())?,
        gateways: gateways(&wide.gateways, &one.gateways)?,
        ..one.clone()
    })
}

type Matcher = Option<At<StringMatch>>;

/// The outer None: no request that `one` takes is sure to be one that `wide` takes.
fn scalar(wide: &Matcher, one: &Matcher) -> Option<Matcher> {
    match (wide, one) {
        (Some(wide), Some(one)) if !is_within(wide, one) => None,
        (wide, one) => Some(one.as_ref().or(wide.as_ref()).cloned()),
    }
}

fn is_within(wide: &StringMatch, one: &StringMatch) -> bool {
    match (wide.meaning(), one.meaning()) {
        (Meaning::Present, _) => true,
        (Meaning::Prefix(prefix), Meaning::Exact(text) | Meaning::Prefix(text)) => {
            text.starts_with(prefix)
        }
        (wide, one) => wide == one,
    }
}

fn implies(wide: &Matcher, one: &Matcher) -> bool {
    let any = StringMatch::default();
    let of = |matcher: &Matcher| matcher.as_ref().map_or(any.clone(), |m| m.value.clone());
    is_within(&of(wide), &of(one))
}

fn same(wide: &Matcher, one: &Matcher) -> bool {
    implies(wide, one) && implies(one, wide)
}

fn named(
    wide: &BTreeMap<String, Matcher>,
    one: &BTreeMap<String, Matcher>,
    in_any_case: bool,
    fits: fn(&Matcher, &Matcher) -> bool,
) -> Option<BTreeMap<String, Matcher>> {
    let mut merged = one.clone();
    for (name, matcher) in wide {
        let is_same = |known: &str| match in_any_case {
            true => known.eq_ignore_ascii_case(name),
            false => known == name,
        };
        match one.iter().find(|(known, _)| is_same(known)) {
            Some((_, theirs)) if !fits(matcher, theirs) => return None,
            Some(_) => {}
            None => _ = merged.insert(name.clone(), matcher.clone()),
        }
    }
    Some(merged)
}

fn equal<T: PartialEq>(wide: Option<T>, one: Option<T>) -> Option<Option<T>> {
    match (wide, one) {
        (Some(wide), Some(one)) if wide != one => None,
        (wide, one) => Some(one.or(wide)),
    }
}

fn labels(
    wide: &BTreeMap<String, String>,
    one: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    let mut merged = one.clone();
    for (key, value) in wide {
        if *merged.entry(key.clone()).or_insert_with(|| value.clone()) != *value {
            return None;
        }
    }
    Some(merged)
}

fn gateways(wide: &[String], one: &[String]) -> Option<Vec<String>> {
    match (wide, one) {
        ([], one) => Some(one.to_vec()),
        (wide, []) => Some(wide.to_vec()),
        (wide, one) => one
            .iter()
            .all(|gateway| wide.contains(gateway))
            .then(|| one.to_vec()),
    }
}
