//! A gRPC stream of messages, on h2 itself.

use bytes::{Bytes, BytesMut};
use h2::client::handshake;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode, header};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Plan;
use super::record::Kind;
use super::session::{Received, Session};
use crate::grpc::{self, METHOD, MOVING, UNAVAILABLE};

pub(super) struct Stream {
    send: SendStream<Bytes>,
    body: RecvStream,
    come: BytesMut,
    _driver: JoinSet<()>,
}

impl Session for Stream {
    const KIND: Kind = Kind::Grpc;

    async fn open(plan: &Plan) -> Result<Self, String> {
        let (address, host) = &plan.grpc;
        let stream = TcpStream::connect(address).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let (client, connection) = handshake(stream).await.map_err(text)?;
        let mut driver = JoinSet::new();
        driver.spawn_local(async move {
            // Whoever uses it is told.
            let _ = connection.await;
        });
        let mut client = client.ready().await.map_err(text)?;
        let request = Request::post(format!("http://{host}{METHOD}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())
            .map_err(text)?;
        let (response, send) = client.send_request(request, false).map_err(text)?;
        let (head, body) = response.await.map_err(text)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("status {}", head.status));
        }
        // An answer without a message has its status in its head.
        if head.headers.contains_key("grpc-status") {
            return Err(status(&head.headers));
        }
        Ok(Self {
            send,
            body,
            come: BytesMut::new(),
            _driver: driver,
        })
    }

    async fn send(&mut self, message: Bytes) -> Result<(), String> {
        let message = grpc::message(&message);
        self.send.send_data(message, false).map_err(text)
    }

    async fn next(&mut self) -> Received {
        loop {
            match grpc::take(&mut self.come) {
                Ok(Some(message)) => return Received::Message(message),
                Ok(None) => {}
                Err(reason) => return Received::Broken(reason),
            }
            match self.body.data().await {
                Some(Ok(data)) => {
                    self.come.extend_from_slice(&data);
                    if let Err(error) = self.body.flow_control().release_capacity(data.len()) {
                        return Received::Broken(text(error));
                    }
                }
                Some(Err(error)) => return Received::Broken(text(error)),
                None => return self.trailers().await,
            }
        }
    }

    async fn close(mut self) -> Result<(), String> {
        self.send.send_data(Bytes::new(), true).map_err(text)?;
        match self.next().await {
            Received::Message(_) => Err("a message that was not asked for".into()),
            Received::Moved => Ok(()),
            Received::Broken(reason) if reason == FINE => Ok(()),
            Received::Broken(reason) => Err(reason),
        }
    }
}

/// The status of a stream that was asked to end.
const FINE: &str = "grpc-status 0";

impl Stream {
    async fn trailers(&mut self) -> Received {
        match self.body.trailers().await {
            Ok(Some(trailers)) if is_moving(&trailers) => Received::Moved,
            Ok(Some(trailers)) => Received::Broken(status(&trailers)),
            Ok(None) => Received::Broken("it ended without a status".into()),
            Err(error) => Received::Broken(text(error)),
        }
    }
}

fn is_moving(trailers: &HeaderMap) -> bool {
    let is = |name, value| trailers.get(name).is_some_and(|given| given == value);
    is("grpc-status", UNAVAILABLE) && is("grpc-message", MOVING)
}

fn status(headers: &HeaderMap) -> String {
    let value = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let said = format!("grpc-status {}", value("grpc-status"));
    match (value("x-heddle-flag"), value("grpc-message")) {
        (flag, message) if flag.is_empty() && message.is_empty() => said,
        (flag, message) => format!("{said} {flag}: {message}"),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
