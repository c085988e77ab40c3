//! gRPC streams both ways: on each, a message is sent when the echo of the one before has come. A
//! stream that ends early, or with another status than 0, fails the load.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use clap::Args;
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::Result;
use crate::load::Ground;
use crate::load::latency::percentile;

/// One byte that says "not compressed", four of length.
const PREFIX: usize = 5;
const METHOD: &str = "http://reviews:9080/bench.Echo/Messages";
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `heddle-bench load streams`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) to: SocketAddr,
    #[arg(long)]
    pub(crate) connections: u32,
    /// On each connection
    #[arg(long)]
    pub(crate) streams: u32,
    /// Bytes of a message
    #[arg(long)]
    pub(crate) bytes: usize,
    #[arg(long)]
    pub(crate) seconds: u32,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Sent and received again.
    pub(crate) messages: u64,
    pub(crate) duration_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Runs it in the client pod.
pub(crate) fn load(
    at: Ground<'_>,
    (connections, streams): (u32, u32),
    bytes: usize,
    seconds: u32,
) -> Result<Done> {
    at.run_own(&[
        "load-streams".to_owned(),
        format!("--to={}", at.target()),
        format!("--connections={connections}"),
        format!("--streams={streams}"),
        format!("--bytes={bytes}"),
        format!("--seconds={seconds}"),
    ])
}

pub(crate) async fn run(options: &Options) -> io::Result<Done> {
    let message = framed(options.bytes);
    let mut drivers = JoinSet::new();
    let mut calls = JoinSet::new();
    let begun = Instant::now();
    let end = begun + Duration::from_secs(options.seconds.into());
    for _ in 0..options.connections {
        let stream = timeout(PATIENCE, TcpStream::connect(options.to)).await??;
        stream.set_nodelay(true)?;
        let (requests, connection) = client::handshake(stream).await.map_err(io::Error::other)?;
        drivers.spawn(connection);
        for _ in 0..options.streams {
            calls.spawn(call(requests.clone(), message.clone(), end));
        }
    }
    let mut took = Vec::new();
    while let Some(call) = calls.join_next().await {
        took.extend(call.map_err(io::Error::other)??);
    }
    let duration_us = begun.elapsed().as_micros() as f64;
    took.sort_unstable();
    Ok(Done {
        messages: took.len() as u64,
        duration_us,
        p50_us: percentile(&took, 50.0),
        p99_us: percentile(&took, 99.0),
    })
}

fn framed(bytes: usize) -> Bytes {
    let mut message = BytesMut::with_capacity(PREFIX + bytes);
    message.put_u8(0);
    message.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
    message.put_bytes(b'm', bytes);
    message.freeze()
}

/// One stream to its end; how many microseconds each message took.
async fn call(requests: SendRequest<Bytes>, message: Bytes, end: Instant) -> io::Result<Vec<u32>> {
    let request = Request::post(METHOD)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(io::Error::other)?;
    let mut requests = requests.ready().await.map_err(io::Error::other)?;
    let (response, mut send) = requests
        .send_request(request, false)
        .map_err(io::Error::other)?;
    // The first message goes before the answer's head: nobody has to answer an empty stream.
    let mut begun = Instant::now();
    say(&mut send, &message, false)?;
    let response = timeout(PATIENCE, response)
        .await?
        .map_err(io::Error::other)?;
    let mut body = response.into_body();
    let mut took = Vec::new();
    loop {
        timeout(PATIENCE, hear(&mut body, message.len())).await??;
        took.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        begun = Instant::now();
        if begun >= end {
            break;
        }
        say(&mut send, &message, false)?;
    }
    say(&mut send, &Bytes::new(), true)?;
    match timeout(PATIENCE, status(&mut body)).await?? {
        Some(status) if status == "0" => Ok(took),
        status => Err(io::Error::other(format!(
            "a stream ended with grpc-status {status:?}"
        ))),
    }
}

fn say(send: &mut SendStream<Bytes>, message: &Bytes, last: bool) -> io::Result<()> {
    send.send_data(message.clone(), last)
        .map_err(io::Error::other)
}

/// Reads one message, however it is cut.
async fn hear(body: &mut RecvStream, length: usize) -> io::Result<()> {
    let mut rest = length;
    while rest > 0 {
        let early = || io::Error::other("a stream ended in the middle of its messages");
        let data = body.data().await.ok_or_else(early)?;
        let data = data.map_err(io::Error::other)?;
        rest = rest
            .checked_sub(data.len())
            .ok_or_else(|| io::Error::other("more came back than was sent"))?;
        body.flow_control()
            .release_capacity(data.len())
            .map_err(io::Error::other)?;
    }
    Ok(())
}

async fn status(body: &mut RecvStream) -> io::Result<Option<String>> {
    while let Some(data) = body.data().await {
        if !data.map_err(io::Error::other)?.is_empty() {
            return Err(io::Error::other("more came back than was sent"));
        }
    }
    let trailers = body.trailers().await.map_err(io::Error::other)?;
    let status = trailers.as_ref().and_then(|t| t.get("grpc-status"));
    Ok(status.map(|status| String::from_utf8_lossy(status.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn messages_come_back_on_every_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let server = tokio::spawn(crate::app::grpc::serve(listener, "v1"));
        let options = Options {
            to,
            connections: 2,
            streams: 3,
            bytes: 64,
            seconds: 0,
        };
        let done = run(&options).await.unwrap();
        // Each stream sends one before it looks at the time.
        assert_eq!(done.messages, 6);
        server.abort();
    }
}
