//! What both sides of HTTP/2 have in common, over the `h2` library: bodies of streams as they come and
//! as they are sent, streams that become tunnels, and pings that find who is gone.
//!
//! Invariant: what is received is made room for only as it is taken, so that a slow receiver slows its
//! sender and nothing piles up here.

mod keepalive;
mod pipe;
mod received;
mod tunnel;

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};

pub(crate) use self::keepalive::Keepalive;
pub(crate) use self::pipe::{Pipe, Reasoned};
pub(crate) use self::received::{Other, Received, Upload};
pub(crate) use self::tunnel::Tunnel;

/// What a peer may make us reset by malformed frames before its connection is ended (hyper's bound).
pub(crate) const RESETS: usize = 1024;

/// Takes off what has no place in HTTP/2 (RFC 9113 §8.2.2) and a peer would have to refuse: a route
/// may have set it.
pub(crate) fn strip(headers: &mut HeaderMap, request: bool) {
    const OTHERS: [HeaderName; 2] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in &OTHERS {
        headers.remove(name);
    }
    let keeps_te = |te: &http::HeaderValue| request && te == "trailers";
    if headers.get(TE).is_some_and(|te| !keeps_te(te)) {
        headers.remove(TE);
    }
}
