//! What keeps a request with one endpoint, taken from the request: a header, a cookie (made and set
//! when the client has none yet), the caller's address, a parameter of the query.

pub mod hash;

use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Request};
use rand::Rng;

use self::hash::{hash, mix};
use crate::snapshot::{Cookie, HashKey};

/// The key of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The same in every sidecar and version.
    pub hash: u64,
    /// For a client that has no such cookie yet.
    pub set_cookie: Option<HeaderValue>,
}

impl From<u64> for Key {
    fn from(hash: u64) -> Self {
        Self {
            hash,
            set_cookie: None,
        }
    }
}

/// The key that a request shows; `None`: it shows none.
pub fn of<B>(by: &HashKey, request: &Request<B>, caller: IpAddr) -> Option<Key> {
    match by {
        HashKey::Header(name) => of_values(request.headers().get_all(name)).map(Key::from),
        HashKey::Cookie(cookie) => of_cookie(cookie, request.headers()),
        HashKey::SourceIp => Some(of_address(caller).into()),
        HashKey::QueryParameter(name) => {
            let query = request.uri().query()?;
            let value = query
                .split('&')
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .find_map(|(key, value)| (key == &**name).then_some(value))?;
            Some(hash(value.as_bytes()).into())
        }
    }
}

/// The key of a connection, of which only the caller is known.
pub fn of_connection(by: &HashKey, caller: IpAddr) -> Option<u64> {
    matches!(by, HashKey::SourceIp).then(|| of_address(caller))
}

fn of_address(caller: IpAddr) -> u64 {
    match caller.to_canonical() {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()),
    }
}

/// All of a header's values, in their order.
fn of_values<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Option<u64> {
    values
        .into_iter()
        .map(|value| hash(value.as_bytes()))
        .reduce(|all, next| mix(all ^ next.rotate_left(1)))
}

fn of_cookie(cookie: &Cookie, headers: &HeaderMap) -> Option<Key> {
    let shown = headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(cookie.name.as_bytes())?;
            value.strip_prefix(b"=")
        });
    if let Some(value) = shown {
        return Some(hash(unquoted(value)).into());
    }
    let ttl = cookie.ttl?;
    let value = format!("{:016x}", rand::rng().next_u64());
    let mut text = format!("{}={value}", cookie.name);
    if !ttl.is_zero() {
        text += &format!("; Max-Age={}", ttl.as_secs().max(1));
    }
    if !cookie.path.is_empty() {
        text += &format!("; Path={}", cookie.path);
    }
    text += "; HttpOnly";
    Some(Key {
        hash: hash(value.as_bytes()),
        // Name and path are visible ASCII: the configuration is refused otherwise.
        set_cookie: HeaderValue::try_from(text).ok(),
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use http::HeaderName;

    use super::*;

    const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let builder = Request::get(uri);
        let builder = headers.iter().fold(builder, |b, (k, v)| b.header(*k, *v));
        builder.body(()).unwrap()
    }

    #[test]
    fn a_header_is_its_values() {
        let by = HashKey::Header(HeaderName::from_static("x-user"));
        let key = |headers: &[_]| of(&by, &request("/", headers), CALLER);
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[("x-user", "a")]), Some(hash(b"a").into()));
        let (two, swapped) = (
            key(&[("x-user", "a"), ("x-user", "b")]),
            key(&[("x-user", "b"), ("x-user", "a")]),
        );
        assert!(two.is_some() && two != swapped && two != key(&[("x-user", "a")]));
    }

    #[test]
    fn a_query_parameter_is_its_value() {
        let by = HashKey::QueryParameter("user".into());
        let key = |uri| of(&by, &request(uri, &[]), CALLER);
        assert_eq!(key("/a?x=1&user=anna&user=b"), Some(hash(b"anna").into()));
        assert_eq!(key("/a?user"), Some(hash(b"").into()));
        assert_eq!(key("/a?username=anna"), None);
        assert_eq!(key("/a"), None);
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let key = |ip: &str| of_connection(&HashKey::SourceIp, ip.parse().unwrap());
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        let by = HashKey::QueryParameter("user".into());
        assert_eq!(of_connection(&by, CALLER), None);
    }

    fn cookie(ttl: Option<u64>) -> HashKey {
        HashKey::Cookie(Cookie {
            name: "seat".into(),
            path: "/shop".into(),
            ttl: ttl.map(Duration::from_secs),
        })
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let key = |text| of(&cookie(None), &request("/", &[("cookie", text)]), CALLER);
        assert_eq!(key("a=1; seat=7f; b=2"), Some(hash(b"7f").into()));
        assert_eq!(key("a=1;seat=\"7f\""), Some(hash(b"7f").into()));
        assert_eq!(key("seats=7f; other-seat=1"), None);
    }

    #[test]
    fn a_cookie_that_is_set_leads_back_to_the_same_key() {
        assert_eq!(of(&cookie(None), &request("/", &[]), CALLER), None);
        let made = of(&cookie(Some(60)), &request("/", &[]), CALLER).unwrap();
        let set = made.set_cookie.clone().unwrap();
        let (pair, rest) = set.to_str().unwrap().split_once("; ").unwrap();
        assert_eq!(rest, "Max-Age=60; Path=/shop; HttpOnly");
        let again = of(
            &cookie(Some(60)),
            &request("/", &[("cookie", pair)]),
            CALLER,
        );
        assert_eq!(again, Some(made.hash.into()));
        let session = of(&cookie(Some(0)), &request("/", &[]), CALLER).unwrap();
        assert!(
            !session
                .set_cookie
                .unwrap()
                .to_str()
                .unwrap()
                .contains("Max-Age")
        );
    }
}
