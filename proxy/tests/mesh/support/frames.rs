//! HTTP/2 frame by frame: a client that may say what no library would.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::tcp::connect;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A head came; the first byte of its block tells the status: 0x88 is 200.
    Answered(u8),
    /// With this code.
    Reset(u32),
    /// The whole connection, with this code.
    GoAway(u32),
    Closed,
}

pub(crate) const OK: Outcome = Outcome::Answered(0x88);
/// 400.
pub(crate) const BAD_REQUEST: Outcome = Outcome::Answered(0x8c);
/// PROTOCOL_ERROR.
pub(crate) const MALFORMED: Outcome = Outcome::Reset(1);

pub(crate) struct Frames(pub(crate) TcpStream);

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// Fields as they are, indexed nowhere.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127);
        [&[text.len() as u8], text.as_bytes()].concat()
    };
    fields
        .iter()
        .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
        .collect()
}

pub(crate) const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "web"),
];

impl Frames {
    pub(crate) async fn open(to: SocketAddr) -> Self {
        let mut stream = connect(to).await;
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let opening = [&preface[..], &frame(SETTINGS, 0, 0, &[])].concat();
        stream.write_all(&opening).await.unwrap();
        Self(stream)
    }

    pub(crate) async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.0.write_all(&frame(kind, flags, stream, payload)).await
    }

    /// Sends a head and, where there is one, a body in one piece, so that nobody answers in between.
    pub(crate) async fn request(
        &mut self,
        stream: u32,
        block: &[u8],
        body: Option<&str>,
    ) -> io::Result<()> {
        let end = if body.is_none() { END_STREAM } else { 0 };
        let mut all = frame(HEADERS, END_HEADERS | end, stream, block);
        if let Some(body) = body {
            all.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
        }
        self.0.write_all(&all).await
    }

    /// The next frame; settings and pings are acknowledged on the way. `None`: the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            let read = timeout(PATIENCE, self.0.read_exact(&mut head)).await;
            read.unwrap().ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            let read = timeout(PATIENCE, self.0.read_exact(&mut payload)).await;
            read.unwrap().ok()?;
            let frame = Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
                payload,
            };
            if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
                let echo = if frame.kind == PING {
                    &frame.payload[..]
                } else {
                    &[]
                };
                // An error shows at the next read.
                let _ = self.send(frame.kind, ACK, 0, echo).await;
                continue;
            }
            return Some(frame);
        }
    }

    /// What becomes of a stream.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |n| u32::from_be_bytes(*n));
        while let Some(frame) = self.next().await {
            match frame.kind {
                HEADERS if frame.stream == stream => return Outcome::Answered(frame.payload[0]),
                RST_STREAM if frame.stream == stream => {
                    return Outcome::Reset(number(&frame.payload));
                }
                GOAWAY => return Outcome::GoAway(number(&frame.payload[4..])),
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// A request that is well made, and what becomes of it.
    pub(crate) async fn get(&mut self, stream: u32) -> Outcome {
        let flags = END_STREAM | END_HEADERS;
        let sent = self.send(HEADERS, flags, stream, &block(&GET)).await;
        match sent {
            Ok(()) => self.outcome(stream).await,
            Err(_) => Outcome::Closed,
        }
    }
}
