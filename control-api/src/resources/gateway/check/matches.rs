//! Mistakes in what a rule asks of requests.

use super::super::{
    grpc_route::GrpcMatchSpec,
    http_route::{FieldSpec, MatchSpec, PathType, TextType},
    problem,
};
use crate::{
    check::Code,
    resources::{at::At, header::is_token, string_match::bad_regex},
    source::decode::Problem,
};

/// Longest path, in bytes: the API's limit.
const MAX_PATH: usize = 1024;

pub(super) fn http(path: &str, one: &At<MatchSpec>, found: &mut Vec<Problem>) {
    if let Some(written) = &one.path
        && let Some(value) = &written.value.value
    {
        let path = format!("{path}.path.value");
        let reason = match written.kind {
            PathType::RegularExpression => regex(value).err(),
            PathType::Exact | PathType::PathPrefix => bad_path(value),
        };
        if let Some(reason) = reason {
            let code = match written.kind {
                PathType::RegularExpression => Code::BadMatcher,
                PathType::Exact | PathType::PathPrefix => Code::BadPath,
            };
            found.push(problem(code, value.at, format!("{path}: {reason}"), ""));
        }
    }
    fields(&format!("{path}.headers"), &one.headers, true, found);
    fields(
        &format!("{path}.queryParams"),
        &one.query_params,
        false,
        found,
    );
}

pub(super) fn is_prefix(one: &MatchSpec) -> bool {
    let path = one.path.as_ref();
    path.is_none_or(|path| path.kind == PathType::PathPrefix)
}

pub(super) fn grpc(path: &str, one: &At<GrpcMatchSpec>, found: &mut Vec<Problem>) {
    if let Some(method) = &one.method {
        let path = format!("{path}.method");
        let given = [("service", &method.service), ("method", &method.method)];
        let named = |text: &Option<At<String>>| text.as_ref().is_some_and(|text| !text.is_empty());
        if !given.iter().any(|(_, text)| named(text)) {
            let reason = format!("{path}: it names neither service nor method");
            found.push(problem(
                Code::Empty,
                method.at,
                reason,
                "name one of them, or take it out",
            ));
        }
        for (name, text) in given {
            let Some(text) = text.as_ref().filter(|text| !text.is_empty()) else {
                continue;
            };
            let is_name =
                |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (name == "service" && b == b'.');
            let reason = match method.kind {
                TextType::RegularExpression => regex(text).err(),
                TextType::Exact => (!text.bytes().all(is_name))
                    .then(|| format!("\"{}\" is no name of gRPC", text.escape_debug())),
            };
            if let Some(reason) = reason {
                found.push(problem(
                    Code::BadMatcher,
                    text.at,
                    format!("{path}.{name}: {reason}"),
                    "",
                ));
            }
        }
    }
    fields(&format!("{path}.headers"), &one.headers, true, found);
}

fn fields(path: &str, fields: &[At<FieldSpec>], are_headers: bool, found: &mut Vec<Problem>) {
    for (i, field) in fields.iter().enumerate() {
        let (name, value) = (&field.name, &field.value.value);
        let pseudo = are_headers && name.starts_with(':');
        if pseudo {
            let reason = format!("{path}[{i}].name: a pseudo-header is not matched here");
            found.push(problem(
                Code::PseudoHeader,
                name.at,
                reason,
                "use `path` or `method` of the match",
            ));
        } else if name.is_empty() || (are_headers && !is_token(name)) {
            let reason = format!("{path}[{i}].name: \"{}\" is no name", name.escape_debug());
            found.push(problem(Code::BadHeaderName, name.at, reason, ""));
        }
        if field.kind == TextType::RegularExpression
            && let Err(reason) = regex(value)
        {
            found.push(problem(
                Code::BadMatcher,
                value.at,
                format!("{path}[{i}].value: {reason}"),
                "",
            ));
        }
    }
}

fn regex(text: &str) -> Result<usize, String> {
    bad_regex(&format!("^(?:{text})$"), text.len())
}

/// Why it is no path that a request can have (the API's rules).
fn bad_path(path: &str) -> Option<String> {
    let shown = path.escape_debug();
    if !path.starts_with('/') {
        return Some(format!("\"{shown}\" does not begin with `/`"));
    }
    if path.len() > MAX_PATH {
        return Some(format!(
            "it has {} bytes; at most {MAX_PATH} are allowed",
            path.len()
        ));
    }
    let lower = path.to_ascii_lowercase();
    let inside = ["//", "/./", "/../", "%2f", "#"];
    if let Some(bad) = inside.into_iter().find(|bad| lower.contains(bad)) {
        return Some(format!("\"{shown}\" has `{bad}` in it"));
    }
    if lower.ends_with("/..") || lower.ends_with("/.") {
        return Some(format!("\"{shown}\" ends with dots"));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%".contains(&b);
    let escaped = path.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    (!path.bytes().all(fits) || !escaped).then(|| format!("\"{shown}\" is no path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_the_api_takes() {
        for (path, good) in [
            ("/", true),
            ("/a/b.c/~d%20e", true),
            ("a", false),
            ("/a//b", false),
            ("/a/../b", false),
            ("/a/..", false),
            ("/a%2Fb", false),
            ("/a%2", false),
            ("/a b", false),
            ("/a?b", false),
            ("/é", false),
        ] {
            assert_eq!(bad_path(path).is_none(), good, "{path}");
        }
    }
}
