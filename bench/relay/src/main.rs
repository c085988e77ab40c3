//! `heddle-bench-relay`: what a pair of sidecars costs at least when it is made of hyper, tokio and
//! rustls: HTTP/1.1 in and out, mutual TLS 1.3 between the two. It sends to one address, or every tenth
//! request to a second: so that as many servers have as many requests as those of who follows routes.
//!
//! It has no routes, no metrics, no traces, no timeouts and no limits, and it is for comparisons
//! alone: never a sidecar.

mod relay;
#[cfg(test)]
mod tests;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::{io, thread};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Builder, LocalOptions};

use crate::relay::{Relay, Role};
use crate::tls::{Files, TlsError};

const USAGE: &str =
    "usage: heddle-bench-relay client TO[,TENTH] CERTIFICATE KEY ROOT SERVER_ID [THREADS]
       heddle-bench-relay server TO CERTIFICATE KEY ROOT [THREADS]

client: takes HTTP/1.1 on 15001 and sends it over mutual TLS to TO (an address and a port), every
        tenth request to TENTH if there is one; their certificates must name SERVER_ID (a URI)
server: takes mutual TLS on 15006 and sends it to TO, in the clear, from 127.0.0.6";

/// Where a pod's redirect rules lead what goes out.
const OUTBOUND: u16 = 15001;
/// Where they lead what comes in.
const INBOUND: u16 = 15006;
/// Pending connections that the kernel holds for one listener, as our sidecar's.
const BACKLOG: i32 = 4096;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{USAGE}")]
    Usage,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot listen on port {0}: {1}")]
    Listen(u16, io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-bench-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<(), Error> {
    let [role, to, certificate, key, root, rest @ ..] = args else {
        return Err(Error::Usage);
    };
    let to: Result<Vec<SocketAddr>, _> = to.split(',').map(str::parse).collect();
    let to = to.map_err(|_| Error::Usage)?;
    if to.len() > 2 {
        return Err(Error::Usage);
    }
    let files = Files {
        certificate: Path::new(certificate),
        key: Path::new(key),
        root: Path::new(root),
    };
    let (port, role, rest) = match (*role, rest) {
        ("client", [server, rest @ ..]) => {
            let role = Role::Client(tls::connector(&files, server)?);
            (OUTBOUND, role, rest)
        }
        ("server", rest) => (INBOUND, Role::Server(tls::acceptor(&files)?), rest),
        _ => return Err(Error::Usage),
    };
    let threads: usize = match rest {
        [] => 1,
        [threads] => threads.parse().map_err(|_| Error::Usage)?,
        _ => return Err(Error::Usage),
    };
    let (role, to) = (Arc::new(role), Arc::<[SocketAddr]>::from(to));
    let mut workers = Vec::new();
    for _ in 0..threads {
        let listener = listen(port).map_err(|error| Error::Listen(port, error))?;
        let (role, to) = (Arc::clone(&role), Arc::clone(&to));
        let worker = thread::Builder::new()
            .name("relay".into())
            .spawn(move || worker(listener, &role, &to))
            .map_err(Error::Thread)?;
        workers.push(worker);
    }
    for worker in workers {
        match worker.join() {
            Ok(done) => done.map_err(Error::Thread)?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(())
}

/// A thread with its own runtime, listener and pool.
fn worker(listener: std::net::TcpListener, role: &Role, to: &[SocketAddr]) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(Relay::new(role.clone(), to).run(listener))
}

fn listen(port: u16) -> io::Result<std::net::TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
