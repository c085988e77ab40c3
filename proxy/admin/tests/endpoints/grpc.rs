//! gRPC probes, against an app that speaks HTTP/2 and answers with the bytes and trailers of gRPC.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::Sidecar;

const READY: &str = "/app-health/web/readyz";

/// Serves "up" as SERVING, "down" as NOT_SERVING, and knows no other.
async fn app() -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    (port, serving)
}

type Body =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let message = request.into_body().collect().await.unwrap().to_bytes();
    let status: Option<u8> = match &message[..] {
        b"\0\0\0\0\0" | b"\0\0\0\0\x04\x0a\x02up" => Some(1),
        b"\0\0\0\0\x06\x0a\x04down" => Some(2),
        _ => None,
    };
    let mut ending = HeaderMap::new();
    ending.insert(
        "grpc-status",
        if status.is_some() { "0" } else { "5" }.parse().unwrap(),
    );
    let mut frames = Vec::new();
    let response = Response::builder().header("content-type", "application/grpc");
    if let Some(status) = status {
        frames.push(Ok(Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]))));
        frames.push(Ok(Frame::trailers(ending)));
        return Ok(response
            .body(StreamBody::new(futures_util::stream::iter(frames)))
            .unwrap());
    }
    // Trailers alone, as a server that has nothing to say sends them: in the head.
    let response = response
        .header("grpc-status", "5")
        .header("grpc-message", "unknown service");
    Ok(response
        .body(StreamBody::new(futures_util::stream::iter(frames)))
        .unwrap())
}

async fn probe(port: u16, service: Option<&str>) -> (u16, String) {
    let grpc = match service {
        Some(service) => json!({"port": port, "service": service}),
        None => json!({"port": port}),
    };
    Sidecar::with_probes(&json!({READY: {"grpc": grpc, "timeoutSeconds": 5}}))
        .probe(READY)
        .await
}

#[tokio::test]
async fn serving_is_success_and_all_else_is_not() {
    let (port, _app) = app().await;
    assert_eq!(probe(port, None).await, (200, "SERVING\n".into()));
    assert_eq!(probe(port, Some("up")).await, (200, "SERVING\n".into()));
    let (status, body) = probe(port, Some("down")).await;
    assert!(
        status == 503 && body.contains("NOT_SERVING"),
        "{status} {body}"
    );
    let (status, body) = probe(port, Some("other")).await;
    assert!(
        status == 503 && body.contains("gRPC status 5 (NOT_FOUND"),
        "{status} {body}"
    );
    assert!(body.contains("unknown service"), "{body}");
}

#[tokio::test]
async fn an_app_that_is_no_grpc_server_fails() {
    let app = crate::app::App::plain(|_| crate::app::answer("200 OK", "", "")).await;
    let (status, body) = probe(app.port, None).await;
    assert_eq!(status, 502, "{body}");
    assert!(body.contains("does not speak HTTP"), "{body}");
}
