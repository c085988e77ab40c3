//! Who speaks first on a connection whose protocol is not declared. A client that is silent may
//! only be slow, or may be waiting for its server: the application is connected to, and whoever
//! speaks first decides. Nobody is taken for silent by a clock alone.

use std::io;
use std::net::SocketAddr;

use crate::io::Io;
use crate::limits;
use crate::upstream::connect::{Alpn, Link};
use crate::worker::Worker;

/// Who spoke first.
pub(super) enum First {
    /// The client; what it said is read ahead.
    Client,
    /// The application, over this connection.
    Server(Io),
}

/// Waits for the first words on a connection; at most `limit` bytes of the client's are read ahead.
pub(super) async fn words(
    worker: &Worker,
    io: &mut Io,
    app: SocketAddr,
    limit: usize,
) -> io::Result<First> {
    if !io.ahead().is_empty() {
        return Ok(First::Client);
    }
    if let Ok(spoke) = tokio::time::timeout(limits::DETECT_SILENCE, io.read_ahead(limit)).await {
        spoke?;
        return Ok(First::Client);
    }
    let Ok(mut app) = worker.dialer.dial(app, &Link::App, Alpn::Tcp).await else {
        // What the client says decides how it is told that nobody is there.
        io.read_ahead(limit).await?;
        return Ok(First::Client);
    };
    tokio::select! {
        biased;
        spoke = io.read_ahead(limit) => spoke.map(|_| First::Client),
        // An error shows again when it is relayed.
        _ = app.read_ahead(limits::SERVER_FIRST) => Ok(First::Server(app)),
    }
}
