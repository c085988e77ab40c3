//! What both sides of HTTP/2 have in common, over the `h2` library: bodies of streams as they come and
//! as they are sent, streams that become tunnels, and pings that find who is gone.
//!
//! Invariant: what is received is made room for only as it is taken, so that a slow receiver slows its
//! sender and nothing piles up here.

mod keepalive;
mod pipe;
mod received;
mod tunnel;

use http::header::{HeaderMap, HeaderName, HeaderValue, TE};

pub(crate) use self::keepalive::Keepalive;
pub(crate) use self::pipe::{Pipe, Reasoned};
pub(crate) use self::received::{Other, Received, Upload};
pub(crate) use self::tunnel::Tunnel;

/// What a peer may make us reset by malformed frames before its connection is ended (hyper's bound).
pub(crate) const RESETS: usize = 1024;

/// Takes off what has no place in HTTP/2 (RFC 9113 §8.2.2) and a peer would have to refuse: a route
/// may have set it. Nearly always a look at the names.
pub(crate) fn strip(headers: &mut HeaderMap, request: bool) {
    let misplaced = |(name, value): (&HeaderName, &HeaderValue)| match name.as_str() {
        "te" => !request || value != "trailers",
        name => HOP.contains(&name),
    };
    if headers.iter().any(misplaced) {
        HOP.iter().for_each(|name| drop(headers.remove(*name)));
        if headers
            .get_all(TE)
            .iter()
            .any(|te| !request || te != "trailers")
        {
            headers.remove(TE);
        }
    }
}

const HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(fields: &[(&'static str, &'static str)], request: bool) -> Vec<String> {
        let fields = fields.iter().map(|(name, value)| {
            let value = HeaderValue::from_static(value);
            (HeaderName::from_static(name), value)
        });
        let mut headers: HeaderMap = fields.collect();
        strip(&mut headers, request);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_goes_no_further() {
        for name in HOP {
            assert_eq!(stripped(&[(name, "x"), ("x-a", "1")], true), ["x-a"]);
            assert_eq!(stripped(&[("x-a", "1"), (name, "x")], false), ["x-a"]);
        }
    }

    #[test]
    fn only_a_request_says_that_it_takes_trailers() {
        assert_eq!(stripped(&[("te", "trailers")], true), ["te"]);
        assert_eq!(stripped(&[("te", "gzip")], true), [""; 0]);
        assert_eq!(stripped(&[("te", "trailers")], false), [""; 0]);
        let both = [("te", "trailers"), ("upgrade", "x")];
        assert_eq!(stripped(&both, true), ["te"]);
    }
}
