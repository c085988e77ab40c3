//! Hygiene of message heads at a hop: what belongs to one connection only is not forwarded
//! (RFC 9110 §7.6.1), one name for the host and one spelling of the path win everywhere, what could
//! be read in two ways is refused, and headers that only the mesh may set are taken off what a peer
//! sent.

mod spare;
mod survey;
mod target;

use std::net::SocketAddr;

use h2::ext::Protocol;
use heddle_proxy_config::route::normal;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri, Version as HttpVersion};

pub(crate) use self::spare::Spare;
pub(crate) use self::survey::Survey;
use crate::io::heads::Fault;
use crate::upstream::Version;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Identity of the verified peer, for the application (Envoy's name and format).
pub(crate) static FORWARDED_CLIENT_CERT: HeaderName =
    HeaderName::from_static("x-forwarded-client-cert");

/// Whether the head asks to change protocols on this connection (RFC 9110 §7.8). An upgrade to HTTP/2
/// or TLS is not one: it would carry requests past what is done to requests, and may be ignored.
pub(crate) fn is_upgrade(headers: &HeaderMap, seen: Survey) -> bool {
    const HIDING: [&[u8]; 3] = [b"h2", b"http/", b"tls/"];
    let hides = |token: &[u8]| {
        HIDING.iter().any(|hiding| {
            let start = token.get(..hiding.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(hiding))
        })
    };
    seen.upgrade
        && !headers
            .get_all(UPGRADE)
            .iter()
            .any(|v| tokens(v).any(hides))
        && headers
            .get_all(CONNECTION)
            .iter()
            .any(|v| tokens(v).any(|t| t.eq_ignore_ascii_case(b"upgrade")))
}

/// Takes off what belongs to the connection it came in on.
pub(crate) fn strip_hop(headers: &mut HeaderMap, seen: Survey, keep_upgrade: bool) {
    if !seen.hop_by_hop {
        return;
    }
    if let Some(connection) = headers.get(CONNECTION) {
        // Nearly always one header that names nothing.
        let plain = [&b"keep-alive"[..], b"close"];
        let plain = plain
            .iter()
            .any(|p| p.eq_ignore_ascii_case(connection.as_bytes()));
        if !plain || headers.get_all(CONNECTION).iter().nth(1).is_some() {
            remove_named(headers, keep_upgrade);
        }
        headers.remove(CONNECTION);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(PROXY_AUTHENTICATE);
    headers.remove(PROXY_AUTHORIZATION);
    if headers.remove(TRANSFER_ENCODING).is_some() {
        // Only an answer still has both; its coding was the one that counted (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    }
    if headers.get(TE).is_some_and(|v| v != "trailers") {
        headers.remove(TE);
    }
    if keep_upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
}

/// Takes off what the Connection headers name.
fn remove_named(headers: &mut HeaderMap, keep_upgrade: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|t| HeaderName::from_bytes(t).ok())
        // Naming the host would remove what routes the request. What TE may say is looked at apart:
        // trailers go on.
        .filter(|name| !(matches!(*name, HOST | TE) || keep_upgrade && *name == UPGRADE))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
}

/// The host that a request is for: that of its target when it has one, else its Host header.
pub(crate) fn authority<B>(request: &Request<B>) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request
            .headers()
            .get(HOST)
            .and_then(|h| h.to_str().ok())
            .unwrap_or(""),
    }
}

/// Why a request's head cannot be forwarded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("it has more than one Host header")]
    TwoHosts,
    #[error("its host {0:?} is not a valid authority")]
    BadHost(String),
    #[error("it names no host")]
    NoHost,
    #[error("its path has a NUL byte")]
    Path,
    #[error("its target {0:?} is neither a path that begins with a slash nor a URL of HTTP")]
    Target(String),
    #[error("its target {0:?} is not the host and port that CONNECT needs")]
    Tunnel(String),
    #[error("its Transfer-Encoding is not just chunked")]
    TransferEncoding,
    #[error("{0}")]
    Ambiguous(Fault),
}

