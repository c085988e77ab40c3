//! Answers of the sidecar's own: redirects and fixed ones.

use bytes::Bytes;
use heddle_proxy_config::snapshot::{DirectResponse, Redirect};
use heddle_proxy_telemetry::ResponseFlag;
use http::header::{HeaderValue, LOCATION};
use http::uri::Scheme;
use http::{Request, Response, StatusCode};

use super::{Reply, rewrite};
use crate::head;
use crate::reply::Failure;

/// A fixed answer.
pub(super) fn direct(direct: &DirectResponse) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_owner(std::sync::Arc::clone(&direct.body)));
    *response.status_mut() = direct.status;
    for (name, value) in &direct.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// Where to go instead.
pub(super) fn redirect<B>(redirect: &Redirect, request: &Request<B>, origin: &str) -> Reply {
    let location = match location(redirect, request, origin) {
        Ok(location) => location,
        Err(failure) => return failure.into(),
    };
    let Ok(location) = HeaderValue::try_from(location) else {
        let text = format!("{origin} cannot redirect this request: its host is not valid");
        return Failure::new(ResponseFlag::NoRoute, StatusCode::BAD_REQUEST, text).into();
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = redirect.status;
    response.headers_mut().insert(LOCATION, location);
    Reply::Own(response)
}

fn location<B>(redirect: &Redirect, request: &Request<B>, origin: &str) -> Result<String, Failure> {
    let came_by = request.uri().scheme();
    let scheme = redirect.scheme.as_ref().or(came_by);
    let scheme = scheme.unwrap_or(&Scheme::HTTP);
    let came = head::authority(request);
    let (host, own_port) = match &redirect.authority {
        Some(authority) => (authority.host(), authority.port_u16()),
        None => match came.rsplit_once(':') {
            // The scheme's own, where the scheme is given.
            Some((host, _)) if redirect.scheme.is_some() && !came.ends_with(']') => (host, None),
            Some((host, port)) if !came.ends_with(']') => (host, port.parse().ok()),
            _ => (came, None),
        },
    };
    let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = redirect.port.or(own_port).filter(|port| *port != usual);
    let path = match &redirect.path {
        Some(path) => rewrite::target(path, request.uri(), origin)?,
        None => None,
    };
    let path = path.as_deref();
    let path = path.unwrap_or_else(|| rewrite::path_and_query(request.uri()));
    Ok(match port {
        Some(port) => format!("{scheme}://{host}:{port}{path}"),
        None => format!("{scheme}://{host}{path}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use heddle_proxy_config::route::PathRewrite;

    use super::*;

    fn plain() -> Redirect {
        Redirect {
            scheme: None,
            authority: None,
            port: None,
            path: None,
            status: StatusCode::FOUND,
        }
    }

    fn to(redirect: &Redirect, host: &str, path: &str) -> String {
        let request = Request::get(path).header("host", host).body(()).unwrap();
        let Reply::Own(answer) = super::redirect(redirect, &request, "a route") else {
            panic!("no redirect");
        };
        assert_eq!(answer.status(), 302);
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_not_said_stays_as_it_came() {
        let path = Redirect {
            path: Some(PathRewrite::full("/new").unwrap()),
            ..plain()
        };
        assert_eq!(to(&path, "web:8080", "/a?b=c"), "http://web:8080/new?b=c");
        let scheme = Redirect {
            scheme: Some(Scheme::HTTPS),
            ..plain()
        };
        assert_eq!(to(&scheme, "web:8080", "/a?b"), "https://web/a?b");
        assert_eq!(to(&scheme, "[fd00::1]:80", "/"), "https://[fd00::1]/");
        assert_eq!(to(&scheme, "[fd00::1]", "/"), "https://[fd00::1]/");
        let port = Redirect {
            port: Some(8443),
            ..scheme.clone()
        };
        assert_eq!(to(&port, "web", "/"), "https://web:8443/");
        let usual = Redirect {
            port: Some(443),
            ..scheme
        };
        assert_eq!(to(&usual, "web", "/"), "https://web/");
        let host = Redirect {
            authority: Some("other.example:81".parse().unwrap()),
            ..plain()
        };
        assert_eq!(to(&host, "web:8080", "/x"), "http://other.example:81/x");
    }

    #[test]
    fn a_host_cannot_break_out_of_the_header() {
        let mut request = Request::get("/").body(()).unwrap();
        let host = HeaderValue::from_bytes(b"a\xff").unwrap();
        request.headers_mut().insert("host", host);
        // What is no text counts as no host.
        let Reply::Own(answer) = super::redirect(&plain(), &request, "a route") else {
            panic!("no redirect");
        };
        assert_eq!(answer.headers()["location"], "http:///");
    }
}
