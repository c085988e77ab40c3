//! Connections: accepted while the server is up, cut when it goes away, all gone when it is dropped.

use std::{io, net::SocketAddr, sync::Arc};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::server::Server;

/// Whether the server is to be reachable, and whether it is.
pub(crate) struct Listening {
    wanted: watch::Sender<bool>,
    is_up: watch::Receiver<bool>,
    /// Ends the task, and with it every connection.
    _task: JoinSet<()>,
}

pub(crate) async fn start(
    server: Arc<Server>,
    tls: watch::Receiver<TlsAcceptor>,
) -> io::Result<(Listening, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (wanted, wish) = watch::channel(true);
    let (up, is_up) = watch::channel(true);
    let mut task = JoinSet::new();
    task.spawn(run(server, tls, listener, address, wish, up));
    let listening = Listening {
        wanted,
        is_up,
        _task: task,
    };
    Ok((listening, address))
}

impl Listening {
    /// Returns once it is so.
    pub(crate) async fn set(&self, up: bool) {
        self.wanted.send_replace(up);
        // The task lives as long as we do.
        _ = self.is_up.clone().wait_for(|is_up| *is_up == up).await;
    }
}

async fn run(
    server: Arc<Server>,
    tls: watch::Receiver<TlsAcceptor>,
    listener: TcpListener,
    address: SocketAddr,
    mut wish: watch::Receiver<bool>,
    up: watch::Sender<bool>,
) {
    let mut listener = Some(listener);
    loop {
        let Some(open) = listener.take() else {
            if wish.wait_for(|wanted| *wanted).await.is_err() {
                return;
            }
            // Somebody may hold the port for a moment.
            match TcpListener::bind(address).await {
                Ok(open) => listener = Some(open),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
            continue;
        };
        up.send_replace(true);
        // Dropped, it cuts all that it holds.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = open.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let tls = tls.borrow().clone();
                        connections.spawn(connection(server.clone(), tls, stream));
                    }
                }
                _ = connections.join_next(), if !connections.is_empty() => {}
                gone = wish.wait_for(|wanted| !*wanted) => {
                    if gone.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
        drop(open);
        connections.shutdown().await;
        up.send_replace(false);
    }
}

async fn connection(server: Arc<Server>, tls: TlsAcceptor, stream: TcpStream) {
    _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { server.answer(request).await }
    });
    // A client that goes away is no news.
    _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}
