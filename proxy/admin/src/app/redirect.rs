//! Whether a redirect stays in the pod, decided as the kubelet decides it: by the host it names. Pure.

use std::net::IpAddr;

use http::header::LOCATION;
use http::uri::{PathAndQuery, Uri};
use http::{Response, StatusCode};

use super::http1::Target;

/// What to do about an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// It is the answer.
    Stay,
    /// Ask there; whether the redirect named the host.
    Follow { target: Target, named: bool },
    /// It leads elsewhere.
    Leave(String),
    /// It cannot be read.
    Broken(String),
}

pub(super) fn next<B>(
    response: &Response<B>,
    address: IpAddr,
    host: Option<&str>,
    from: &Target,
) -> Next {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let Some(location) = response
        .headers()
        .get(LOCATION)
        .filter(|_| redirects.contains(&response.status()))
    else {
        return Next::Stay;
    };
    let text = String::from_utf8_lossy(location.as_bytes()).into_owned();
    let without_fragment = text.split('#').next().unwrap_or_default();
    match whither(without_fragment, from) {
        None => Next::Broken(text),
        Some((named, target)) => match named {
            None => Next::Follow {
                target,
                named: false,
            },
            Some(name) if is_here(&name, address, host) => Next::Follow {
                target,
                named: true,
            },
            Some(_) => Next::Leave(text),
        },
    }
}

/// The host it names, if it does, and where it leads.
fn whither(location: &str, from: &Target) -> Option<(Option<String>, Target)> {
    // `//host/path` takes the scheme of the request.
    let absolute = match location.strip_prefix("//") {
        Some(rest) => format!("{}://{rest}", if from.tls { "https" } else { "http" }),
        None => location.to_owned(),
    };
    let scheme = absolute.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_none_or(|scheme| !scheme.bytes().all(|b| b.is_ascii_alphanumeric())) {
        let path = relative(&absolute, from.path.path())?;
        return Some((
            None,
            Target {
                path,
                ..from.clone()
            },
        ));
    }
    let uri: Uri = absolute.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?.as_str();
    let host_and_port = authority.rsplit('@').next()?;
    let port = match host_and_port.strip_prefix(uri.host()?)? {
        "" | ":" => {
            if tls {
                443
            } else {
                80
            }
        }
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let host = uri
        .host()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Some((Some(host), Target { tls, port, path }))
}

fn relative(location: &str, base: &str) -> Option<PathAndQuery> {
    let path = if location.starts_with('/') {
        location.to_owned()
    } else if location.is_empty() || location.starts_with('?') {
        format!("{base}{location}")
    } else {
        let folder = base.rfind('/').map_or("/", |end| &base[..=end]);
        format!("{folder}{location}")
    };
    path.try_into().ok()
}

fn is_here(name: &str, address: IpAddr, host: Option<&str>) -> bool {
    match host {
        Some(host) => name.eq_ignore_ascii_case(host),
        None => name.parse() == Ok(address),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn target(tls: bool, port: u16, path: &str) -> Target {
        Target {
            tls,
            port,
            path: path.parse().unwrap(),
        }
    }

    fn after(location: &str, host: Option<&str>) -> Next {
        let response = Response::builder()
            .status(302)
            .header(LOCATION, location)
            .body(())
            .unwrap();
        next(
            &response,
            "10.0.0.5".parse().unwrap(),
            host,
            &target(false, 8080, "/a/b?c"),
        )
    }

    #[test]
    fn what_stays_in_the_pod_is_followed() {
        for (location, expected, named) in [
            ("/x?y#z", target(false, 8080, "/x?y"), false),
            ("x", target(false, 8080, "/a/x"), false),
            ("?d", target(false, 8080, "/a/b?d"), false),
            (
                "/x?to=http://y",
                target(false, 8080, "/x?to=http://y"),
                false,
            ),
            ("http://10.0.0.5/x", target(false, 80, "/x"), true),
            ("https://10.0.0.5:8443", target(true, 8443, "/"), true),
            ("//10.0.0.5:81/x", target(false, 81, "/x"), true),
        ] {
            assert_eq!(
                after(location, None),
                Next::Follow {
                    target: expected,
                    named
                },
                "{location}"
            );
        }
    }

    #[test]
    fn what_leads_elsewhere_is_not() {
        for location in [
            "http://10.0.0.6:8080/x",
            "https://login.example/",
            "//169.254.169.254/latest",
        ] {
            assert_eq!(after(location, None), Next::Leave(location.into()));
        }
        assert_eq!(
            after("http://10.0.0.5:8080/", Some("web.test")),
            Next::Leave("http://10.0.0.5:8080/".into())
        );
        assert!(matches!(
            after("http://WEB.test:8080/", Some("web.test")),
            Next::Follow { .. }
        ));
    }

    #[test]
    fn what_cannot_be_read_fails() {
        for location in ["ftp://10.0.0.5/", "http://[::1", "http://10.0.0.5:99999/"] {
            assert_eq!(after(location, None), Next::Broken(location.into()));
        }
    }

    #[test]
    fn other_answers_are_answers() {
        let here = || target(false, 1, "/");
        let not_modified = Response::builder()
            .status(304)
            .header(LOCATION, "/x")
            .body(())
            .unwrap();
        assert_eq!(
            next(&not_modified, "10.0.0.5".parse().unwrap(), None, &here()),
            Next::Stay
        );
        let nowhere = Response::builder().status(302).body(()).unwrap();
        assert_eq!(
            next(&nowhere, "10.0.0.5".parse().unwrap(), None, &here()),
            Next::Stay
        );
    }
}
