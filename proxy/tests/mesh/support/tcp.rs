//! Bytes without a protocol: servers that a test scripts, and what both ends need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;
use super::app::listen;
use super::netns::Netns;

/// A running server.
pub(crate) struct Server {
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    /// Serves each connection with `script`, which is told how many came before.
    pub(crate) fn start<H, F>(netns: &Netns, port: u16, script: H) -> Self
    where
        H: Fn(TcpStream, usize) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let listener = netns.run(async move { listen(port) });
        let serving = netns.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(stream, number));
            }
        });
        Self {
            connections,
            serving,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub(crate) async fn connect(to: SocketAddr) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(to))
        .await
        .unwrap()
        .unwrap()
}

/// Everything until the end; an error is an end too, and said.
pub(crate) async fn read_all(
    stream: &mut (impl AsyncRead + Unpin),
) -> (Vec<u8>, std::io::Result<()>) {
    let mut read = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut read))
        .await
        .unwrap();
    (read, end.map(drop))
}

pub(crate) async fn read_exact(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut read = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut read))
        .await
        .unwrap()
        .unwrap();
    read
}

/// Everything until the empty line of an HTTP/1.1 head.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let n = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
        match n {
            Ok(1) => read.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(read).unwrap()
}

/// Sends bytes over a connection of their own, and gives what comes back until it is closed.
pub(crate) async fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(to).await;
    // An answer may have come, and the connection gone, before all was written.
    let _ = stream.write_all(bytes).await;
    String::from_utf8_lossy(&read_all(&mut stream).await.0).into_owned()
}
