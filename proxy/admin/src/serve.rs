//! Binds every endpoint, then serves them until told to stop. Connections are bounded in number and in idle time, and
//! belong to this future: none outlives it. Where there are too many, the one that has been open for longest without a
//! request gives way: who holds connections keeps no kubelet from its answer.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time;
use tower::Service;

use crate::handles::AdminHandles;
use crate::health::Health;
use crate::listen::{Error, everywhere, loopback};
use crate::settings::AdminSettings;
use crate::{admin, health, metrics, probe};

/// Per port: kubelet, scrapers and people are a handful.
const CONNECTIONS: usize = 64;
/// For a request's head, and between two requests: a kubelet closes each time, a scraper comes every 15 s or so.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// For a peer that no longer takes what it asked for; the kernel counts it.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// For answers that are under way at the end.
const END_LIMIT: Duration = Duration::from_secs(2);
/// After a failed accept, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The endpoints, listening and not yet served.
#[derive(Debug)]
pub struct Bound {
    endpoints: [(TcpListener, Router); 4],
    health: Arc<Health>,
}

/// Listens on every port, or says which one cannot be had. Call it on the runtime that will serve.
pub fn bind(settings: AdminSettings, handles: AdminHandles) -> Result<Bound, Error> {
    let ports = settings.ports;
    let health = Arc::new(Health::new(handles.ready.clone()));
    let handles = Arc::new(handles);
    let endpoints = [
        (
            loopback("admin", ports.admin)?,
            admin::router(handles.clone(), health.clone()),
        ),
        (
            everywhere("the app's probes and metrics", ports.app)?,
            probe::router(settings, handles.clone()),
        ),
        (
            everywhere("health", ports.health)?,
            health::router(health.clone()),
        ),
        (
            everywhere("metrics", ports.metrics)?,
            metrics::router(handles),
        ),
    ];
    Ok(Bound { endpoints, health })
}

/// Listens and serves until the shutdown; an error names the port that cannot be had.
pub async fn serve(
    settings: AdminSettings,
    handles: AdminHandles,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    bind(settings, handles)?.serve(shutdown).await;
    Ok(())
}

impl Bound {
    /// The ports that it listens on.
    pub fn ports(&self) -> crate::Ports {
        let [admin, app, health, metrics] = self
            .endpoints
            .each_ref()
            .map(|(listener, _)| listener.local_addr().map_or(0, |address| address.port()));
        crate::Ports {
            admin,
            app,
            health,
            metrics,
        }
    }

    /// Serves until the shutdown, then lets answers that are under way end.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopping) = watch::channel(false);
        let mut servers = JoinSet::new();
        servers.spawn({
            let (health, mut stopping) = (self.health, stopping.clone());
            async move {
                tokio::select! {
                    () = health.watch() => {}
                    () = stopped(&mut stopping) => {}
                }
            }
        });
        for (listener, router) in self.endpoints {
            servers.spawn(accept(listener, router, stopping.clone()));
        }
        shutdown.await;
        stop.send_replace(true);
        while servers.join_next().await.is_some() {}
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut open = Open::default();
    let ended = stopping.clone();
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if open.make_room() => {
                    let requests = Arc::<AtomicUsize>::default();
                    let connection =
                        connection(stream, peer, router.clone(), requests.clone(), ended.clone());
                    open.0.push_back((connections.spawn(connection), requests));
                }
                Ok((_, peer)) => {
                    tracing::debug!(%peer, "too many requests to the sidecar's own endpoints at a time");
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection to the sidecar's own endpoints");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // What has not ended by then is dropped with the set.
    let _ = time::timeout(END_LIMIT, all).await;
}

/// Connections of one port, the oldest first, and how many requests each has under way.
#[derive(Default)]
struct Open(VecDeque<(AbortHandle, Arc<AtomicUsize>)>);

impl Open {
    /// Whether there is room for another, after one without a request has given way if need be.
    fn make_room(&mut self) -> bool {
        self.0.retain(|(connection, _)| !connection.is_finished());
        if self.0.len() < CONNECTIONS {
            return true;
        }
        let idle = |(_, requests): &(_, Arc<AtomicUsize>)| requests.load(Ordering::Relaxed) == 0;
        let oldest = self
            .0
            .iter()
            .position(idle)
            .and_then(|at| self.0.remove(at));
        oldest.is_some_and(|(connection, _)| {
            connection.abort();
            true
        })
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    requests: Arc<AtomicUsize>,
    mut stopping: watch::Receiver<bool>,
) {
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(STALL_LIMIT)) {
        tracing::debug!(%error, "a connection to the sidecar's own endpoints may stall");
    }
    let peer = Peer(peer.ip().to_canonical());
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        let (answer, requests) = (router.clone().call(request), requests.clone());
        requests.fetch_add(1, Ordering::Relaxed);
        async move {
            let answer = answer.await;
            requests.fetch_sub(1, Ordering::Relaxed);
            answer
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(&mut stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.0, %error, "a connection to the sidecar's own endpoints ended early");
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error: whoever would say so is gone, which is the end too.
    let _ = stopping.wait_for(|stop| *stop).await;
}
