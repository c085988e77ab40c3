//! Asks a check's question over the network, from the node namespace, as a kubelet does.
//!
//! The caller bounds the whole by the probe's timeout. An answer is read only as far as its status.

use std::{io, net::SocketAddr};

use bytes::{Buf as _, Bytes};
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{check::HttpCheck, insecure};
use crate::NodeSockets;

/// `SERVING` in grpc.health.v1.
const SERVING: u8 = 1;
/// A health answer is two bytes; more than this is not one.
const LONGEST_ANSWER: usize = 64;

type Answer = Result<(), String>;

/// A GET that is answered with 200 to 399.
pub(super) async fn http(sockets: &NodeSockets, check: &HttpCheck) -> Answer {
    let stream = sockets
        .connect(check.address)
        .await
        .map_err(|error| error.to_string())?;
    if !check.tls {
        return get(stream, check).await;
    }
    let config = insecure::client().map_err(|error| error.to_string())?;
    let name = ServerName::from(check.address.ip());
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|e| e.to_string())?;
    get(stream, check).await
}

async fn get<S>(stream: S, check: &HttpCheck) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| error.to_string();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    let mut request = Request::get(&check.path)
        .header(header::USER_AGENT, "kube-probe/heddle")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close");
    let named = |name: &str| {
        check
            .headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case(name))
    };
    if !named("host") {
        request = request.header(header::HOST, check.address.to_string());
    }
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        Ok(response.status())
    };
    let status = drive(connection, exchange).await?;
    if (200..400).contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(format!("HTTP {status}"))
    }
}

/// Runs the connection only for as long as the exchange takes; both end together.
async fn drive<T>(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    exchange: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            // The answer may have come with the last bytes.
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// A connection that is accepted.
pub(super) async fn tcp(sockets: &NodeSockets, address: SocketAddr) -> Answer {
    sockets
        .connect(address)
        .await
        .map(drop)
        .map_err(|error: io::Error| error.to_string())
}

/// A health check that is answered with SERVING.
pub(super) async fn grpc(sockets: &NodeSockets, address: SocketAddr, service: &str) -> Answer {
    let stream = sockets
        .connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let failed = |error: hyper::Error| error.to_string();
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/heddle")
        .body(Full::new(health_request(service)))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let headers = response.headers().clone();
        let limited = http_body_util::Limited::new(response.into_body(), LONGEST_ANSWER);
        let body = limited.collect().await.map_err(|error| error.to_string())?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let code = trailers.get("grpc-status").or(headers.get("grpc-status"));
        match code.map(|code| code.as_bytes()) {
            Some(b"0") => Ok(body.to_bytes()),
            Some(code) => Err(format!("gRPC status {}", String::from_utf8_lossy(code))),
            None => Err(format!("HTTP {status} without a gRPC status")),
        }
    };
    match serving_status(drive(connection, exchange).await?) {
        Some(SERVING) => Ok(()),
        Some(0) => Err("health UNKNOWN".into()),
        Some(2) => Err("health NOT_SERVING".into()),
        Some(3) => Err("health SERVICE_UNKNOWN".into()),
        _ => Err("not a health answer".into()),
    }
}

/// One gRPC message: `HealthCheckRequest { string service = 1; }`.
fn health_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(
        &u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    framed.extend_from_slice(&message);
    framed.into()
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; an absent field is 0.
fn serving_status(mut framed: Bytes) -> Option<u8> {
    if framed.remaining() < 5 {
        return None;
    }
    let compressed = framed.get_u8();
    let length = framed.get_u32() as usize;
    if compressed != 0 || framed.remaining() != length {
        return None;
    }
    match framed.as_ref() {
        [] => Some(0),
        [0x08, status] => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_messages() {
        assert_eq!(health_request("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(
            health_request("ab").as_ref(),
            [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']
        );
        let long = health_request(&"x".repeat(300));
        assert_eq!(long[5..8], [0x0a, 0xac, 0x02]);
        assert_eq!(
            serving_status(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1])),
            Some(1)
        );
        assert_eq!(
            serving_status(Bytes::from_static(&[0, 0, 0, 0, 0])),
            Some(0)
        );
        for wrong in [
            &[0_u8, 0, 0, 0, 9, 8, 1][..],
            &[1, 0, 0, 0, 2, 8, 1],
            &[],
            &[0, 0, 0],
        ] {
            assert_eq!(serving_status(Bytes::copy_from_slice(wrong)), None);
        }
    }
}
