//! gRPC's framing of messages (a flag and a length before each), and how an echo that goes away says
//! so.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The one method there is: a stream of messages, each sent back.
pub const METHOD: &str = "/heddle.test.Echo/Chat";
/// gRPC's UNAVAILABLE.
pub const UNAVAILABLE: &str = "14";
/// The message of the status with which a server that ends moves its clients elsewhere.
pub const MOVING: &str = "moving";
/// Larger than any message here: more is a broken stream, not a reason to wait.
const LARGEST: usize = 1 << 20;

/// Writes a message.
pub fn message(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + payload.len());
    out.put_u8(0);
    out.put_u32(payload.len() as u32);
    out.put_slice(payload);
    out.freeze()
}

/// Takes the next whole message from what has come, if there is one.
///
/// # Errors
/// When it is compressed, or far too large.
pub fn take(come: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some((&flag, rest)) = come.split_first() else {
        return Ok(None);
    };
    let Some(length) = rest.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if flag != 0 || length > LARGEST {
        return Err(format!("a message with flag {flag} and length {length}"));
    }
    if come.len() < 5 + length {
        return Ok(None);
    }
    come.advance(5);
    Ok(Some(come.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written_however_they_are_cut() {
        let (mut come, mut messages) = (BytesMut::new(), Vec::new());
        for byte in [message(b"one"), message(b""), message(b"three")].concat() {
            come.put_u8(byte);
            messages.extend(take(&mut come).unwrap());
        }
        assert_eq!(messages, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn a_compressed_message_is_refused() {
        assert!(take(&mut BytesMut::from(&[1, 0, 0, 0, 1, 0][..])).is_err());
    }
}
