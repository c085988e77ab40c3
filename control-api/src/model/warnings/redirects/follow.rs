//! What a client asks for when it follows a redirect.

use heddle_proto::mesh::{Redirect, path_rewrite::Kind};

use crate::{check::rules::Asked, name::NsName};

/// A request, and the rule that takes it.
pub(super) struct Step {
    pub(super) service: NsName,
    pub(super) asked: Asked,
    /// The rule's place in the table.
    pub(super) place: usize,
}

/// None: it leads out of what can be seen, or nobody can tell where.
pub(super) fn follow(asked: &Asked, to: &Redirect) -> Option<Asked> {
    if !matches!(to.scheme.as_str(), "" | "http") {
        return None;
    }
    let port_of = |authority: &str| {
        let (_, port) = authority.rsplit_once(':')?;
        port.parse::<u16>().ok()
    };
    let came = port_of(&asked.authority).filter(|_| to.scheme.is_empty());
    let (host, port) = match to.authority.as_str() {
        "" => (asked.host(), came),
        named => {
            let own = port_of(named);
            let host = own.map_or(named, |_| named.rsplit_once(':').map_or(named, |(h, _)| h));
            (host, own.or(came.filter(|_| to.keep_port)))
        }
    };
    let named = u16::try_from(to.port).ok().filter(|port| *port > 0);
    let port = named.or(port).unwrap_or(80);
    let path = match to.path.as_ref().and_then(|path| path.kind.as_ref()) {
        None => asked.path.clone(),
        Some(Kind::Full(path)) => rooted(path),
        Some(Kind::Prefix(by)) => {
            let prefix = match by.segments {
                true => by.prefix.trim_end_matches('/'),
                false => &by.prefix,
            };
            match below(&asked.path, prefix, by.segments) {
                Some(rest) => rooted(&joined(&by.replacement, rest, by.segments)),
                None => asked.path.clone(),
            }
        }
        Some(Kind::Regex(_)) => return None,
    };
    let is_repeated = matches!(to.status, 307 | 308) || asked.method == "HEAD";
    let mut next = asked.clone();
    if !is_repeated {
        next.method = "GET".to_owned();
    }
    next.authority = match port {
        80 => host.to_owned(),
        port => format!("{host}:{port}"),
    };
    (next.port, next.path) = (port, path);
    next.is_plain().then_some(next)
}

fn below<'a>(path: &'a str, prefix: &str, segments: bool) -> Option<&'a str> {
    let (start, rest) = path.split_at_checked(prefix.len())?;
    let whole = !segments || rest.is_empty() || rest.starts_with('/');
    (start.eq_ignore_ascii_case(prefix) && whole).then_some(rest)
}

fn joined(replacement: &str, rest: &str, segments: bool) -> String {
    let shorter = replacement
        .strip_suffix('/')
        .filter(|_| segments || rest.starts_with('/'));
    format!("{}{rest}", shorter.unwrap_or(replacement))
}

fn rooted(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}
