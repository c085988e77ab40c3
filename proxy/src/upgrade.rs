//! Connections and streams that become tunnels: protocol upgrades over HTTP/1.1 (WebSocket and others,
//! RFC 9110 §7.8), CONNECT in both versions, and extended CONNECT over HTTP/2 (RFC 8441). What the
//! client sends before the server has agreed waits: hyper does not read it. When the server agrees,
//! the two sides are joined and everything after the heads is opaque; the request lasts until then.
//!
//! Over HTTP/1.1 the task that served the downstream connection goes on with it; over HTTP/2 a tunnel
//! is a task of its own, of which a connection has no more than streams.

use std::cell::Cell;
use std::error::Error;

use h2::RecvStream;
use heddle_proxy_telemetry::ResponseFlag;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use crate::body::{Bequest, Incoming, ReplyBody};
use crate::exchange::Exchange;
use crate::head::{self, Survey};
use crate::http2;
use crate::io::Io;
use crate::relay::{Meter, Tally, relay};
use crate::upstream::{Version, http1};

/// A request to become a tunnel.
pub(crate) struct Upgrade {
    downstream: Asker,
    /// By CONNECT: any 2xx agrees. Else 101 does.
    connect: bool,
}

/// Who asks to become one.
enum Asker {
    Http1(OnUpgrade),
    /// What it sends.
    Http2(RecvStream),
}

/// Where a connection keeps the tunnel that it is to become.
#[derive(Default)]
pub(crate) struct Upgraded(Cell<Option<Tunnel>>);

struct Tunnel {
    sides: Sides,
    exchange: Exchange,
}

/// The same version of HTTP on both.
enum Sides {
    Http1(OnUpgrade, http1::Connection),
    Http2(RecvStream, oneshot::Receiver<Bequest>, http2::Tunnel),
}

impl Upgrade {
    /// The tunnel that a request asks for, if it does.
    pub(crate) fn of(
        request: &mut Request<Incoming>,
        seen: Survey,
        version: Version,
    ) -> Option<Self> {
        let connect = request.method() == Method::CONNECT;
        let asked =
            connect || version == Version::Http1 && head::is_upgrade(request.headers(), seen);
        if !asked {
            return None;
        }
        let downstream = match version {
            Version::Http1 => Asker::Http1(on(request)),
            Version::Http2 => {
                match std::mem::replace(request.body_mut(), Incoming::Empty) {
                    Incoming::Http2(body) => Asker::Http2(body.into_stream()),
                    // Over before it began.
                    Incoming::Empty | Incoming::Http1(_) => return None,
                }
            }
        };
        Some(Self {
            downstream,
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
            // A 2xx that would be taken for a tunnel, and to which there is no other side.
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return;
        };
        response.headers_mut().remove(CONTENT_LENGTH);
        match &tunnel.sides {
            Sides::Http1(..) => upgraded.0.set(Some(tunnel)),
            Sides::Http2(..) => {
                tokio::task::spawn_local(tunnel.join());
            }
        }
    }

    fn tunnel(self, response: &mut Response<ReplyBody>) -> Option<Tunnel> {
        let mut exchange = response.body_mut().take_exchange()?;
        let sides = match self.downstream {
            Asker::Http1(downstream) => Sides::Http1(downstream, exchange.take_connection()?),
            Asker::Http2(downstream) => {
                let upstream = response.body_mut().take_tunnel()?;
                let (heir, head_sent) = oneshot::channel();
                response.body_mut().hand_over(heir);
                Sides::Http2(downstream, head_sent, upstream)
            }
        };
        Some(Tunnel { sides, exchange })
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
            sides,
            mut exchange,
        } = self;
        let tally = Tally::default();
        let joined = async {
            let mut _busy = None;
            let (mut downstream, mut upstream): (Io, Io) = match sides {
                Sides::Http1(downstream, upstream) => {
                    let (downstream, upstream) = tokio::join!(downstream, upstream.into_io());
                    (taken_out(downstream?)?, upstream?)
                }
                Sides::Http2(received, head_sent, upstream) => {
                    let Bequest { stream, under_way } = head_sent.await?;
                    _busy = under_way;
                    let downstream = http2::Tunnel::new(stream, received);
                    (downstream.into(), upstream.into())
                }
            };
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

/// The connection that HTTP/1.1 was spoken over.
fn taken_out(upgraded: hyper::upgrade::Upgraded) -> Result<Io, &'static str> {
    let parts = upgraded.downcast::<TokioIo<Io>>();
    let parts = parts.map_err(|_| "it is no connection of ours")?;
    Ok(parts.io.into_inner().after_upgrade(parts.read_buf))
}
