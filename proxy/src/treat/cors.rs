//! The CORS protocol of the Fetch standard, as Envoy answers it: a preflight of an origin that may is
//! answered here, and what such an origin really asks for is marked on its way back.

use bytes::Bytes;
use heddle_proxy_config::snapshot::{Cors, CorsMeaning};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use http::{Request, Response};

/// What a request is, to CORS.
pub(super) enum Look {
    /// Nothing of CORS' business, or of an origin that may not: browsers will keep its answer.
    Own,
    /// Its answer is to have these.
    Allowed(Vec<(HeaderName, HeaderValue)>),
    /// A question that is answered here.
    Preflight(Response<Bytes>),
}

pub(super) fn look<B>(cors: &Cors, request: &Request<B>) -> Look {
    let headers = request.headers();
    let meaning = cors.meaning(request.method(), headers);
    let (Some(origin), preflight) = (match meaning {
        CorsMeaning::Own => (None, false),
        CorsMeaning::Preflight { allowed: false } => return Look::Preflight(Response::default()),
        CorsMeaning::Preflight { allowed: true } => (headers.get(ORIGIN), true),
        CorsMeaning::Allowed => (headers.get(ORIGIN), false),
    }) else {
        return Look::Own;
    };
    let mut allowed = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())];
    if cors.allow_credentials {
        let yes = HeaderValue::from_static("true");
        allowed.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
    }
    let say = |list: &mut Vec<_>, name: HeaderName, value: &Option<HeaderValue>| {
        list.extend(value.clone().map(|value| (name, value)));
    };
    if !preflight {
        say(
            &mut allowed,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            &cors.expose_headers,
        );
        return Look::Allowed(allowed);
    }
    // With credentials a browser takes `*` for a name, so what it asks for is said instead.
    let named = |list: &Option<HeaderValue>, asked: HeaderName| match list {
        Some(list) if cors.allow_credentials && has_any(list) => headers.get(asked).cloned(),
        list => list.clone(),
    };
    let methods = named(&cors.allow_methods, ACCESS_CONTROL_REQUEST_METHOD);
    let names = named(&cors.allow_headers, ACCESS_CONTROL_REQUEST_HEADERS);
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, &methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, &names),
        (ACCESS_CONTROL_MAX_AGE, &cors.max_age),
    ] {
        say(&mut allowed, name, value);
    }
    let mut answer = Response::default();
    mark(answer.headers_mut(), allowed);
    Look::Preflight(answer)
}

fn has_any(list: &HeaderValue) -> bool {
    let mut items = list.as_bytes().split(|b| *b == b',');
    items.any(|item| item.trim_ascii() == b"*")
}

/// Marks an answer, in place of what the application said of it.
pub(super) fn mark(headers: &mut HeaderMap, allowed: Vec<(HeaderName, HeaderValue)>) {
    if allowed.is_empty() {
        return;
    }
    for (name, value) in allowed {
        headers.insert(name, value);
    }
    // Caches must not give one origin's answer to another.
    headers.append(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use heddle_proxy_config::route::StringMatch;
    use http::Method;

    use super::*;

    fn policy(forward_unmatched_preflights: bool) -> Cors {
        let list = |text| Some(HeaderValue::from_static(text));
        Cors {
            allow_origins: vec![
                StringMatch::exact("https://a.example"),
                StringMatch::regex(r"https://.*\.b\.example").unwrap(),
            ],
            allow_methods: list("GET, POST"),
            allow_headers: list("x-a"),
            expose_headers: list("x-b"),
            max_age: list("60"),
            allow_credentials: true,
            forward_unmatched_preflights,
        }
    }

    fn asked(method: Method, origin: &str) -> Request<()> {
        let request = Request::builder().method(method).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        request.body(()).unwrap()
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        let request = asked(Method::OPTIONS, "https://x.b.example");
        let Look::Preflight(answer) = look(&policy(true), &request) else {
            panic!("not answered");
        };
        let headers = answer.headers();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://x.b.example"
        );
        assert_eq!(headers["access-control-allow-methods"], "GET, POST");
        assert_eq!(headers["access-control-allow-headers"], "x-a");
        assert_eq!(headers["access-control-max-age"], "60");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["vary"], "origin");
        assert!(!headers.contains_key("access-control-expose-headers"));
    }

    #[test]
    fn any_method_and_header_is_named_where_there_are_credentials() {
        let mut any = policy(true);
        any.allow_methods = Some(HeaderValue::from_static("GET, *"));
        any.allow_headers = Some(HeaderValue::from_static("*"));
        let mut request = asked(Method::OPTIONS, "https://a.example");
        let names = HeaderValue::from_static("x-a, x-b");
        let asked_for = "access-control-request-headers";
        request.headers_mut().insert(asked_for, names);
        let allowed = |cors: &Cors| match look(cors, &request) {
            Look::Preflight(answer) => {
                let text = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
                let names = [
                    "access-control-allow-methods",
                    "access-control-allow-headers",
                ];
                names.map(text)
            }
            _ => panic!("not answered"),
        };
        assert_eq!(allowed(&any), ["POST", "x-a, x-b"]);
        any.allow_credentials = false;
        assert_eq!(allowed(&any), ["GET, *", "*"]);
    }

    #[test]
    fn another_origin_s_preflight_goes_on_or_learns_nothing() {
        let request = asked(Method::OPTIONS, "https://evil.example");
        assert!(matches!(look(&policy(true), &request), Look::Own));
        let Look::Preflight(answer) = look(&policy(false), &request) else {
            panic!("not answered");
        };
        assert!(answer.headers().is_empty());
    }

    #[test]
    fn real_requests_are_marked_for_those_who_may_only() {
        let Look::Allowed(marks) = look(&policy(true), &asked(Method::POST, "https://a.example"))
        else {
            panic!("not allowed");
        };
        let mut headers = HeaderMap::new();
        headers.insert("access-control-allow-origin", "*".parse().unwrap());
        mark(&mut headers, marks);
        assert_eq!(headers["access-control-allow-origin"], "https://a.example");
        assert_eq!(headers["access-control-expose-headers"], "x-b");
        let other = asked(Method::POST, "https://a.example.evil");
        assert!(matches!(look(&policy(true), &other), Look::Own));
        assert!(matches!(look(&policy(true), &Request::new(())), Look::Own));
    }
}
