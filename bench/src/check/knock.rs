//! One request that needs no client: its bytes, and whether what comes back is success. A server may
//! refuse in its protocol's own words as well as by closing; either is a refusal.

use std::io::{ErrorKind, Read};

use crate::cases::Traffic;

/// Of what a server says before it answers.
const MOST: usize = 4096;

/// A request without a body, as bytes.
pub(crate) fn request(traffic: Traffic) -> Vec<u8> {
    match traffic {
        Traffic::Http2 | Traffic::Grpc => {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            // SETTINGS, none.
            bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
            // GET, http, /, and an authority: RFC 7541, appendix A and 6.2.1.
            let authority = b"reviews:9080";
            let mut block = vec![0x82, 0x86, 0x84, 0x41, authority.len() as u8];
            block.extend(authority);
            // HEADERS of stream 1 that end headers and stream.
            bytes.extend([0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
            bytes.extend(block);
            bytes
        }
        _ => b"GET / HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\n\r\n".to_vec(),
    }
}

/// Whether the answer is 200: read until its status is known.
pub(crate) fn succeeds(traffic: Traffic, from: &mut impl Read) -> bool {
    let mut said = Vec::new();
    let mut some = [0; 512];
    while said.len() < MOST {
        match from.read(&mut some) {
            Ok(0) => break,
            Ok(length) => said.extend_from_slice(&some[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Refused, or silent.
            Err(_) => break,
        }
        if let Some(status) = status_200(traffic, &said) {
            return status;
        }
    }
    false
}

/// Whether what was said so far begins an answer of 200; none when that is not known yet.
fn status_200(traffic: Traffic, said: &[u8]) -> Option<bool> {
    const LINE: &[u8] = b"HTTP/1.1 200";
    match traffic {
        Traffic::Http2 | Traffic::Grpc => {
            let mut rest = said;
            loop {
                let (head, after) = rest.split_at_checked(9)?;
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8;
                let (payload, after) = after.split_at_checked(length | usize::from(head[2]))?;
                if head[3] == 1 {
                    // Updates of the table's size may come first; then `:status: 200`, indexed.
                    let first = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                    return Some(first == Some(&0x88));
                }
                rest = after;
            }
        }
        _ => said.get(..LINE.len()).map(|line| line == LINE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    #[test]
    fn only_200_is_an_answer() {
        let http1 = |said: &[u8]| succeeds(Traffic::Http1, &mut &*said);
        assert!(http1(b"HTTP/1.1 200 OK\r\n"));
        assert!(!http1(b"HTTP/1.1 400 Bad Request\r\n"));
        assert!(!http1(b"\x15\x03\x03") && !http1(b""));
        let http2 = |status: u8| {
            let said = [&SETTINGS[..], &[0, 0, 2, 1, 4, 0, 0, 0, 1, 0x20, status]].concat();
            succeeds(Traffic::Http2, &mut &*said)
        };
        // 200 and 400 of the static table.
        assert!(http2(0x88) && !http2(0x8c));
        assert!(!succeeds(Traffic::Grpc, &mut &SETTINGS[..]));
    }

    #[test]
    fn an_answer_may_come_in_pieces() {
        let said = [&SETTINGS[..], &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88]].concat();
        for length in 0..said.len() {
            assert_eq!(status_200(Traffic::Http2, &said[..length]), None);
        }
        assert_eq!(status_200(Traffic::Http2, &said), Some(true));
    }
}
