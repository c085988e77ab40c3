//! HTTP clients of the tests: one connection, of which the test knows everything.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> Result<Self, Error> {
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await??;
        let trailers = body.trailers().cloned();
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The application that answered (see `app::echo`).
    pub(crate) fn app(&self) -> &str {
        self.header("x-app")
    }

    /// A header of the request as the application saw it.
    pub(crate) fn seen(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let prefix = format!("{name}: ");
        text.lines()
            .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// One connection.
pub(crate) struct Client {
    sender: Sender,
    pub(crate) authority: String,
}

impl Client {
    pub(crate) async fn http1(to: SocketAddr) -> Result<Self, Error> {
        let stream = timeout(PATIENCE, TcpStream::connect(to)).await??;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self {
            sender: Sender::Http1(sender),
            authority: to.to_string(),
        })
    }

    pub(crate) async fn http2(to: SocketAddr) -> Result<Self, Error> {
        let stream = timeout(PATIENCE, TcpStream::connect(to)).await??;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender: Sender::Http2(sender),
            authority: to.to_string(),
        })
    }

    /// A request for this connection: `GET`, or what `method` says.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        match &self.sender {
            Sender::Http1(_) => builder.uri(path).header("host", &self.authority),
            Sender::Http2(_) => builder.uri(format!("http://{}{path}", self.authority)),
        }
    }

    /// The head of the response.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        let response = async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        Ok(timeout(PATIENCE, response).await??)
    }

    pub(crate) async fn call(&mut self, request: Request<Body>) -> Result<Answer, Error> {
        Answer::of(self.send(request).await?).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, Error> {
        let request = self.request("GET", path).body(empty())?;
        self.call(request).await
    }

    pub(crate) async fn get_with(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let request = self.request("GET", path);
        let request = headers.iter().fold(request, |r, (k, v)| r.header(*k, *v));
        self.call(request.body(empty())?).await
    }

    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Error> {
        let request = self.request("POST", path).body(full(body))?;
        self.call(request).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

/// One request over a connection of its own.
pub(crate) async fn get(to: SocketAddr, path: &str) -> Result<Answer, Error> {
    Client::http1(to).await?.get(path).await
}