/// Makes the head what the upstream version wants: origin-form with Host for HTTP/1.1, scheme and
/// authority for HTTP/2. Where target and Host disagree, the target wins, here and at every later
/// hop (RFC 9112 §3.2.2). Refuses what the next hop might read differently.
///
/// HTTP/1.0 has clients that name no host: they mean the address that they called.
pub(crate) fn prepare<B>(
    request: &mut Request<B>,
    seen: Survey,
    version: Version,
    called: SocketAddr,
) -> Result<(), HeadError> {
    if let Some(fault) = request.extensions().get::<Fault>() {
        return Err(HeadError::Ambiguous(*fault));
    }
    seen.framing()?;
    if seen.hosts > 1 {
        return Err(HeadError::TwoHosts);
    }
    refuse_strange_host(request, seen)?;
    target::check(request)?;
    if request.method() == Method::CONNECT && !is_extended_connect(request) {
        return prepare_connect(request, version);
    }
    if let Some(path) = request.uri().path_and_query()
        && let Some(path) = normal(path).map_err(|_| HeadError::Path)?
    {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| HeadError::Path)?;
    }
    match version {
        Version::Http1 => {
            if let Some(authority) = request.uri().authority() {
                let host = HeaderValue::from_str(authority.as_str())
                    .map_err(|_| HeadError::BadHost(authority.to_string()))?;
                let path = request.uri().path_and_query().cloned();
                request.headers_mut().insert(HOST, host);
                *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
            } else if seen.hosts == 0 {
                if request.version() > HttpVersion::HTTP_10 {
                    return Err(HeadError::NoHost);
                }
                let host = HeaderValue::try_from(called.to_string())
                    .map_err(|_| HeadError::BadHost(called.to_string()))?;
                request.headers_mut().insert(HOST, host);
            }
            *request.version_mut() = HttpVersion::HTTP_11;
        }
        Version::Http2 => {
            if request.uri().authority().is_none() {
                let host = request.headers().get(HOST).ok_or(HeadError::NoHost)?;
                let authority = Authority::try_from(host.as_bytes()).map_err(|_| {
                    HeadError::BadHost(String::from_utf8_lossy(host.as_bytes()).into())
                })?;
                let mut parts = std::mem::take(request.uri_mut()).into_parts();
                parts.authority = Some(authority);
                parts.scheme = parts.scheme.or(Some(Scheme::HTTP));
                if parts.path_and_query.is_none() {
                    // Which `Uri` shows as a slash.
                    return Err(HeadError::Target(String::new()));
                }
                *request.uri_mut() = Uri::from_parts(parts).map_err(|_| HeadError::NoHost)?;
            }
            request.headers_mut().remove(HOST);
            *request.version_mut() = HttpVersion::HTTP_2;
        }
    }
    Ok(())
}

/// A target's authority has been parsed, but may name a user.
fn refuse_strange_host<B>(request: &Request<B>, seen: Survey) -> Result<(), HeadError> {
    let authority = request.uri().authority().map(Authority::as_str);
    let strange = match authority {
        Some(authority) if !survey::is_host(authority.as_bytes()) => authority.into(),
        _ if seen.strange_host => {
            let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
            String::from_utf8_lossy(host.unwrap_or_default()).into_owned()
        }
        _ => return Ok(()),
    };
    Err(HeadError::BadHost(strange))
}

/// Takes off what a peer may have sent in place of the field that tells the application who it is.
pub(crate) fn strip_disguised(headers: &mut HeaderMap, seen: Survey) {
    if !seen.disguised {
        return;
    }
    let disguised: Vec<HeaderName> = headers
        .keys()
        .filter(|name| survey::is_disguised(name.as_str()))
        .cloned()
        .collect();
    for name in disguised {
        headers.remove(name);
    }
}

/// Another protocol over a stream of HTTP/2 (RFC 8441): it has a path.
fn is_extended_connect<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Protocol>().is_some()
}

/// The target of CONNECT is an authority and nothing else (RFC 9110 §9.3.6).
fn prepare_connect<B>(request: &mut Request<B>, version: Version) -> Result<(), HeadError> {
    let authority = request.uri().authority().ok_or(HeadError::NoHost)?.clone();
    match version {
        Version::Http1 => {
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| HeadError::BadHost(authority.to_string()))?;
            request.headers_mut().insert(HOST, host);
            *request.version_mut() = HttpVersion::HTTP_11;
        }
        Version::Http2 => {
            request.headers_mut().remove(HOST);
            *request.version_mut() = HttpVersion::HTTP_2;
        }
    }
    *request.uri_mut() = authority.into();
    Ok(())
}

