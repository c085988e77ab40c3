//! Clients of the application that says what it saw: requests over connections of their own, and
//! gRPC calls that share one. To be used in the namespace where they are to dial.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{grpc, netns};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where to connect.
    pub to: SocketAddr,
    /// `Host`, or `:authority`.
    pub host: String,
    /// With query.
    pub path: String,
    /// More headers.
    pub headers: HeaderMap,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP's, or 1000 and gRPC's.
    pub status: u16,
    /// Of the answer.
    pub headers: HeaderMap,
    /// What the application saw; null: it is not the application that answered.
    pub seen: Value,
}

/// Asks each over a connection of its own, all in a namespace, one after the other.
pub fn ask(netns: &str, requests: Vec<Asked>) -> Vec<Result<Answer, String>> {
    run(netns, async move {
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            let answer = tokio::time::timeout(ANSWER, one(request)).await;
            answers.push(answer.unwrap_or_else(|_| Err("no answer".to_owned())));
        }
        answers
    })
}

/// Asks the same over and over again, over one connection.
///
/// # Errors
/// When one fails.
pub fn repeat(netns: &str, request: Asked, times: usize) -> Result<Vec<Answer>, String> {
    run(netns, async move {
        let (mut sender, connection) = http1::handshake(connect(request.to).await?)
            .await
            .map_err(said)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut answers = Vec::with_capacity(times);
        for _ in 0..times {
            sender.ready().await.map_err(said)?;
            let response = sender.send_request(http(&request)?).await;
            answers.push(read(response.map_err(said)?).await?);
        }
        Ok(answers)
    })
}

/// gRPC calls over one connection, some at a time. The path is the method.
///
/// # Errors
/// When one fails otherwise than by a status.
pub fn calls(
    netns: &str,
    request: Asked,
    times: usize,
    at_a_time: usize,
) -> Result<Vec<Answer>, String> {
    run(netns, async move {
        let io = connect(request.to).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .map_err(said)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let (mut calls, mut answers) = (JoinSet::new(), Vec::with_capacity(times));
        for started in 0..times {
            if started >= at_a_time {
                answers.extend(joined(&mut calls).await?);
            }
            let (mut sender, call) = (sender.clone(), call(&request)?);
            calls.spawn(async move {
                sender.ready().await.map_err(said)?;
                read(sender.send_request(call).await.map_err(said)?).await
            });
        }
        while let Some(answer) = joined(&mut calls).await? {
            answers.push(answer);
        }
        Ok(answers)
    })
}

async fn joined(calls: &mut JoinSet<Result<Answer, String>>) -> Result<Option<Answer>, String> {
    match calls.join_next().await {
        None => Ok(None),
        Some(answer) => answer.map_err(said)?.map(Some),
    }
}

fn run<T: Send + 'static>(netns: &str, work: impl Future<Output = T> + Send + 'static) -> T {
    netns::run(netns, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(work)
    })
}

async fn one(request: Asked) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(connect(request.to).await?)
        .await
        .map_err(said)?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(http(&request)?).await;
    read(response.map_err(said)?).await
}

async fn connect(to: SocketAddr) -> Result<TokioIo<TcpStream>, String> {
    TcpStream::connect(to).await.map(TokioIo::new).map_err(said)
}

fn http(asked: &Asked) -> Result<Request<Full<Bytes>>, String> {
    let request = Request::get(&asked.path).header("host", &asked.host);
    let mut request = request.body(Full::default()).map_err(said)?;
    request.headers_mut().extend(asked.headers.clone());
    Ok(request)
}

fn call(asked: &Asked) -> Result<Request<Full<Bytes>>, String> {
    let request = Request::post(format!("http://{}{}", asked.host, asked.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let mut request = request.body(Full::new(grpc::message(b""))).map_err(said)?;
    request.headers_mut().extend(asked.headers.clone());
    Ok(request)
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(said)?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = trailers
        .get("grpc-status")
        .or(head.headers.get("grpc-status"));
    let status = status.and_then(|status| status.to_str().ok()?.parse::<u16>().ok());
    let mut bytes = BytesMut::from(&*body.to_bytes());
    let message = match status {
        Some(_) => grpc::take(&mut bytes)?.unwrap_or_default(),
        None => bytes.freeze(),
    };
    Ok(Answer {
        status: status.map_or(head.status.as_u16(), |status| 1000 + status),
        headers: head.headers,
        seen: serde_json::from_slice(&message).unwrap_or_default(),
    })
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
