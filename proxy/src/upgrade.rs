//! Connections and streams that become tunnels: protocol upgrades over HTTP/1.1 (WebSocket and others,
//! RFC 9110 §7.8), CONNECT in both versions, and extended CONNECT over HTTP/2 (RFC 8441). What the
//! client sends before the server has agreed waits: hyper does not read it. When the server agrees,
//! the two sides are joined and everything after the heads is opaque; the request lasts until then.
//!
//! Over HTTP/1.1 the task that served the downstream connection goes on with it; over HTTP/2 a tunnel
//! is a task of its own, of which a connection has no more than streams.

use std::cell::Cell;
use std::error::Error;

use heddle_proxy_telemetry::ResponseFlag;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;

use crate::body::ReplyBody;
use crate::exchange::Exchange;
use crate::head::{self, Survey};
use crate::io::Io;
use crate::relay::{Meter, Tally, relay};
use crate::upstream::{Version, http1};

/// A request to become a tunnel.
pub(crate) struct Upgrade {
    downstream: OnUpgrade,
    version: Version,
    /// By CONNECT: any 2xx agrees. Else 101 does.
    connect: bool,
}

/// Where a connection keeps the tunnel that it is to become.
#[derive(Default)]
pub(crate) struct Upgraded(Cell<Option<Tunnel>>);

struct Tunnel {
    downstream: OnUpgrade,
    upstream: Upstream,
    exchange: Exchange,
}

enum Upstream {
    Http1(http1::Connection),
    Http2(OnUpgrade),
}

impl Upgrade {
    /// The tunnel that a request asks for, if it does.
    pub(crate) fn of<B>(request: &mut Request<B>, seen: Survey, version: Version) -> Option<Self> {
        let connect = request.method() == Method::CONNECT;
        let asked =
            connect || version == Version::Http1 && head::is_upgrade(request.headers(), seen);
        asked.then(|| Self {
            downstream: on(request),
            version,
            connect,
        })
    }

    /// Joins the sides if the server agreed: now, or at the end of the downstream connection's HTTP.
    pub(crate) fn finish(self, response: &mut Response<ReplyBody>, upgraded: &Upgraded) {
        let status = response.status();
        let agreed = match self.connect {
            true => status.is_success(),
            false => status == StatusCode::SWITCHING_PROTOCOLS,
        };
        if !agreed {
            return;
        }
        let Some(tunnel) = self.tunnel(response) else {
            // A 2xx that hyper would take for a tunnel, and to which there is no other side.
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return;
        };
        response.headers_mut().remove(CONTENT_LENGTH);
        match &tunnel.upstream {
            Upstream::Http1(_) => upgraded.0.set(Some(tunnel)),
            Upstream::Http2(_) => {
                tokio::task::spawn_local(tunnel.join());
            }
        }
    }

    fn tunnel(self, response: &mut Response<ReplyBody>) -> Option<Tunnel> {
        let upstream = match self.version {
            Version::Http1 => None,
            Version::Http2 if response.status() != StatusCode::OK => return None,
            Version::Http2 => Some(Upstream::Http2(on(&mut *response))),
        };
        let mut exchange = response.body_mut().take_exchange()?;
        let upstream = match upstream {
            Some(upstream) => upstream,
            None => Upstream::Http1(exchange.take_connection()?),
        };
        Some(Tunnel {
            downstream: self.downstream,
            upstream,
            exchange,
        })
    }
}

impl Upgraded {
    /// Joins the connections, if there was an upgrade, until they end.
    pub(crate) async fn relay(&self) {
        if let Some(tunnel) = self.0.take() {
            tunnel.join().await;
        }
    }
}

impl Tunnel {
    async fn join(self) {
        let Self {
            downstream,
            upstream,
            mut exchange,
        } = self;
        let tally = Tally::default();
        let joined = async {
            let upstream = async {
                match upstream {
                    Upstream::Http1(connection) => connection.into_io().await,
                    Upstream::Http2(stream) => Ok(stream.await?.into()),
                }
            };
            let (downstream, upstream) = tokio::join!(downstream, upstream);
            let (mut downstream, mut upstream) = (taken_out(downstream?), upstream?);
            relay(&mut downstream, &mut upstream, Meter::Tally(&tally)).await?;
            Ok::<_, Box<dyn Error>>(())
        };
        let ended = Box::pin(joined).await;
        exchange.tunnelled(tally.sent.get(), tally.received.get());
        match ended {
            Ok(()) => exchange.finish(ResponseFlag::None),
            Err(error) => {
                tracing::debug!(error, "tunnel broke off");
                exchange.finish(match tally.flag.get() {
                    ResponseFlag::None => ResponseFlag::UpstreamClosed,
                    flag => flag,
                });
            }
        }
    }
}

/// A connection of ours, or a stream of one.
fn taken_out(upgraded: hyper::upgrade::Upgraded) -> Io {
    match upgraded.downcast::<TokioIo<Io>>() {
        Ok(parts) => parts.io.into_inner().after_upgrade(parts.read_buf),
        Err(stream) => stream.into(),
    }
}
