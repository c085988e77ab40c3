//! Accepts HTTPS connections. Handshakes run beside each other and are bounded in number and time,
//! and no connection lives for ever, so that nobody can hold all the places. At shutdown nothing
//! new is accepted and what is being answered is answered.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use heddle_identity::incoming::{Share, Shares};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;

/// API servers keep a handful of connections each.
const MAX_CONNECTIONS: usize = 512;
/// So that nobody else who can reach us keeps the API server out.
const MAX_CONNECTIONS_OF_ONE: usize = 32;
/// Of one connection. Each may have a body in memory; an API server opens more connections.
const MAX_STREAMS: u32 = 8;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Then the client is asked to connect anew.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long open requests may take at shutdown, and old connections to close.
const DRAIN: Duration = Duration::from_secs(10);
/// After an accept failed: usually for want of file descriptors, which come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` until `shutdown`, then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    certificate: Certificate,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(certificate.server_config());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let shares = Shares::new(MAX_CONNECTIONS_OF_ONE);
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let next = tokio::select! {
            () = &mut shutdown => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            next = accept(&listener, &places, &shares) => next,
        };
        let Some((stream, place)) = next else {
            continue;
        };
        let connection = Connection {
            acceptor: acceptor.clone(),
            router: router.clone(),
            stopped: stopped.clone(),
        };
        connections.spawn(connection.run(stream, place));
    }
    drop(listener);
    tracing::info!(open = connections.len(), "stopping");
    // Connections hold their own receivers; one that is gone needs no telling.
    let _ = stop.send(true);
    let ended = timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    if ended.is_err() {
        tracing::warn!(
            open = connections.len(),
            "closing connections that did not end in time"
        );
    }
}

/// What a connection takes of the bounds.
type Place = (OwnedSemaphorePermit, Share);

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    shares: &Shares,
) -> Option<(TcpStream, Place)> {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => match shares.take(peer.ip()) {
            Some(share) => Some((stream, (place, share))),
            None => {
                tracing::debug!(%peer, "closed a connection: its address has too many");
                None
            }
        },
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

struct Connection {
    acceptor: TlsAcceptor,
    router: Router,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, _place: Place) {
        let handshake = tokio::select! {
            handshake = timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)) => handshake,
            _ = self.stopped.wait_for(|stopped| *stopped) => return,
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake timed out"),
        };
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HEADER_TIMEOUT)
            .max_concurrent_streams(MAX_STREAMS);
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
            () = sleep(MAX_AGE) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                match timeout(DRAIN, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "connection ended");
        }
    }
}
