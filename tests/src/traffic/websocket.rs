//! A WebSocket of messages.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Plan;
use super::record::Kind;
use super::session::{Received, Session};
use crate::websocket::{self, ACCEPT, Frame, GOING_AWAY, KEY, NORMAL};

/// Largest answer to the handshake that is read.
const LARGEST: usize = 16 * 1024;

pub(super) struct Socket {
    stream: TcpStream,
    come: BytesMut,
}

impl Session for Socket {
    const KIND: Kind = Kind::WebSocket;

    async fn open(plan: &Plan) -> Result<Self, String> {
        let (address, host) = &plan.websocket;
        let mut stream = TcpStream::connect(address).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(text)?;
        let mut come = BytesMut::new();
        let head = loop {
            if let Some(end) = come.windows(4).position(|four| four == b"\r\n\r\n") {
                break come.split_to(end + 4);
            }
            if come.len() > LARGEST {
                return Err("an endless answer".into());
            }
            if stream.read_buf(&mut come).await.map_err(text)? == 0 {
                return Err("closed before an answer".into());
            }
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let accepted = head.lines().any(|line| {
            let (name, value) = line.split_once(':').unwrap_or_default();
            name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
        });
        if !head.starts_with("HTTP/1.1 101 ") || !accepted {
            return Err(format!("answered {}", head.replace("\r\n", "; ")));
        }
        Ok(Self { stream, come })
    }

    async fn send(&mut self, message: Bytes) -> Result<(), String> {
        let frame = websocket::message(&message, true);
        self.stream.write_all(&frame).await.map_err(text)
    }

    async fn next(&mut self) -> Received {
        loop {
            match websocket::take(&mut self.come) {
                Ok(Some(Frame::Message(message))) => return Received::Message(message),
                Ok(Some(Frame::Close(GOING_AWAY))) => {
                    // The server may not wait for it.
                    let goodbye = websocket::close(GOING_AWAY, true);
                    let _ = self.stream.write_all(&goodbye).await;
                    return Received::Moved;
                }
                Ok(Some(Frame::Close(code))) => {
                    return Received::Broken(format!("closed with {code}"));
                }
                Ok(None) => {}
                Err(error) => return Received::Broken(text(error)),
            }
            match self.stream.read_buf(&mut self.come).await {
                Ok(0) => return Received::Broken("closed without a close frame".into()),
                Ok(_) => {}
                Err(error) => return Received::Broken(text(error)),
            }
        }
    }

    async fn close(mut self) -> Result<(), String> {
        let goodbye = websocket::close(NORMAL, true);
        self.stream.write_all(&goodbye).await.map_err(text)?;
        match self.next().await {
            Received::Moved => Ok(()),
            Received::Broken(reason) if reason == format!("closed with {NORMAL}") => Ok(()),
            Received::Message(_) => Err("a message that was not asked for".into()),
            Received::Broken(reason) => Err(reason),
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
