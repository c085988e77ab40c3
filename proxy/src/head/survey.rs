//! What a hop must know of a head's fields, from one pass over them: most heads have nothing that
//! must be looked up or taken off.

use http::HeaderMap;

use super::HeadError;

/// What one pass has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// The call, or the answer, is gRPC.
    pub(crate) grpc: bool,
    /// There is a `grpc-status`, which says how the call went without a body.
    pub(crate) grpc_status: bool,
    /// There is a `grpc-timeout`.
    pub(crate) grpc_timeout: bool,
    /// Fields that may belong to the connection only.
    pub(super) hop_by_hop: bool,
    pub(super) upgrade: bool,
    pub(super) hosts: u32,
    /// A Host that is none.
    pub(super) strange_host: bool,
    /// A name that some applications take for `x-forwarded-client-cert`.
    pub(super) disguised: bool,
    codings: u32,
    strange_coding: bool,
}

impl Survey {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "connection"
                | "keep-alive"
                | "proxy-connection"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "te" => seen.hop_by_hop = true,
                "upgrade" => {
                    seen.hop_by_hop = true;
                    seen.upgrade = true;
                }
                "transfer-encoding" => {
                    seen.hop_by_hop = true;
                    seen.codings += 1;
                    seen.strange_coding |= !value.as_bytes().eq_ignore_ascii_case(b"chunked");
                }
                "host" => {
                    seen.hosts += 1;
                    seen.strange_host |= !is_host(value.as_bytes());
                }
                "content-type" => seen.grpc |= value.as_bytes().starts_with(b"application/grpc"),
                "grpc-status" => seen.grpc_status = true,
                "grpc-timeout" => seen.grpc_timeout = true,
                other => seen.disguised |= is_disguised(other),
            }
        }
        seen
    }

    /// Refuses codings that the next hop might read differently (RFC 9112 §6.1). What else is
    /// ambiguous about a length, `io::heads` finds, or hyper refuses before it gets here.
    pub(super) fn framing(self) -> Result<(), HeadError> {
        if self.codings > 1 || self.strange_coding {
            return Err(HeadError::TransferEncoding);
        }
        Ok(())
    }
}

/// Whether these are letters that a host and a port are made of (RFC 9110 §7.2). It may be empty; nobody's
/// name and password belong there.
pub(super) fn is_host(text: &[u8]) -> bool {
    text.iter().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':') || other_letter(*byte)
    })
}

fn other_letter(byte: u8) -> bool {
    b"[]_~%!$&'()*+,;=".contains(&byte)
}

/// Applications that are told of fields as CGI tells them cannot keep `_` and `-` apart.
pub(super) fn is_disguised(name: &str) -> bool {
    let own = super::FORWARDED_CLIENT_CERT.as_str();
    name.len() == own.len()
        && name != own
        && name
            .bytes()
            .zip(own.bytes())
            .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn survey(pairs: &[(&'static str, &'static str)]) -> Survey {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        // Appends, as the parser does.
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        Survey::of(&headers)
    }

    #[test]
    fn only_one_chunked_is_a_coding_that_everybody_reads_alike() {
        let framing = |values: &[&'static str]| {
            let pairs: Vec<_> = values.iter().map(|v| ("transfer-encoding", *v)).collect();
            survey(&pairs).framing()
        };
        assert_eq!(framing(&[]), Ok(()));
        assert_eq!(framing(&["Chunked"]), Ok(()));
        for refused in [
            &["gzip, chunked"][..],
            &["chunked", "chunked"],
            &["x"],
            &[""],
        ] {
            assert_eq!(framing(refused), Err(HeadError::TransferEncoding));
        }
    }

    #[test]
    fn an_ordinary_head_has_nothing_to_take_off() {
        let seen = survey(&[("host", "a"), ("accept", "*/*"), ("x-connection", "close")]);
        assert_eq!(
            seen,
            Survey {
                hosts: 1,
                ..Survey::default()
            }
        );
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port() {
        for host in [
            "",
            "a",
            "reviews:9080",
            "10.0.0.1:80",
            "[fd00::1]:80",
            "a_b.c",
            "%61",
        ] {
            assert!(!survey(&[("host", host)]).strange_host, "{host}");
        }
        for strange in ["a b", "a/b", "u@a", "a?b", "a#b", "a\\b", "\"a\"", "a\t"] {
            assert!(survey(&[("host", strange)]).strange_host, "{strange}");
        }
    }

    #[test]
    fn a_name_that_cgi_takes_for_the_identity_s_is_told() {
        for name in ["x_forwarded_client_cert", "x-forwarded-client_cert"] {
            assert!(survey(&[(name, "a")]).disguised, "{name}");
        }
        for name in [
            "x-forwarded-client-cert",
            "x_forwarded_client_cart",
            "x_forwarded_for",
        ] {
            assert!(!survey(&[(name, "a")]).disguised, "{name}");
        }
    }

    #[test]
    fn hosts_are_counted_and_grpc_is_told() {
        let seen = survey(&[
            ("host", "a"),
            ("host", "b"),
            ("content-type", "application/grpc+proto"),
        ]);
        assert_eq!((seen.hosts, seen.grpc), (2, true));
        assert!(survey(&[("grpc-status", "0")]).grpc_status);
        for hop in [
            "connection",
            "keep-alive",
            "te",
            "upgrade",
            "transfer-encoding",
        ] {
            assert!(survey(&[(hop, "x")]).hop_by_hop, "{hop}");
        }
    }
}
