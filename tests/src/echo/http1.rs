//! The HTTP/1.1 half of the echo: `GET /echo/TEXT` and `POST /echo` answer the text, `/ws` is a
//! WebSocket that sends back every message.

use std::convert::Infallible;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::told;
use crate::websocket::{self, ACCEPT, Frame, GOING_AWAY, KEY};

/// One connection, and the WebSocket that it may become, until it ends.
pub(super) async fn serve(stream: TcpStream, mut stop: watch::Receiver<bool>) {
    let (upgraded, mut upgrade) = mpsc::unbounded_channel();
    let service = service_fn(move |request| answer(request, upgraded.clone()));
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.as_mut().await;
        }
    }
    if let Ok(upgrade) = upgrade.try_recv() {
        // An error: the peer has gone.
        let _ = chat(upgrade, stop).await;
    }
}

type Upgrades = mpsc::UnboundedSender<hyper::upgrade::OnUpgrade>;

async fn answer(
    mut request: Request<Incoming>,
    upgraded: Upgrades,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let text = match (request.method(), path.strip_prefix("/echo")) {
        (&Method::GET, Some(text)) => Ok(Bytes::from(text.trim_start_matches('/').to_owned())),
        (&Method::POST, Some(_)) => match request.into_body().collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(_) => Err(StatusCode::BAD_REQUEST),
        },
        (&Method::GET, None) if path == "/ws" => {
            let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
            match key.is_some_and(|key| key == KEY) {
                true => {
                    // An error: the connection has ended.
                    let _ = upgraded.send(hyper::upgrade::on(&mut request));
                    return Ok(switching());
                }
                false => Err(StatusCode::BAD_REQUEST),
            }
        }
        _ => Err(StatusCode::NOT_FOUND),
    };
    Ok(match text {
        Ok(text) => Response::new(Full::new(text)),
        Err(status) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        }
    })
}

fn switching() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, ACCEPT),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn chat(
    upgrade: hyper::upgrade::OnUpgrade,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut io = TokioIo::new(upgrade.await?);
    let mut come = BytesMut::new();
    let mut said_goodbye = false;
    loop {
        while let Some(frame) = websocket::take(&mut come)? {
            match frame {
                // After a close nothing is sent any more (RFC 6455 §5.5.1).
                Frame::Message(_) if said_goodbye => {}
                Frame::Message(payload) => {
                    io.write_all(&websocket::message(&payload, false)).await?;
                }
                Frame::Close(code) => {
                    if !said_goodbye {
                        io.write_all(&websocket::close(code, false)).await?;
                    }
                    return Ok(io.shutdown().await?);
                }
            }
        }
        io.flush().await?;
        tokio::select! {
            // What has come is answered before anything else.
            biased;
            read = io.read_buf(&mut come) => if read? == 0 {
                return Ok(());
            },
            () = told(&mut stop), if !said_goodbye => {
                said_goodbye = true;
                io.write_all(&websocket::close(GOING_AWAY, false)).await?;
                io.flush().await?;
            }
        }
    }
}
