//! Requests over HTTP/2 for the checks: who answered them, and that every answer is right.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};

use crate::app::body;
use crate::cases::Traffic;
use crate::error::{Error, Result};
use crate::load::h2load::message;
use crate::netns;
use crate::peers::{Peer, target};
use crate::world::Place;

/// For all of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of so many requests over one connection, how many v2 answered; v1 must have answered the others.
pub(crate) fn versions(peer: Peer, traffic: Traffic, requests: u32, premium: bool) -> Result<u32> {
    let to = target(peer);
    let failed = |what: String| Error::Check {
        peer: peer.name(),
        what,
    };
    let stream = netns::within(&Place::Client.netns(), || {
        let failed = || Error::io(format!("connect from {} to {to}", Place::Client.name()));
        let stream = std::net::TcpStream::connect_timeout(&to, PATIENCE).map_err(failed())?;
        stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true))
            .map_err(failed())?;
        Ok(stream)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start a runtime"))?;
    let all = async {
        let stream = tokio::net::TcpStream::from_std(stream).map_err(|e| e.to_string())?;
        let (mut send, connection) = h2::client::handshake(stream)
            .await
            .map_err(|e| e.to_string())?;
        // It ends with the runtime.
        tokio::spawn(async move { connection.await.ok() });
        let mut v2 = 0;
        for _ in 0..requests {
            send = send.ready().await.map_err(|e| e.to_string())?;
            v2 += u32::from(ask(&mut send, traffic, premium).await? == "v2");
        }
        Ok::<u32, String>(v2)
    };
    let all = async { tokio::time::timeout(PATIENCE, all).await };
    match runtime.block_on(all) {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(failed(format!(
            "{requests} requests over HTTP/2 were not answered in {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// Which version answered.
async fn ask(
    send: &mut SendRequest<Bytes>,
    traffic: Traffic,
    premium: bool,
) -> std::result::Result<&'static str, String> {
    let grpc = traffic == Traffic::Grpc;
    let mut request = Request::builder();
    if premium {
        request = request.header("user-type", "premium");
    }
    request = match grpc {
        true => request
            .method(Method::POST)
            .uri("http://reviews:9080/reviews.Reviews/Get")
            .header("content-type", "application/grpc")
            .header("te", "trailers"),
        false => request.uri("http://reviews:9080/reviews/0"),
    };
    let request = request.body(()).map_err(|e| e.to_string())?;
    let (answer, mut sends) = send
        .send_request(request, !grpc)
        .map_err(|e| e.to_string())?;
    if grpc {
        sends
            .send_data(message().into(), true)
            .map_err(|e| e.to_string())?;
    }
    let (head, mut stream) = answer.await.map_err(|e| e.to_string())?.into_parts();
    let mut got = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.map_err(|e| e.to_string())?;
        stream
            .flow_control()
            .release_capacity(data.len())
            .map_err(|e| e.to_string())?;
        got.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.map_err(|e| e.to_string())?;
    let version = ["v1", "v2"].into_iter().find(|version| match grpc {
        true => head.headers.get("version").is_some_and(|v| v == version),
        false => got == body(version).as_bytes(),
    });
    let complete = match grpc {
        true => {
            let status = trailers.and_then(|mut t| t.remove("grpc-status"));
            got == message() && status.is_some_and(|status| status == "0")
        }
        false => true,
    };
    match version {
        Some(version) if complete && head.status == 200 => Ok(version),
        _ => Err(format!(
            "an answer is wrong: {}, {} bytes, complete: {complete}, version: {version:?}",
            head.status,
            got.len()
        )),
    }
}
