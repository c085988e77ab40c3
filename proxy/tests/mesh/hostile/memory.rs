//! What a sidecar holds for peers that give or take nothing: figures, and their bounds.

use std::time::Duration;

use bytes::Bytes;
use heddle_proto::mesh::{MtlsMode, Protocol};
use http::Response;
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::frames::{DATA, END_HEADERS, Frames, GET, HEADERS, WINDOW_UPDATE, block};
use crate::support::http::full;
use crate::support::mesh::{Pair, PodSpec};
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

/// A stranger may have 1 MiB on the way in one connection, and that twice over for bookkeeping.
const STRANGER: u64 = 2 << 20;

#[test]
fn a_stranger_whose_bodies_nobody_reads() {
    let server = PodSpec {
        mtls: MtlsMode::Permissive,
        ..PodSpec::new("server")
    };
    let pair = Pair::with(Protocol::Http2, PodSpec::new("client"), server);
    let _app = App::http(&pair.server.netns, 8080, |request| async move {
        let _unread = request;
        std::future::pending().await
    });
    let to = pair.server.at(8080);
    let before = pair.server.sidecar().memory();
    let frames = pair.mesh.node.run(async move {
        let mut frames = Frames::open(to).await;
        // Until the connection's window is as wide as it gets.
        while frames.next().await.unwrap().kind != WINDOW_UPDATE {}
        for stream in (1..=31).step_by(2) {
            let head = block(&GET);
            frames
                .send(HEADERS, END_HEADERS, stream, &head)
                .await
                .unwrap();
            for _ in 0..4 {
                frames.send(DATA, 0, stream, &[0; 16_000]).await.unwrap();
            }
        }
        frames
    });
    let (mut last, mut most) = (0, 0);
    while last != pair.server.sidecar().memory() {
        last = pair.server.sidecar().memory();
        most = last.max(most);
        std::thread::sleep(Duration::from_millis(300));
    }
    drop(frames);
    let grown = most.saturating_sub(before);
    println!(
        "a stranger's unread bodies of 1000 KiB: memory grew by {} KiB",
        grown >> 10
    );
    assert!(grown <= STRANGER, "{grown}");
}
