//! Filters of a rule, or of one backend, in their wire form.

use heddle_proto::mesh::{
    self, Header, HeaderChanges, Millis, PathRewrite, StringMatch,
    header_changes::Changes,
    path_rewrite::{Kind, PrefixRewrite},
    string_match,
};

use crate::resources::{
    at::At,
    gateway::{Cors, Filter, HeaderModifier, HeaderValue, PathModifier, Redirect, Target},
};

/// What filters come to, copies aside.
#[derive(Default)]
pub(super) struct Done {
    pub(super) headers: Option<HeaderChanges>,
    pub(super) rewrite: Option<mesh::Rewrite>,
    pub(super) redirect: Option<mesh::Redirect>,
    pub(super) cors: Option<mesh::Cors>,
}

/// `by`: what the match that holds asks for, in whose place a path may be put.
pub(super) fn of_rule(filters: &[At<Filter>], by: &Target) -> Done {
    let mut done = Done::default();
    let mut headers = HeaderChanges::default();
    for filter in filters {
        match &filter.value {
            Filter::RequestHeaders(modifier) => headers.request = changes(modifier),
            Filter::ResponseHeaders(modifier) => headers.response = changes(modifier),
            Filter::Redirect(to) => done.redirect = Some(redirect(to, by)),
            Filter::Rewrite(to) => {
                done.rewrite = Some(mesh::Rewrite {
                    path: to.path.as_ref().and_then(|path| path_rewrite(path, by)),
                    authority: owned(&to.hostname),
                });
            }
            Filter::Cors(policy) => done.cors = Some(cors(policy)),
            Filter::Mirror(_) | Filter::Unsupported(_) => {}
        }
    }
    done.headers = (headers != HeaderChanges::default()).then_some(headers);
    done
}

/// Whether what it does depends on the prefix that matched.
pub(super) fn replaces_prefix(filter: &Filter) -> bool {
    let path = match filter {
        Filter::Redirect(to) => to.path.as_ref(),
        Filter::Rewrite(to) => to.path.as_ref(),
        _ => None,
    };
    path.is_some_and(|path| path.replace_prefix_match.is_some())
}

fn owned(text: &Option<At<String>>) -> String {
    text.as_ref()
        .map(|text| text.value.clone())
        .unwrap_or_default()
}

fn changes(modifier: &HeaderModifier) -> Option<Changes> {
    // Of several of one name the first counts, as the API says.
    let list = |list: &[HeaderValue]| {
        let mut kept: Vec<Header> = Vec::new();
        for header in list {
            let name = header.name.to_ascii_lowercase();
            if kept.iter().all(|known| known.name != name) {
                let value = header.value.value.clone();
                kept.push(Header { name, value });
            }
        }
        kept
    };
    let remove = modifier.remove.iter();
    let changes = Changes {
        set: list(&modifier.set),
        add: list(&modifier.add),
        remove: remove.map(|name| name.to_ascii_lowercase()).collect(),
    };
    (changes != Changes::default()).then_some(changes)
}

fn redirect(to: &Redirect, by: &Target) -> mesh::Redirect {
    mesh::Redirect {
        scheme: owned(&to.scheme),
        authority: owned(&to.hostname),
        port: to.port.as_ref().map_or(0, |port| port.value.into()),
        path: to.path.as_ref().and_then(|path| path_rewrite(path, by)),
        status: to.status_code.as_ref().map_or(302, |code| code.value),
        keep_port: true,
    }
}

fn path_rewrite(to: &PathModifier, by: &Target) -> Option<PathRewrite> {
    let kind = match (&to.replace_full_path, &to.replace_prefix_match, by) {
        (Some(full), _, _) => Kind::Full(full.value.clone()),
        (None, Some(replacement), Target::Prefix(prefix)) => Kind::Prefix(PrefixRewrite {
            prefix: prefix.clone(),
            replacement: replacement.value.clone(),
            segments: true,
        }),
        (None, Some(_), _) | (None, None, _) => return None,
    };
    Some(PathRewrite { kind: Some(kind) })
}

/// Seconds for which a browser remembers, where the filter does not say.
const MAX_AGE: u32 = 5;

fn cors(policy: &Cors) -> mesh::Cors {
    let texts = |list: &[At<String>]| list.iter().map(|text| text.value.clone()).collect();
    let seconds = policy.max_age.as_ref().map_or(MAX_AGE, |age| age.value);
    mesh::Cors {
        allow_origins: policy.allow_origins.iter().map(|o| origin(o)).collect(),
        allow_methods: texts(&policy.allow_methods),
        allow_headers: texts(&policy.allow_headers),
        expose_headers: texts(&policy.expose_headers),
        max_age: Some(Millis {
            millis: u64::from(seconds) * 1000,
        }),
        allow_credentials: policy.allow_credentials == Some(true),
        forward_unmatched_preflights: false,
    }
}

/// `*` is any; in a host it stands for any beginning.
fn origin(text: &str) -> StringMatch {
    let kind = match text.split_once("://*") {
        _ if text == "*" => string_match::Kind::Present(true),
        Some((scheme, rest)) => {
            let (scheme, rest) = (regex::escape(scheme), regex::escape(rest));
            string_match::Kind::Regex(format!("{scheme}://[^/:]+{rest}"))
        }
        None => string_match::Kind::Exact(text.to_owned()),
    };
    StringMatch { kind: Some(kind) }
}
