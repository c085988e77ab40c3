//! The kubelet's gRPC probe: `grpc.health.v1.Health/Check`, success only when the answer is SERVING. The two messages
//! have one field each, so they are written and read here; a message that does not parse is a failed probe.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::{Answer, BODY_LIMIT, Failure, dial};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// HealthCheckRequest.service, a string.
const SERVICE: u8 = 0x0a;
/// HealthCheckResponse.status, an enum.
const STATUS: u8 = 0x08;

pub(super) async fn check(to: SocketAddr, service: &str) -> Result<Answer, Failure> {
    let failed = |error| Failure::Http(to, error);
    let refused = |said: String| Failure::Grpc(to, said);
    let stream = dial::connect(to).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is the request's or the body's too.
        let _ = connection.await;
    });
    let request = request(to, service).ok_or_else(|| refused("its address makes no URI".into()))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(refused(format!(
            "HTTP status {}, not gRPC",
            response.status()
        )));
    }
    said_well(response.headers()).map_err(refused)?;
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(failed)?;
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > BODY_LIMIT {
                return Err(refused("an answer that is too long".into()));
            }
            read.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            said_well(trailers).map_err(refused)?;
        }
    }
    match status(&read) {
        Some(1) => Ok(Answer {
            status: StatusCode::OK,
            body: Bytes::from_static(b"SERVING\n"),
        }),
        Some(0) => Err(refused("UNKNOWN".into())),
        Some(2) => Err(refused("NOT_SERVING".into())),
        Some(3) => Err(refused("SERVICE_UNKNOWN".into())),
        Some(other) => Err(refused(format!("status {other}"))),
        None => Err(refused("an answer that is no HealthCheckResponse".into())),
    }
}

fn request(to: SocketAddr, service: &str) -> Option<Request<Full<Bytes>>> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(to.to_string())
        .path_and_query(PATH)
        .build()
        .ok()?;
    let mut request = Request::new(Full::new(message(service)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/grpc"),
    );
    headers.insert(TE, http::HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, http::HeaderValue::from_static("heddle-proxy"));
    Some(request)
}

/// A framed HealthCheckRequest.
fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    // From one environment variable, which is far below 4 GiB.
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

/// The gRPC status in headers or trailers, when there is one, must be 0.
fn said_well(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| {
        headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text("grpc-status") {
        None => Ok(()),
        Some(code) if code == "0" => Ok(()),
        Some(code) => {
            let name = match code.as_str() {
                "5" => " (NOT_FOUND: the service is not known to it)",
                "12" => " (UNIMPLEMENTED: the app does not serve grpc.health.v1.Health)",
                _ => "",
            };
            let message = text("grpc-message").unwrap_or_default();
            Err(format!("gRPC status {code}{name} {message}")
                .trim_end()
                .to_owned())
        }
    }
}

/// The status in a framed HealthCheckResponse; an absent field is 0. Fields that it does not know make it none: the
/// message has had one field since 2015.
fn status(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(5)?;
    let &[0, a, b, c, d] = prefix else {
        return None;
    };
    if usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()? != message.len() {
        return None;
    }
    let Some((&tag, value)) = message.split_first() else {
        return Some(0);
    };
    if tag != STATUS || value.is_empty() || value.len() > 9 {
        return None;
    }
    let (last, rest) = value.split_last()?;
    if *last >= 0x80 || rest.iter().any(|byte| *byte < 0x80) {
        return None;
    }
    Some(
        value
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_names_the_service() {
        assert_eq!(&message("")[..], b"\0\0\0\0\0");
        assert_eq!(&message("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(300);
        assert_eq!(message(&long)[5..8], [0x0a, 0xac, 0x02]);
    }

    #[test]
    fn a_status_is_read() {
        assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Some(1));
        assert_eq!(status(b"\0\0\0\0\0"), Some(0));
        assert_eq!(status(b"\0\0\0\0\x03\x08\xac\x02"), Some(300));
        for broken in [
            &b""[..],
            b"\0\0\0\0\x02\x08",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x02\x10\x01",
            b"\0\0\0\0\x02\x08\x81",
        ] {
            assert_eq!(status(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            let _ = status(&bytes);
        }
    }
}
