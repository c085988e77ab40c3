//! As much of WebSocket (RFC 6455) as an echo and its client need: one handshake, whole messages of
//! less than 126 bytes, close frames. Anything else ends the connection by name, it is never guessed.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The key of RFC 6455 §1.3, which every client here sends …
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// … and what the same section says must be answered to it.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// "Going away": the server moves its clients elsewhere (RFC 6455 §7.4.1).
pub const GOING_AWAY: u16 = 1001;
/// The purpose is fulfilled.
pub const NORMAL: u16 = 1000;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Longer payloads have their length elsewhere.
const LONGEST: usize = 125;
/// Any mask will do against nobody.
const MASK: [u8; 4] = *b"mask";

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Bytes),
    /// The other side ends the conversation, with this code (0: it gave none).
    Close(u16),
}

/// The bytes are not what is spoken here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a frame that is not expected here: first bytes {0:#04x} {1:#04x}")]
pub struct Unexpected(u8, u8);

/// Writes a message. Clients mask theirs.
pub fn message(payload: &[u8], masked: bool) -> Bytes {
    frame(BINARY, payload, masked)
}

/// Writes a close.
pub fn close(code: u16, masked: bool) -> Bytes {
    frame(CLOSE, &code.to_be_bytes(), masked)
}

fn frame(kind: u8, payload: &[u8], masked: bool) -> Bytes {
    debug_assert!(payload.len() <= LONGEST);
    let mut out = BytesMut::with_capacity(6 + payload.len());
    out.put_u8(FINAL | kind);
    let length = payload.len() as u8;
    if masked {
        out.put_u8(MASKED | length);
        out.put_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    } else {
        out.put_u8(length);
        out.put_slice(payload);
    }
    out.freeze()
}

/// Takes the next whole frame from what has come, if there is one.
///
/// # Errors
/// When it is another kind of frame than these.
pub fn take(come: &mut BytesMut) -> Result<Option<Frame>, Unexpected> {
    let [first, second, ..] = come[..] else {
        return Ok(None);
    };
    let length = usize::from(second & !MASKED);
    let masked = second & MASKED != 0;
    let kind = first & 0x0f;
    if first & 0xf0 != FINAL || length > LONGEST || !matches!(kind, BINARY | CLOSE) {
        return Err(Unexpected(first, second));
    }
    let head = if masked { 6 } else { 2 };
    if come.len() < head + length {
        return Ok(None);
    }
    let mut payload = come.split_to(head + length);
    payload.advance(2);
    if masked {
        let mask = payload.split_to(4);
        let mask = mask.iter().cycle();
        payload.iter_mut().zip(mask).for_each(|(b, m)| *b ^= m);
    }
    Ok(Some(match kind {
        BINARY => Frame::Message(payload.freeze()),
        _ if payload.len() >= 2 => Frame::Close(payload.get_u16()),
        _ => Frame::Close(0),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_however_they_are_cut() {
        for masked in [false, true] {
            let mut all = BytesMut::new();
            all.extend_from_slice(&message(b"hello", masked));
            all.extend_from_slice(&close(GOING_AWAY, masked));
            let (mut come, mut frames) = (BytesMut::new(), Vec::new());
            for byte in all {
                come.put_u8(byte);
                frames.extend(take(&mut come).unwrap());
            }
            let hello = Frame::Message(Bytes::from_static(b"hello"));
            assert_eq!(frames, [hello, Frame::Close(GOING_AWAY)]);
        }
    }

    /// The example of RFC 6455 §5.7.
    #[test]
    fn a_masked_frame_is_the_rfcs() {
        let bytes = [
            0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        let frame = take(&mut BytesMut::from(&bytes[..])).unwrap();
        assert_eq!(frame, Some(Frame::Message(Bytes::from_static(b"Hello"))));
    }

    #[test]
    fn what_is_not_spoken_is_refused() {
        let mut text = BytesMut::from(&[0x81, 0x01, b'x'][..]);
        assert_eq!(take(&mut text), Err(Unexpected(0x81, 0x01)));
    }
}
