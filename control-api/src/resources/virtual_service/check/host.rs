//! Whether a text is a host's name, and which name was meant by one that is a URL or has a port.

/// Why it is none; with `wildcard`, `*` and `*.name` are some.
pub(crate) fn bad_host(host: &str, wildcard: bool) -> Option<String> {
    let name = match host.strip_prefix('*') {
        Some("") if wildcard => return None,
        Some(rest) if wildcard && rest.starts_with('.') => &rest[1..],
        _ => host,
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let good = name.len() <= 253 && name.split('.').all(label);
    (!good).then(|| format!("\"{}\" is no host name", host.escape_debug()))
}

/// What to write for a host that is a URL or has a port or a path: its name behind `field` (`host: `), and what
/// `say_port` says of the port. Empty where no name is left.
pub(crate) fn host_meant(host: &str, field: &str, say_port: impl Fn(u16) -> String) -> String {
    let rest = host.split_once("://").map_or(host, |(_, rest)| rest);
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().ok()),
        None => (authority, None),
    };
    if name == host || bad_host(name, true).is_some() {
        return String::new();
    }
    let mut say = format!("write `{field}{name}`");
    if let Some(port) = port {
        say += &format!("; {}", say_port(port));
    }
    if path.len() > 1 {
        say += &format!("; the path is not the host's: `uri: {{prefix: {path}}}` matches it");
    }
    say
}
