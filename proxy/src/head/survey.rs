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
                "host" => seen.hosts += 1,
                "content-type" => seen.grpc |= value.as_bytes().starts_with(b"application/grpc"),
                "grpc-status" => seen.grpc_status = true,
                "grpc-timeout" => seen.grpc_timeout = true,
                _ => {}
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
