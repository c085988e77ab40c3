//! The one place where a failure becomes a response: a status that says whose fault it was, and a
//! line that says what happened, to what, why, and what to do. gRPC calls get a gRPC status.

use heddle_proxy_telemetry::ResponseFlag;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use crate::body::ReplyBody;
use crate::exchange::Exchange;
use crate::head::Survey;

/// A failure, to be told to the one who called.
pub(crate) struct Failure {
    pub(crate) flag: ResponseFlag,
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// What a gRPC call is told, where that is not what the status says.
    grpc: Option<u8>,
}

impl Failure {
    pub(crate) fn new(flag: ResponseFlag, status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            flag,
            status,
            text: text.into(),
            grpc: None,
        }
    }

    /// The same, told to a gRPC call as this status.
    pub(crate) fn with_grpc(mut self, code: u8) -> Self {
        self.grpc = Some(code);
        self
    }

    /// The response that tells it. `grpc`: the call is gRPC, and its status says what HTTP's would.
    pub(crate) fn into_response(self, grpc: bool, mut exchange: Exchange) -> Response<ReplyBody> {
        exchange.flag = self.flag;
        if let Some(span) = &mut exchange.span {
            span.flag(self.flag);
            span.attribute("heddle.error", self.text.clone());
        }
        let mut response = Response::new(ReplyBody::own("", None));
        if self.flag == ResponseFlag::DownstreamClosed {
            // Nobody reads an answer: none is counted.
            exchange.finish(self.flag);
            *response.status_mut() = self.status;
            return response;
        }
        let headers = response.headers_mut();
        headers.insert(
            "x-heddle-flag",
            HeaderValue::from_static(self.flag.as_str()),
        );
        if grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            let status = match self.grpc {
                Some(code) => HeaderValue::from(u16::from(code)),
                None => HeaderValue::from_static(grpc_status(self.status)),
            };
            headers.insert("grpc-status", status);
            if let Ok(message) = HeaderValue::from_str(&percent(&self.text)) {
                headers.insert("grpc-message", message);
            }
            exchange.head(StatusCode::OK, headers, Survey::of(headers));
            *response.body_mut() = ReplyBody::own("", Some(exchange));
        } else {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            );
            exchange.head(self.status, headers, Survey::of(headers));
            *response.status_mut() = self.status;
            *response.body_mut() = ReplyBody::own(self.text + "\n", Some(exchange));
        }
        response
    }
}

/// gRPC's own mapping of HTTP statuses (grpc/doc/http-grpc-status-mapping.md).
fn grpc_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 => "14",
        504 => "4",
        _ => "2",
    }
}

/// grpc-message is percent-encoded (gRPC over HTTP/2, Status-Message).
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_messages_are_printable_ascii() {
        assert_eq!(percent("50% of é\n"), "50%25 of %C3%A9%0A");
    }

    #[test]
    fn unavailable_is_what_a_missing_endpoint_is() {
        assert_eq!(grpc_status(StatusCode::SERVICE_UNAVAILABLE), "14");
        assert_eq!(grpc_status(StatusCode::GATEWAY_TIMEOUT), "4");
        assert_eq!(grpc_status(StatusCode::NOT_FOUND), "12");
    }
}
