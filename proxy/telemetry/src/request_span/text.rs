//! Values as attributes show them. What a peer chooses is clipped, so that a span's size is bounded.

use super::Text;
use http::Method;
use std::time::Duration;

/// Bytes of a path or host that are kept: more than people read, 2 MiB for a full queue.
const MAX_TEXT: usize = 1024;

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// The method, as the conventions want it: `_OTHER` for what nobody registered.
pub(super) fn method_text(method: &Method) -> Text {
    let known = match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    };
    known.into()
}

/// `NAMESPACE/NAME` as people say it: `NAME.NAMESPACE`.
pub(super) fn service_name(service: Text) -> Text {
    match service.as_str().split_once('/') {
        Some((namespace, name)) => format!("{name}.{namespace}").into(),
        None => service,
    }
}

pub(super) fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split() {
        let cases = [
            ("reviews", ("reviews", None)),
            ("reviews:9080", ("reviews", Some(9080))),
            ("10.0.0.1:80", ("10.0.0.1", Some(80))),
            ("[fd00::1]:80", ("[fd00::1]", Some(80))),
            ("[fd00::1]", ("[fd00::1]", None)),
            ("fd00::1", ("fd00::1", None)),
            ("a:b", ("a:b", None)),
            (":", (":", None)),
            ("", ("", None)),
        ];
        for (authority, split) in cases {
            assert_eq!(split_authority(authority), split, "{authority}");
        }
    }

    #[test]
    fn long_text_is_clipped_between_characters() {
        let text = "é".repeat(1000);
        assert_eq!(clip(&text).len(), 1024);
        assert_eq!(clip(&format!("a{text}")).len(), 1023);
        assert_eq!(clip("/short"), "/short");
    }

    #[test]
    fn names_are_as_people_say_them() {
        assert_eq!(
            service_name("default/reviews".into()).as_str(),
            "reviews.default"
        );
        assert_eq!(
            service_name("reviews.default".into()).as_str(),
            "reviews.default"
        );
        assert_eq!(method_text(&Method::GET).as_str(), "GET");
        assert_eq!(
            Method::from_bytes(b"BREW").ok().map(|m| method_text(&m)),
            Some("_OTHER".into())
        );
    }
}
