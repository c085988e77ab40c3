//! Protocol upgrades over HTTP/1.1 (WebSocket and others, RFC 9110 §7.8): when the server agrees,
//! the two connections are joined and everything after the heads is opaque.

use http::{Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use crate::body::ReplyBody;
use crate::head;
use crate::limits;
use crate::upstream::Version;

/// A request to upgrade.
pub(crate) struct Upgrade(OnUpgrade);

impl Upgrade {
    /// The upgrade that a request asks for, if it does.
    pub(crate) fn of<B>(request: &mut Request<B>, version: Version) -> Option<Self> {
        (version == Version::Http1 && head::is_upgrade(request.headers()))
            .then(|| Self(on(request)))
    }

    /// Joins the connections if the server agreed.
    pub(crate) fn finish(self, mut response: Response<ReplyBody>) -> Response<ReplyBody> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let upstream = on(&mut response);
        // Ends with either connection.
        tokio::task::spawn_local(async move {
            let (downstream, upstream) = match tokio::join!(self.0, upstream) {
                (Ok(downstream), Ok(upstream)) => (downstream, upstream),
                (Err(error), _) | (_, Err(error)) => {
                    return tracing::debug!(%error, "upgrade broke off");
                }
            };
            let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
            let relayed = copy_bidirectional_with_sizes(
                &mut downstream,
                &mut upstream,
                limits::RELAY_BUFFER,
                limits::RELAY_BUFFER,
            );
            if let Err(error) = relayed.await {
                tracing::debug!(%error, "upgraded connection ended");
            }
        });
        response
    }
}
