//! An application for a pod: it sends back what it is sent, over HTTP/1.1, gRPC and WebSocket. When
//! it is told to end it does so as a good application does: it takes nothing new, answers what it
//! has, ends its streams between two messages with a status that says why, and waits for them.
//! On request it is a bad one instead.

mod grpc;
mod http1;
mod reflect;

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where HTTP/1.1 and WebSocket are spoken.
pub const HTTP: u16 = 8080;
/// Where gRPC is.
pub const GRPC: u16 = 8081;
/// Where it says what it sees, in HTTP/1.1, HTTP/2 and gRPC.
pub const REFLECTED: [u16; 3] = [8080, 9090, 7070];
/// How long connections may take to end.
const GRACE: Duration = Duration::from_secs(15);

/// What kind of application it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It answers.
    Echo,
    /// It accepts connections, reads, and never answers.
    Stall,
    /// It accepts connections and resets each as soon as something has come.
    Reset,
    /// It answers with what it saw, on [`REFLECTED`].
    Reflect,
}

/// Serves on a pod's ports until `stop` says true, and what is open has ended.
///
/// # Errors
/// When a port is taken.
pub async fn run(behaviour: Behaviour, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    if behaviour == Behaviour::Reflect {
        return reflect(stop).await;
    }
    let (http, grpc) = (listen(HTTP).await?, listen(GRPC).await?);
    serve(behaviour, http, grpc, stop).await;
    Ok(())
}

async fn reflect(stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let mut ports = JoinSet::new();
    for port in REFLECTED {
        let listener = listen(port).await?;
        let mut stop = stop.clone();
        ports.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    () = told(&mut stop) => break,
                    // An error: the peer has given up in the meantime.
                    Ok((stream, _)) = listener.accept() => {
                        open.spawn(reflect::serve(stream, stop.clone()));
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        });
    }
    while ports.join_next().await.is_some() {}
    Ok(())
}

/// The same on these sockets.
pub async fn serve(
    behaviour: Behaviour,
    http: TcpListener,
    grpc: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    loop {
        let (stream, is_grpc) = tokio::select! {
            () = told(&mut stop) => break,
            accepted = http.accept() => (accepted, false),
            accepted = grpc.accept() => (accepted, true),
            Some(_) = open.join_next() => continue,
        };
        // The peer has given up in the meantime.
        let Ok((stream, _)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let stop = stop.clone();
        match (behaviour, is_grpc) {
            (Behaviour::Reflect, _) => open.spawn(reflect::serve(stream, stop)),
            (Behaviour::Echo, true) => open.spawn(grpc::serve(stream, stop)),
            (Behaviour::Echo, false) => open.spawn(http1::serve(stream, stop)),
            (Behaviour::Stall, _) => open.spawn(ended(stall(stream), stop)),
            (Behaviour::Reset, _) => open.spawn(ended(reset(stream), stop)),
        };
    }
    drop((http, grpc));
    let all = async { while open.join_next().await.is_some() {} };
    // What has not ended by then is cut off.
    let _ = tokio::time::timeout(GRACE, all).await;
}

/// On both IPs, or on IPv4 where there is no other.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

async fn ended(work: impl Future<Output = ()>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = work => {}
        () = told(&mut stop) => {}
    }
}

/// Waits until this server is told to end.
async fn told(stop: &mut watch::Receiver<bool>) {
    // An error: whoever could tell is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn stall(stream: TcpStream) {
    let mut ignored = [0; 4096];
    loop {
        match read(&stream, &mut ignored).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn reset(stream: TcpStream) {
    let _ = read(&stream, &mut [0; 4096]).await;
    // Closing it now sends a reset.
    let _ = stream.set_zero_linger();
}

async fn read(stream: &TcpStream, into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(into) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}
