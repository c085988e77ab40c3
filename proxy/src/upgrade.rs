//! Protocol upgrades over HTTP/1.1 (WebSocket and others, RFC 9110 §7.8): when the server agrees,
//! the two connections are joined and everything after the heads is opaque. The task that served the
//! downstream connection goes on with it, so an upgraded connection is bounded and drained like any
//! other.

use std::cell::Cell;

use http::{Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;

use crate::body::ReplyBody;
use crate::head::{self, Survey};
use crate::io::Io;
use crate::relay::relay;
use crate::upstream::{Version, http1};

/// A request to upgrade.
pub(crate) struct Upgrade(OnUpgrade);

/// Where a connection keeps the upgrade that it was given.
#[derive(Default)]
pub(crate) struct Upgraded(Cell<Option<(OnUpgrade, http1::Connection)>>);

impl Upgrade {
    /// The upgrade that a request asks for, if it does.
    pub(crate) fn of<B>(request: &mut Request<B>, seen: Survey, version: Version) -> Option<Self> {
        (version == Version::Http1 && head::is_upgrade(request.headers(), seen))
            .then(|| Self(on(request)))
    }

    /// Notes it for the end of the downstream connection's HTTP, if the server agreed.
    pub(crate) fn finish(self, response: &mut Response<ReplyBody>, upgraded: &Upgraded) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(upstream) = response.body_mut().take_connection()
        {
            upgraded.0.set(Some((self.0, upstream)));
        }
    }
}

impl Upgraded {
    /// Joins the connections, if there was an upgrade, until they end.
    pub(crate) async fn relay(&self) {
        let Some((downstream, upstream)) = self.0.take() else {
            return;
        };
        let joined = async {
            let (downstream, upstream) = tokio::join!(downstream, upstream.into_io());
            let (mut downstream, mut upstream) = (taken_out(downstream?)?, upstream?);
            relay(&mut downstream, &mut upstream, None).await?;
            Ok::<_, Box<dyn std::error::Error>>(())
        };
        if let Err(error) = joined.await {
            tracing::debug!(error, "upgraded connection broke off");
        }
    }
}

fn taken_out(upgraded: hyper::upgrade::Upgraded) -> Result<Io, &'static str> {
    let parts = upgraded
        .downcast::<TokioIo<Io>>()
        .map_err(|_| "it is not a connection of ours")?;
    Ok(parts.io.into_inner().after_upgrade(parts.read_buf))
}
