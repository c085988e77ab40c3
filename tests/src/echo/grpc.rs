//! The gRPC half of the echo, on h2 itself: a stream of messages, each sent back.

use bytes::{Bytes, BytesMut};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::told;
use crate::grpc::{self, MOVING, UNAVAILABLE};

/// One connection, until its streams have ended.
pub(super) async fn serve(stream: TcpStream, stop: watch::Receiver<bool>) {
    let Ok(mut connection) = server::handshake(stream).await else {
        return;
    };
    let (mut streams, mut ending) = (JoinSet::new(), false);
    let mut end = stop.clone();
    loop {
        tokio::select! {
            () = told(&mut end), if !ending => {
                ending = true;
                connection.graceful_shutdown();
            }
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    streams.spawn(chat(request, respond, stop.clone()));
                }
                Some(Err(_)) | None => return,
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn chat(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    stop: watch::Receiver<bool>,
) {
    let mut response = Response::new(());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let Ok(mut send) = respond.send_response(response, false) else {
        return;
    };
    let (status, message) = match echo(request.into_body(), &mut send, stop).await {
        Ok(true) => ("0", ""),
        Ok(false) => (UNAVAILABLE, MOVING),
        // The stream is gone: there is nobody to tell.
        Err(_) => return,
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers.insert("grpc-message", HeaderValue::from_static(message));
    // The client may be gone in the meantime.
    let _ = send.send_trailers(trailers);
}

/// True: the client has ended; false: this server ends.
async fn echo(
    mut body: RecvStream,
    send: &mut SendStream<Bytes>,
    mut stop: watch::Receiver<bool>,
) -> Result<bool, h2::Error> {
    let mut come = BytesMut::new();
    loop {
        let data = tokio::select! {
            // What has come is answered before anything else.
            biased;
            data = body.data() => data,
            () = told(&mut stop) => return Ok(false),
        };
        let Some(data) = data else { return Ok(true) };
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        come.extend_from_slice(&data);
        while let Ok(Some(message)) = grpc::take(&mut come) {
            send.send_data(grpc::message(&message), false)?;
        }
    }
}
