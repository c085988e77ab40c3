//! HTTP/1.1 to the app: a probe's GET with its redirects within the pod, and a scrape. One request per connection, as
//! a kubelet does it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::redirect::{Next, next};
use super::{Answer, App, BODY_LIMIT, Failure, dial};
use crate::checks::HttpGet;
use crate::metrics::TEXT_FORMAT;

/// As Go's client, which the kubelet uses.
const REDIRECTS: usize = 10;
/// For those who ask without a name of their own.
const AGENT: HeaderValue = HeaderValue::from_static("heddle-proxy");

/// Where one request goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) tls: bool,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
}

/// An answer whose body is still coming; the connection ends when it is dropped.
pub(crate) struct Streaming {
    pub(crate) response: Response<Incoming>,
    /// Drives the connection.
    _connection: JoinSet<()>,
}

/// 200 to 399 is success; a redirect that leads out of the pod counts as one and is not followed.
pub(super) async fn get(
    app: &App,
    get: &HttpGet,
    agent: Option<&HeaderValue>,
) -> Result<Answer, Failure> {
    let mut target = Target {
        tls: get.tls,
        port: get.port,
        path: get.path.clone(),
    };
    let mut keep_host = true;
    for _ in 0..=REDIRECTS {
        let to = app.at(target.port);
        let request = request(&target, headers(get, to, agent, keep_host));
        let answered = if target.tls {
            let name = get
                .host
                .clone()
                .and_then(|host| ServerName::try_from(host).ok());
            let name = name.unwrap_or_else(|| ServerName::from(to.ip()));
            let stream = dial::connect(to).await?;
            let stream = TlsConnector::from(Arc::clone(&app.tls))
                .connect(name, stream)
                .await;
            send(
                to,
                stream.map_err(|error| Failure::Tls(to, error))?,
                request,
            )
            .await?
        } else {
            send(to, dial::connect(to).await?, request).await?
        };
        match next(
            &answered.response,
            app.address,
            get.host.as_deref(),
            &target,
        ) {
            Next::Stay => return answer(to, answered).await,
            Next::Leave(whither) => {
                let body = format!(
                    "the app redirects out of the pod, to {whither}; that is not followed and counts as success\n"
                );
                return Ok(Answer {
                    status: StatusCode::OK,
                    body: body.into(),
                });
            }
            Next::Broken(location) => {
                return Err(Failure::Redirect(format!(
                    "to {location:?}, which cannot be read"
                )));
            }
            Next::Follow {
                target: whither,
                named,
            } => {
                keep_host &= !named;
                target = whither;
            }
        }
    }
    Err(Failure::Redirect(format!("more than {REDIRECTS} times")))
}

/// A scrape of the app's metrics, plain and in a format that can be joined with others.
pub(super) async fn metrics(to: SocketAddr, path: &PathAndQuery) -> Result<Streaming, Failure> {
    let target = Target {
        tls: false,
        port: to.port(),
        path: path.clone(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(HOST, authority(to));
    headers.insert(ACCEPT, HeaderValue::from_static(TEXT_FORMAT));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, AGENT);
    send(to, dial::connect(to).await?, request(&target, headers)).await
}

fn headers(
    get: &HttpGet,
    to: SocketAddr,
    agent: Option<&HeaderValue>,
    keep_host: bool,
) -> HeaderMap {
    let mut headers = get.headers.clone();
    if !keep_host {
        headers.remove(HOST);
    }
    if !headers.contains_key(HOST) {
        let host = get
            .host
            .as_deref()
            .and_then(|host| format!("{host}:{}", to.port()).try_into().ok());
        headers.insert(HOST, host.unwrap_or_else(|| authority(to)));
    }
    // The kubelet's own name is passed on: apps know its probes by it.
    headers
        .entry(USER_AGENT)
        .or_insert_with(|| agent.cloned().unwrap_or(AGENT));
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers
}

fn authority(to: SocketAddr) -> HeaderValue {
    // Digits, dots, colons and brackets.
    HeaderValue::try_from(to.to_string()).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

fn request(target: &Target, headers: HeaderMap) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = target.path.clone().into();
    *request.headers_mut() = headers;
    request
}

async fn send(
    to: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Streaming, Failure> {
    let failed = |error| Failure::Http(to, error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is the request's or the body's too.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(Streaming {
        response,
        _connection: driver,
    })
}

async fn answer(to: SocketAddr, answered: Streaming) -> Result<Answer, Failure> {
    let status = answered.response.status();
    let mut body = answered.response.into_body();
    let mut read = BytesMut::new();
    while read.len() < BODY_LIMIT {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    read.extend_from_slice(&data[..data.len().min(BODY_LIMIT - read.len())]);
                }
            }
            Some(Err(error)) => return Err(Failure::Http(to, error)),
            None => break,
        }
    }
    // A redirect without a place to go is the app's answer and a success, but none that a client should act on.
    let status = if status.is_redirection() {
        StatusCode::OK
    } else {
        status
    };
    Ok(Answer {
        status,
        body: read.freeze(),
    })
}
