//! What must happen when a request ends, however it ends: count it, end its span, give its
//! connection back. It happens exactly once: when [`Exchange::finish`] says how it went, or when the
//! exchange is dropped because the client has gone and nobody works on its request any more.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use heddle_proxy_telemetry::{HttpSeries, RequestSpan, ResponseFlag, Serving};
use http::HeaderMap;
use http_body::Frame;

use crate::body::RequestBytes;
use crate::head::Survey;
use crate::serve::clock::Clock;
use crate::upstream::{ActiveRequest, Lease, http1, since};

/// A request under way.
pub(crate) struct Exchange {
    started: Instant,
    request_bytes: RequestBytes,
    response_bytes: u64,
    pub(crate) status: u16,
    grpc_status: Option<u8>,
    pub(crate) flag: ResponseFlag,
    pub(crate) span: Option<Box<RequestSpan>>,
    /// Where it is counted; known once an endpoint, or that there is none, is.
    pub(crate) series: Option<HttpSeries>,
    upstream: Option<(ActiveRequest, Option<Lease>)>,
    /// The body was not wanted: neither connection can be used again.
    unwanted: bool,
    /// Bytes that the client sent beyond the request, after an upgrade.
    tunnelled: u64,
    serving: Option<Serving>,
    ended: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(ResponseFlag::DownstreamClosed);
    }
}

impl Exchange {
    pub(crate) fn new(started: Instant, span: Option<Box<RequestSpan>>) -> Self {
        Self {
            started,
            request_bytes: RequestBytes::default(),
            response_bytes: 0,
            status: 0,
            grpc_status: None,
            flag: ResponseFlag::None,
            span,
            series: None,
            upstream: None,
            unwanted: false,
            tunnelled: 0,
            serving: None,
            ended: false,
        }
    }

    /// The application is at work on it until the end.
    pub(crate) fn serving(&mut self, serving: Serving) {
        self.serving = Some(serving);
    }

    pub(crate) fn request_bytes(&mut self, bytes: RequestBytes) {
        self.request_bytes = bytes;
    }

    /// Tells the clock when the request is read to its end.
    pub(crate) fn tell_when_read(&self, clock: &Arc<Clock>) {
        self.request_bytes.tell(clock);
    }

    /// The response has begun, and comes over this connection.
    pub(crate) fn lent(&mut self, active: ActiveRequest, lease: Lease, status: http::StatusCode) {
        let upgraded = status == http::StatusCode::SWITCHING_PROTOCOLS;
        self.unwanted = self.request_bytes.is_unwanted(status);
        let goes_on = !upgraded && !self.unwanted && !self.request_bytes.all_sent();
        let lease = match lease {
            Lease::Http1(connection) if goes_on => {
                active.upstream().see_out(connection);
                None
            }
            lease => Some(lease),
        };
        self.upstream = Some((active, lease));
    }

    /// Whether the answer came instead of a body that was waited with.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.unwanted
    }

    /// What the client did, if its request broke off.
    pub(crate) fn clients_fault(&self) -> Option<ResponseFlag> {
        self.request_bytes.broken()
    }

    /// What went each way after an upgrade.
    pub(crate) fn tunnelled(&mut self, sent: u64, received: u64) {
        self.tunnelled = sent;
        self.response_bytes += received;
    }

    /// The connection that must be driven for the response to come.
    pub(crate) fn connection(&mut self) -> Option<&mut http1::Connection> {
        match &mut self.upstream {
            Some((_, Some(Lease::Http1(connection)))) => Some(connection),
            _ => None,
        }
    }

    /// Takes the connection out of HTTP, after an upgrade.
    pub(crate) fn take_connection(&mut self) -> Option<http1::Connection> {
        match self.upstream.as_mut()?.1.take() {
            Some(Lease::Http1(connection)) => Some(connection),
            _ => None,
        }
    }

    /// The head of the response.
    pub(crate) fn head(&mut self, status: http::StatusCode, headers: &HeaderMap, seen: Survey) {
        self.status = status.as_u16();
        if seen.grpc_status {
            self.note_grpc(headers);
        }
        if let Some(span) = &mut self.span {
            span.mark_first_byte();
        }
    }

    /// A frame of the response body has passed.
    pub(crate) fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.response_bytes += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref() {
            self.note_grpc(trailers);
            if let (Some((active, _)), Some(code)) = (&self.upstream, self.grpc_status) {
                active.member().answered_grpc(code);
            }
        }
    }

    fn note_grpc(&mut self, headers: &HeaderMap) {
        if let Some(value) = headers.get("grpc-status") {
            self.grpc_status = value.to_str().ok().and_then(|v| v.parse().ok());
        }
    }

    /// The end. `flag` counts unless an earlier cause was noted.
    pub(crate) fn finish(mut self, flag: ResponseFlag) {
        self.end(flag);
    }

    fn end(&mut self, flag: ResponseFlag) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // A request that breaks off takes its answer with it, on whichever side that is seen first.
        let flag = match flag {
            ResponseFlag::UpstreamClosed | ResponseFlag::DownstreamClosed => {
                self.clients_fault().unwrap_or(flag)
            }
            flag => flag,
        };
        if self.flag.is_none() {
            self.flag = flag;
        }
        let whole = flag.is_none();
        if let (Some((active, _)), ResponseFlag::UpstreamClosed) = (&self.upstream, flag) {
            active.member().failed();
        }
        if let Some((active, lease)) = self.upstream.take()
            && whole
            && !self.unwanted
            && let Some(Lease::Http1(connection)) = lease
        {
            active.upstream().give_back(connection);
        }
        let request_bytes = self.request_bytes.value() + self.tunnelled;
        if let Some(series) = &self.series {
            series.record(
                self.status,
                self.grpc_status,
                self.flag,
                since(self.started),
                request_bytes,
                self.response_bytes,
            );
        }
        if let Some(mut span) = self.span.take() {
            if let Ok(status) = http::StatusCode::from_u16(self.status) {
                span.status(status);
            }
            if let Some(code) = self.grpc_status {
                span.grpc_status(u32::from(code));
            }
            span.flag(self.flag);
            span.bytes(request_bytes, self.response_bytes);
            span.finish();
        }
    }
}
