//! A gRPC server whose every method sends back the messages that it is sent, one by one, and ends
//! with success: unary when the client sends one, a stream both ways when it sends many. Messages
//! are passed on as they are framed.

use std::io;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// More than any load opens on one connection.
const STREAMS: u32 = 1024;
const WINDOW: u32 = 1 << 20;

/// Of the response: which version has answered.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("version");

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, version: &str) -> io::Result<()> {
    let version = HeaderValue::from_str(version).map_err(io::Error::other)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that breaks is its client's to report.
        let version = version.clone();
        tokio::spawn(async move { connection(stream, version).await.ok() });
    }
}

async fn connection(stream: TcpStream, version: HeaderValue) -> Result<(), h2::Error> {
    stream
        .set_nodelay(true)
        .map_err(|_| Reason::INTERNAL_ERROR)?;
    let mut connection = server::Builder::new()
        .max_concurrent_streams(STREAMS)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let version = version.clone();
        tokio::spawn(async move { call(request, respond, version).await.ok() });
    }
    Ok(())
}

async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    version: HeaderValue,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, grpc);
    response.headers_mut().insert(VERSION, version);
    let mut send = respond.send_response(response, false)?;
    echo(request.into_body(), &mut send).await?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}

async fn echo(mut body: RecvStream, send: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if !data.is_empty() {
            send.send_data(data, false)?;
        }
    }
    Ok(())
}
