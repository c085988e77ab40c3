//! Tells a protocol from a connection's first bytes. Used only where nothing declares it.

use crate::io::Io;
use crate::limits;

/// First bytes of an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most bytes looked at before a connection is called opaque: a long request line.
pub(crate) const LIMIT: usize = 8 * 1024;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniff {
    /// Too few to tell.
    More,
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// A TLS handshake record.
    Tls,
    /// None of these.
    Opaque,
}

/// Reads until the protocol of a connection can be told. The first byte may take as long as it
/// likes (the caller bounds it); the rest of a first line may not.
pub(crate) async fn ahead(io: &mut Io) -> Sniff {
    let begun = !io.ahead().is_empty();
    let mut open = begun || matches!(io.read_ahead(LIMIT).await, Ok(true));
    let told = async {
        loop {
            match sniff(io.ahead()) {
                Sniff::More if open => open = matches!(io.read_ahead(LIMIT).await, Ok(true)),
                Sniff::More => return Sniff::Opaque,
                told => return told,
            }
        }
    };
    tokio::time::timeout(limits::DETECT_REST, told)
        .await
        .unwrap_or(Sniff::Opaque)
}

/// Classifies the first bytes of a connection.
pub(crate) fn sniff(bytes: &[u8]) -> Sniff {
    let shared = bytes.len().min(PREFACE.len());
    if bytes.is_empty() {
        return Sniff::More;
    }
    if bytes[..shared] == PREFACE[..shared] {
        return if shared == PREFACE.len() {
            Sniff::Http2
        } else {
            Sniff::More
        };
    }
    match bytes {
        [0x16] => return Sniff::More,
        [0x16, 0x03, ..] => return Sniff::Tls,
        _ => {}
    }
    request_line(bytes)
}

/// `method SP target SP HTTP/1.x CRLF` (RFC 9112 §3). Other protocols also start with a word and
/// a space (`USER x`, `EHLO x`), so only a whole line tells, but for a well-known method with a
/// path behind it.
fn request_line(bytes: &[u8]) -> Sniff {
    const KNOWN: [&[u8]; 7] = [
        b"GET /",
        b"POST /",
        b"PUT /",
        b"HEAD /",
        b"DELETE /",
        b"PATCH /",
        b"OPTIONS /",
    ];
    if KNOWN.iter().any(|known| bytes.starts_with(known)) {
        return Sniff::Http1;
    }
    let token = bytes
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
        .count();
    if token == bytes.len() {
        return if token <= 64 {
            Sniff::More
        } else {
            Sniff::Opaque
        };
    }
    if token == 0 || bytes[token] != b' ' {
        return Sniff::Opaque;
    }
    match bytes.iter().position(|&b| b == b'\n') {
        None if bytes.len() >= LIMIT => Sniff::Opaque,
        None if bytes.contains(&0) => Sniff::Opaque,
        None => Sniff::More,
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
                Sniff::Http1
            } else {
                Sniff::Opaque
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_protocols_apart() {
        let cases: &[(&[u8], Sniff)] = &[
            (b"", Sniff::More),
            (b"P", Sniff::More),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Sniff::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nS", Sniff::More),
            (b"GET / HTTP/1.1\r\n", Sniff::Http1),
            (b"GET /a", Sniff::Http1),
            (b"GET", Sniff::More),
            (b"PURGE /x HTTP/1.1\r\n", Sniff::Http1),
            (b"GET http://a/ HTTP/1.0\r\n", Sniff::Http1),
            (b"CONNECT a:1 HTTP/1.1\r\n", Sniff::Http1),
            (b"\x16\x03\x01\x02\x00\x01", Sniff::Tls),
            (b"\x16", Sniff::More),
            (b"\x16\x05", Sniff::Opaque),
            (b"EHLO me\r\n", Sniff::Opaque),
            (b"EHLO me", Sniff::More),
            (b"*1\r\n$4\r\nPING\r\n", Sniff::Opaque),
            (b"PING\r\n", Sniff::Opaque),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Sniff::Opaque),
            (b"GET\x00 /", Sniff::Opaque),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                sniff(bytes),
                *expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_long_first_line_is_not_waited_for_without_end() {
        let mut bytes = b"FOO ".to_vec();
        bytes.resize(LIMIT, b'a');
        assert_eq!(sniff(&bytes), Sniff::Opaque);
        assert_eq!(sniff(&[b'A'; 65]), Sniff::Opaque);
    }
}
