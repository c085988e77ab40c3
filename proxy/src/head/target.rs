//! The forms that a request's target may have (RFC 9112 §3.2, RFC 9113 §8.3.1): a path, a URL, `*` for
//! OPTIONS, and for CONNECT a host and its port. What is none of them was meant for somebody who reads
//! it otherwise, and must not be taken for a request for `/`.

use http::{Method, Request};

use super::{HeadError, is_extended_connect};

/// Refuses a target that is none.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), HeadError> {
    let path = request.uri().path_and_query().map(|path| path.as_str());
    match path {
        Some(path) if path.starts_with('/') && *request.method() != Method::CONNECT => {
            check_scheme(request)
        }
        Some("*") if *request.method() == Method::OPTIONS => Ok(()),
        Some(path) if path.starts_with('/') && is_extended_connect(request) => Ok(()),
        None if *request.method() == Method::CONNECT => check_authority(request),
        _ => Err(strange(request)),
    }
}

/// A path without a scheme, or that of HTTP. In HTTP/2 a scheme is more than the form of a target.
fn check_scheme<B>(request: &Request<B>) -> Result<(), HeadError> {
    match request.uri().scheme_str() {
        None | Some("http" | "https") => Ok(()),
        Some(_) if request.version() == http::Version::HTTP_2 => Ok(()),
        Some(_) => Err(strange(request)),
    }
}

/// There is no port that CONNECT could mean if it names none (RFC 9110 §9.3.6).
fn check_authority<B>(request: &Request<B>) -> Result<(), HeadError> {
    match request.uri().port_u16() {
        Some(1..) => Ok(()),
        _ => Err(strange(request)),
    }
}

fn strange<B>(request: &Request<B>) -> HeadError {
    let target = request.uri().to_string();
    match *request.method() {
        Method::CONNECT => HeadError::Tunnel(target),
        _ => HeadError::Target(target),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use h2::ext::Protocol;
    use http::Version;

    use super::*;

    fn checked(method: &str, target: &str) -> Result<(), HeadError> {
        let request = Request::builder().method(method).uri(target).body(());
        check(&request.unwrap())
    }

    #[test]
    fn paths_urls_and_the_star_of_options_are_targets() {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "//a?b"),
            ("GET", "http://a"),
            ("GET", "HTTPS://a:1/b"),
            ("OPTIONS", "/"),
            ("OPTIONS", "*"),
            ("OPTIONS", "http://a"),
            ("CONNECT", "a:1"),
            ("CONNECT", "[::1]:443"),
        ] {
            assert_eq!(checked(method, target), Ok(()), "{method} {target}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for (method, target) in [
            ("GET", "other:80"),
            ("GET", "a"),
            ("GET", "*"),
            ("OPTIONS", "a"),
            ("OPTIONS", "a:1"),
            ("GET", "ftp://a/"),
        ] {
            let refused = Err(HeadError::Target(target.into()));
            assert_eq!(checked(method, target), refused, "{method} {target}");
        }
        for target in ["/", "*", "http://a:1/", "a", "a:0"] {
            let refused = matches!(checked("CONNECT", target), Err(HeadError::Tunnel(_)));
            assert!(refused, "CONNECT {target}");
        }
    }

    #[test]
    fn a_tunnel_for_another_protocol_has_a_path_and_any_scheme() {
        let mut request = Request::connect("http://a/chat").body(()).unwrap();
        let websocket = Protocol::from_static("websocket");
        request.extensions_mut().insert(websocket);
        *request.version_mut() = Version::HTTP_2;
        assert_eq!(check(&request), Ok(()));
        let mut other = Request::get("git://a/b").body(()).unwrap();
        *other.version_mut() = Version::HTTP_2;
        assert_eq!(check(&other), Ok(()));
    }
}
