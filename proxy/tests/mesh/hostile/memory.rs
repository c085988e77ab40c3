//! What a sidecar holds for peers that give or take nothing: figures, and their bounds.

use std::time::Duration;

use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use http::Response;
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::http::full;
use crate::support::mesh::Pair;
use crate::support::tcp::{Server, connect, read_exact};

/// Readers at a time, and most bytes of memory that each may cost each sidecar: what is read from TLS
/// at a time (256 KiB), twice, and what HTTP holds.
const READERS: usize = 40;
const EACH: u64 = 1 << 20;

/// Begins so many answers and reads nothing of them, until memory has stood still.
fn unread(pair: &Pair, what: &str, request: &'static [u8], first: usize) {
    let to = pair.web.at();
    let before = [&pair.client, &pair.server].map(|pod| pod.sidecar().memory());
    let streams = pair.client.run(async move {
        let mut streams = Vec::new();
        for _ in 0..READERS {
            let mut stream = connect(to).await;
            stream.write_all(request).await.unwrap();
            read_exact(&mut stream, first).await;
            streams.push(stream);
        }
        streams
    });
    let mut last = [0, 0];
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = [&pair.client, &pair.server].map(|pod| pod.sidecar().memory());
        if now == last {
            break;
        }
        last = now;
    }
    drop(streams);
    for ((side, now), before) in ["client", "server"].into_iter().zip(last).zip(before) {
        let each = now.saturating_sub(before) / READERS as u64;
        println!(
            "{what}, {side}'s sidecar: {} KiB for each that never reads",
            each >> 10
        );
        assert!(each <= EACH, "{what}, {side}: {each} bytes");
    }
}

#[test]
fn readers_that_never_read_http() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::http(&pair.server.netns, 8080, |_| async {
        Ok(Response::new(full(Bytes::from_static(&[b'x'; 64 << 20]))))
    });
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    unread(&pair, "HTTP/1.1", request, 15);
}

#[test]
fn readers_that_never_read_bytes() {
    let pair = Pair::new(Protocol::Tcp);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let chunk = vec![b'x'; 1 << 20];
        while stream.write_all(&chunk).await.is_ok() {}
    });
    unread(&pair, "bytes", b"give", 15);
}
