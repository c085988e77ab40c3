//! Sockets in the node namespace for a program that runs in the root one.
//!
//! A socket belongs to the namespace it was made in, whoever uses it later. One thread lives in the
//! node namespace and makes them; it ends when the last handle is dropped.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdUdp},
    sync::mpsc,
    thread,
};

use nix::sched::{CloneFlags, setns};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::oneshot,
};

use crate::{NodeError, netns};

type Job = Box<dyn FnOnce() + Send>;

/// Makes sockets in the node namespace.
#[derive(Debug, Clone)]
pub struct NodeSockets {
    jobs: mpsc::Sender<Job>,
}

impl NodeSockets {
    /// Starts the thread in the named network namespace.
    pub fn open(netns: &str) -> Result<Self, NodeError> {
        let file = netns::open(netns)?;
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (entered, answer) = mpsc::channel();
        let what = format!("cannot enter network namespace {netns}");
        let live = move || {
            let result = setns(file, CloneFlags::CLONE_NEWNET);
            let failed = result.is_err();
            let _ = entered.send(result);
            if failed {
                return;
            }
            while let Ok(job) = inbox.recv() {
                job();
            }
        };
        thread::Builder::new()
            .name("node-sockets".to_owned())
            .spawn(live)
            .map_err(NodeError::system("cannot start a thread"))?;
        let result = answer.recv().unwrap_or(Err(nix::errno::Errno::ECHILD));
        result.map_err(NodeError::system(what))?;
        Ok(Self { jobs })
    }

    /// A TCP listener on an address of the node.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = self
            .make(move || {
                let listener = StdListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .await?;
        TcpListener::from_std(listener)
    }

    /// A UDP socket on an address of the node.
    pub async fn udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self
            .make(move || {
                let socket = StdUdp::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .await?;
        UdpSocket::from_std(socket)
    }

    /// A connection from the node, as the kubelet makes its probes'. The caller bounds the wait.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self
            .make(move || match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            })
            .await?;
        socket.connect(address).await
    }

    async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the node namespace is gone");
        let (sender, made) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody waits any more: the socket is closed again.
            let _ = sender.send(make());
        });
        self.jobs.send(job).map_err(|_| gone())?;
        made.await.map_err(|_| gone())?
    }
}
