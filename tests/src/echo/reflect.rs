//! The application of the conformance tests: whatever it is asked, over HTTP/1.1, HTTP/2 or gRPC, it
//! answers with what it saw of the request and who it is.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::told;
use crate::grpc;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One connection, until it ends or this server does.
pub(super) async fn serve(stream: TcpStream, mut stop: watch::Receiver<bool>) {
    let serving = auto::Builder::new(TokioExecutor::new());
    let connection = serving.serve_connection(TokioIo::new(stream), service_fn(answer));
    tokio::select! {
        // The client may be gone in the meantime.
        _ = connection => {}
        () = told(&mut stop) => {}
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let seen = seen(&request).to_string();
    let kind = request.headers().get(CONTENT_TYPE);
    let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let (body, kind) = if is_grpc {
        // A call ends when the caller has said all.
        let _ = request.into_body().collect().await;
        let trailers = HeaderMap::from_iter([(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let message = Full::new(grpc::message(seen.as_bytes()));
        let body = message.with_trailers(async { Some(Ok(trailers)) });
        (body.boxed_unsync(), "application/grpc")
    } else {
        let body = Full::new(Bytes::from(seen));
        (body.boxed_unsync(), "application/json")
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn seen<B>(request: &Request<B>) -> Value {
    let mut headers = Map::new();
    for name in request.headers().keys() {
        let values = request.headers().get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let joined = values.collect::<Vec<_>>().join(",");
        headers.insert(name.to_string(), joined.into());
    }
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|a| a.as_str());
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    json!({
        "pod": std::env::var("POD_NAME").unwrap_or_default(),
        "namespace": std::env::var("POD_NAMESPACE").unwrap_or_default(),
        "method": request.method().as_str(),
        "path": path,
        "host": authority.or(host).unwrap_or_default(),
        "headers": headers,
    })
}