/// A copy of a head, to send again.
pub(crate) fn copy<B>(request: &Request<B>, body: B) -> Request<B> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    // The letters of the names, where they are kept.
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// Cleans a response's head on its way downstream.
pub(crate) fn clean_response<B>(response: &mut Response<B>, seen: Survey) {
    let upgraded = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
    strip_hop(response.headers_mut(), seen, upgraded);
}

/// Says that the connection ends with this answer. For HTTP/1.1.
pub(crate) fn close<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CALLED: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    fn prepared(request: &mut Request<()>, version: Version) -> Result<(), HeadError> {
        let seen = Survey::of(request.headers());
        prepare(request, seen, version, CALLED)
    }

    #[test]
    fn only_http_1_0_may_leave_the_host_out() {
        let mut request = Request::get("/").body(()).unwrap();
        assert_eq!(
            prepared(&mut request, Version::Http1),
            Err(HeadError::NoHost)
        );
        *request.version_mut() = HttpVersion::HTTP_10;
        prepared(&mut request, Version::Http1).unwrap();
        assert_eq!(request.headers()["host"], "127.0.0.1:80");
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn what_connection_names_goes_no_further() {
        let mut map = headers(&[
            ("connection", "close, x-secret , host"),
            ("x-secret", "1"),
            ("host", "reviews"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ]);
        let seen = Survey::of(&map);
        strip_hop(&mut map, seen, false);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-kept"]);
    }

    #[test]
    fn an_upgrade_is_kept_when_it_is_one() {
        let mut map = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        let seen = Survey::of(&map);
        assert!(is_upgrade(&map, seen));
        strip_hop(&mut map, seen, true);
        assert_eq!(
            map,
            headers(&[("upgrade", "websocket"), ("connection", "upgrade")])
        );
    }

    #[test]
    fn http_and_tls_are_nothing_to_upgrade_to() {
        for hiding in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0"] {
            let map = headers(&[("connection", "upgrade"), ("upgrade", hiding)]);
            assert!(!is_upgrade(&map, Survey::of(&map)), "{hiding}");
        }
    }

    #[test]
    fn te_trailers_is_grpc_s_and_stays() {
        let mut map = headers(&[("te", "trailers")]);
        let seen = Survey::of(&map);
        strip_hop(&mut map, seen, false);
        assert!(map.contains_key("te"));
    }

    #[test]
    fn the_target_wins_over_host() {
        let mut request = Request::get("http://target/x?y")
            .header("host", "other")
            .body(())
            .unwrap();
        assert_eq!(authority(&request), "target");
        prepared(&mut request, Version::Http1).unwrap();
        assert_eq!(request.uri(), "/x?y");
        assert_eq!(request.headers()["host"], "target");
    }

    #[test]
    fn http2_gets_scheme_and_authority() {
        let mut request = Request::get("/x")
            .header("host", "reviews:9080")
            .body(())
            .unwrap();
        prepared(&mut request, Version::Http2).unwrap();
        assert_eq!(request.uri(), "http://reviews:9080/x");
        assert!(request.headers().get("host").is_none());
    }

    #[test]
    fn connect_names_an_authority_only() {
        let mut request = Request::connect("db:5432")
            .header("host", "x")
            .body(())
            .unwrap();
        prepared(&mut request, Version::Http1).unwrap();
        assert_eq!(
            (request.uri().to_string(), &request.headers()["host"]),
            ("db:5432".into(), &HeaderValue::from_static("db:5432"))
        );
        let mut request = Request::connect("db:5432").body(()).unwrap();
        prepared(&mut request, Version::Http2).unwrap();
        assert_eq!(
            (request.uri().to_string(), request.headers().len()),
            ("db:5432".into(), 0)
        );
    }

    #[test]
    fn the_path_is_normal_in_either_version() {
        for version in [Version::Http1, Version::Http2] {
            let mut request = Request::get("/a/%2e%2e/b?x")
                .header("host", "a")
                .body(())
                .unwrap();
            prepared(&mut request, version).unwrap();
            assert_eq!(request.uri().path_and_query().unwrap(), "/b?x");
        }
    }

    #[test]
    fn two_hosts_are_refused() {
        let mut request = Request::get("/")
            .header("host", "a")
            .header("host", "b")
            .body(())
            .unwrap();
        assert_eq!(
            prepared(&mut request, Version::Http1),
            Err(HeadError::TwoHosts)
        );
    }
}
