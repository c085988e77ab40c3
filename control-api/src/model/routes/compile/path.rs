//! What becomes of a path: Istio's `uri` stands in the place of what the match named, so it is
//! another rewrite for each match.

use heddle_proto::mesh::{
    PathRewrite,
    path_rewrite::{Kind, PrefixRewrite, RegexRewrite},
};

use crate::resources::{
    string_match::Meaning,
    virtual_service::{HttpMatch, HttpRoute, redirected_uri},
};

/// How the path changes when this match (None: no match is asked for) has chosen the rule.
pub(super) fn rewrite(rule: &HttpRoute, by: Option<&HttpMatch>) -> Option<PathRewrite> {
    if let Some(redirect) = &rule.redirect {
        let (uri, is_prefix) = redirected_uri(redirect.uri.as_ref()?);
        let full = || Kind::Full(uri.to_owned());
        return Some(kind(if is_prefix { named(uri, by) } else { full() }));
    }
    let rewrite = rule.rewrite.as_ref()?;
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        return Some(kind(Kind::Regex(RegexRewrite {
            pattern: regex.pattern.value.clone(),
            substitution: regex.rewrite.value.clone(),
        })));
    }
    rewrite.uri.as_ref().map(|uri| kind(named(uri, by)))
}

/// A match without a path is one for `/`, as in Istio.
fn named(uri: &str, by: Option<&HttpMatch>) -> Kind {
    let matcher = by.and_then(|by| by.uri.as_ref());
    let prefix = match matcher.map(|matcher| matcher.meaning()) {
        Some(Meaning::Exact(_) | Meaning::Regex(_)) => return Kind::Full(uri.to_owned()),
        Some(Meaning::Prefix(prefix)) => prefix,
        Some(Meaning::Present) | None => "/",
    };
    Kind::Prefix(PrefixRewrite {
        prefix: prefix.to_owned(),
        replacement: uri.to_owned(),
        segments: false,
    })
}

fn kind(kind: Kind) -> PathRewrite {
    PathRewrite { kind: Some(kind) }
}
