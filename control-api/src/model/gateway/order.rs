//! Which of all matches at a port comes first, as the API says: the host that is named most exactly,
//! then the path (exact, a regex, the longest prefix), a method, the most headers, the most query
//! parameters; for gRPC the longest service, the longest method, the most headers; then the oldest
//! route, the first by `namespace/name`, its first rule and that rule's first match. Where a regex
//! stands the API leaves open. Invariant: it is a total order.

use std::cmp::Reverse;

use crate::{
    name::NsName,
    resources::gateway::{Match, Target},
    source::Object,
};

/// What a match is ordered by; the least comes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    host: (u8, Reverse<usize>),
    target: (u8, Reverse<usize>, Reverse<usize>),
    no_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    created: i64,
    route: &'a NsName,
    rule: usize,
    one: usize,
}

impl<'a> Rank<'a> {
    pub(super) fn new(
        object: &'a Object,
        (rule, one): (usize, usize),
        wanted: &Match,
        host: Option<&str>,
    ) -> Self {
        let (created, route) = object.seniority();
        Self {
            host: match host {
                Some(host) if !host.starts_with('*') => (0, Reverse(host.len())),
                Some(host) => (1, Reverse(host.len())),
                None => (2, Reverse(0)),
            },
            target: target(&wanted.target),
            no_method: wanted.method.is_none(),
            headers: Reverse(wanted.headers.len()),
            query: Reverse(wanted.query.len()),
            created,
            route,
            rule,
            one,
        }
    }
}

fn target(target: &Target) -> (u8, Reverse<usize>, Reverse<usize>) {
    let len = |text: &Option<String>| Reverse(text.as_deref().map_or(0, str::len));
    match target {
        Target::Exact(path) => (0, Reverse(path.len()), Reverse(0)),
        Target::Regex(path) => (1, Reverse(path.len()), Reverse(0)),
        // A slash at its end does not count.
        Target::Prefix(path) => (2, Reverse(path.trim_end_matches('/').len()), Reverse(0)),
        Target::Grpc {
            service,
            method,
            regex,
        } => {
            let kind = match (service, method) {
                (None, None) => 2,
                _ => u8::from(*regex),
            };
            (kind, len(service), len(method))
        }
    }
}
