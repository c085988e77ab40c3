//! Answers of the sidecar's own: redirects and fixed ones.

use bytes::Bytes;
use heddle_proxy_config::snapshot::{DirectResponse, Redirect};
use heddle_proxy_telemetry::ResponseFlag;
use http::header::{HeaderValue, LOCATION};
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
    let location = match redirect.location(request.uri(), head::authority(request)) {
        Ok(location) => location,
        Err(error) => return rewrite::bad(origin, &error.to_string()).into(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plain() -> Redirect {
        Redirect {
            scheme: None,
            authority: None,
            port: None,
            keep_port: false,
            path: None,
            status: StatusCode::FOUND,
        }
    }

    #[test]
    fn a_redirect_says_where_and_how() {
        let request = Request::get("/a?b=c").header("host", "web:8080");
        let request = request.body(()).unwrap();
        let Reply::Own(answer) = super::redirect(&plain(), &request, "a route") else {
            panic!("no redirect");
        };
        assert_eq!(answer.status(), 302);
        assert_eq!(answer.headers()["location"], "http://web:8080/a?b=c");
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
