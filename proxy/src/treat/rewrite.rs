//! What a request's path and host become.

use heddle_proxy_config::route::PathRewrite;
use heddle_proxy_config::snapshot::Rewrite;
use heddle_proxy_telemetry::ResponseFlag;
use http::header::{HOST, HeaderValue};
use http::uri::Authority;
use http::{Request, StatusCode, Uri};

use crate::reply::Failure;
use crate::upstream::Version;

/// Rewrites a request; on an error it is answered instead.
pub(super) fn apply<B>(
    rewrite: &Rewrite,
    request: &mut Request<B>,
    version: Version,
    origin: &str,
) -> Result<(), Failure> {
    if let Some(path) = &rewrite.path
        && let Some(path) = target(path, request.uri(), origin)?
    {
        let path = path.try_into().map_err(|_| bad(origin, "is no path"))?;
        replace(request, |parts| parts.path_and_query = Some(path), origin)?;
    }
    if let Some(authority) = &rewrite.authority {
        match version {
            Version::Http1 => set_host(request, authority, origin)?,
            Version::Http2 => {
                let authority = authority.clone();
                replace(request, |parts| parts.authority = Some(authority), origin)?;
            }
        }
    }
    Ok(())
}

/// The new path with the query that came; `None`: it stays.
fn target(rewrite: &PathRewrite, uri: &Uri, origin: &str) -> Result<Option<String>, Failure> {
    let target = rewrite.target(uri);
    target.map_err(|error| bad(origin, &error.to_string()))
}

fn replace<B>(
    request: &mut Request<B>,
    change: impl FnOnce(&mut http::uri::Parts),
    origin: &str,
) -> Result<(), Failure> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    change(&mut parts);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| bad(origin, &error.to_string()))?;
    Ok(())
}

fn set_host<B>(
    request: &mut Request<B>,
    authority: &Authority,
    origin: &str,
) -> Result<(), Failure> {
    let host = HeaderValue::from_str(authority.as_str());
    let host = host.map_err(|error| bad(origin, &error.to_string()))?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// Adds a word to the host's first label, before its port.
pub(super) fn mark_host<B>(request: &mut Request<B>, suffix: &str) -> Result<(), Failure> {
    let host = crate::head::authority(request);
    let marked = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{name}{suffix}:{port}")
        }
        _ => format!("{host}{suffix}"),
    };
    let authority: Authority = marked
        .parse()
        .map_err(|_| bad("a mirror", "has no valid host"))?;
    if request.uri().authority().is_some() {
        return replace(
            request,
            |parts| parts.authority = Some(authority),
            "a mirror",
        );
    }
    set_host(request, &authority, "a mirror")
}

pub(super) fn bad(origin: &str, why: &str) -> Failure {
    Failure::new(
        ResponseFlag::NoRoute,
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("{origin} cannot rewrite this request: {why}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rewritten(uri: &str, version: Version, rewrite: &Rewrite) -> Request<()> {
        let mut request = Request::get(uri).header("host", "web:80").body(()).unwrap();
        let done = apply(rewrite, &mut request, version, "a route");
        assert!(done.is_ok());
        request
    }

    #[test]
    fn path_and_host_change_in_both_versions_and_the_query_stays() {
        let rewrite = Rewrite {
            path: Some(PathRewrite::prefix("/api", "/v2", false).unwrap()),
            authority: Some("other.example:8080".parse().unwrap()),
        };
        let request = rewritten("/api/x?a=b", Version::Http1, &rewrite);
        assert_eq!(request.uri(), "/v2/x?a=b");
        assert_eq!(request.headers()["host"], "other.example:8080");
        let request = rewritten("http://web/api/x?a=b", Version::Http2, &rewrite);
        assert_eq!(request.uri(), "http://other.example:8080/v2/x?a=b");
    }

    #[test]
    fn mirrors_see_a_host_of_their_own() {
        for (host, marked) in [
            ("web", "web-shadow"),
            ("web:80", "web-shadow:80"),
            ("10.0.0.1:80", "10.0.0.1-shadow:80"),
        ] {
            let mut request = Request::get("/").header("host", host).body(()).unwrap();
            assert!(mark_host(&mut request, "-shadow").is_ok());
            assert_eq!(request.headers()["host"], marked);
        }
        let mut request = Request::get("http://web:80/x").body(()).unwrap();
        assert!(mark_host(&mut request, "-shadow").is_ok());
        assert_eq!(request.uri(), "http://web-shadow:80/x");
    }
}
