//! Odd bytes at every port that a sidecar has: no panic, no line of the log for each, nothing that reaches
//! the application for somebody who may not, and nothing that goes on by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use heddle_proto::mesh::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};
use crate::support::http;
use crate::support::mesh::{Pair, Pod};

/// How long a peer that was sent something odd may go on before it is left.
const LEFT: Duration = Duration::from_millis(300);

/// Reproducible noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn oddities() -> Vec<Vec<u8>> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut odd: Vec<Vec<u8>> = [
        &b""[..],
        b"\0",
        b"\r\n\r\n\r\n",
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://127.0.0.1:15000/quitquitquit HTTP/1.1\r\nhost: 127.0.0.1:15000\r\n\r\n",
        b"CONNECT 127.0.0.1:15000 HTTP/1.1\r\nhost: 127.0.0.1:15000\r\n\r\nPOST /drain HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\nx",
        b"GET / HTTP/1.1\r\nhost: [::1\r\n\r\n",
        b"GET /%ff%fe%00 HTTP/1.1\r\nhost: \xff\r\n\r\n",
        b"\x16\x03\x01",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03\x01\xff\xff\x01\x00\xff\xfb",
        b"\x16\x03\x03\x00\x00\x16\x03\x03\x00\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\x40\x00",
        b"SSH-2.0-OpenSSH\r\n",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c",
        preface,
    ]
    .iter()
    .map(|bytes| bytes.to_vec())
    .collect();
    odd.push([b"GET /".to_vec(), vec![b'a'; 100_000]].concat());
    let many = (0..500)
        .map(|n| format!("x-{n}: y\r\n"))
        .collect::<String>();
    odd.push(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n").into_bytes());
    for kind in [
        DATA,
        HEADERS,
        2,
        RST_STREAM,
        SETTINGS,
        5,
        PING,
        GOAWAY,
        WINDOW_UPDATE,
        CONTINUATION,
        10,
        0xff,
    ] {
        for (flags, stream, length) in [(0, 0, 0), (0xff, 1, 5), (END_HEADERS, 1, 40), (8, 3, 300)]
        {
            let odd_frame = frame(kind, flags, stream, &noise.bytes(length));
            odd.push([&preface[..], &frame(SETTINGS, 0, 0, &[]), &odd_frame].concat());
        }
    }
    for length in [1, 5, 24, 200, 5000, 70_000] {
        odd.push(noise.bytes(length));
        odd.push(
            [
                &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
                &noise.bytes(length),
            ]
            .concat(),
        );
        odd.push(
            [
                &b"GET / HTTP/1.1\r\n"[..],
                &noise.bytes(length),
                b"\r\n\r\n",
            ]
            .concat(),
        );
    }
    odd
}

/// Sends each to each, a few at a time, and leaves.
async fn annoy(ports: Vec<SocketAddr>) {
    for odd in oddities() {
        let mut all = tokio::task::JoinSet::new();
        for at in ports.clone() {
            let odd = odd.clone();
            all.spawn(async move {
                let Ok(Ok(mut stream)) = timeout(LEFT, TcpStream::connect(at)).await else {
                    return;
                };
                // It may be gone already.
                let _ = timeout(LEFT, stream.write_all(&odd)).await;
                let _ = stream.shutdown().await;
                let mut answer = [0; 16 * 1024];
                while let Ok(Ok(1..)) = timeout(LEFT, stream.read(&mut answer)).await {}
            });
        }
        all.join_all().await;
    }
}

fn ticks(pod: &Pod) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pod.sidecar().pid())).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn odd_bytes_do_nothing() {
    let pair = Pair::new(Protocol::Unspecified);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let own = [15000, 15001, 15006, 15020, 15021, 15053, 15090];
    let outside: Vec<_> = own
        .iter()
        .chain(&[8080, 8081])
        .map(|port| pair.server.at(*port))
        .collect();
    pair.mesh.node.run(annoy(outside));
    assert_eq!(app.requests(), 0, "STRICT lets none of it in");
    assert_eq!(app.connections(), 0);
    let local = |port: &u16| SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), *port));
    let within: Vec<_> = own
        .iter()
        .filter(|port| **port != 15000)
        .flat_map(|port| [local(port), pair.client.at(*port)])
        .chain([pair.web.at(), pair.server.at(15006), pair.server.at(15001)])
        .collect();
    pair.client.run(annoy(within));
    for pod in [&pair.client, &pair.server] {
        assert!(pod.sidecar().is_ready());
        let log = pod.sidecar().log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(
            log.lines().count() < 400,
            "{} lines:\n{log}",
            log.lines().count()
        );
        eventually("nothing is left over", || {
            pod.sidecar().metric("heddle_connections", &[]) < 8.0
        });
        let before = ticks(pod);
        std::thread::sleep(Duration::from_secs(1));
        let spent = ticks(pod) - before;
        assert!(spent < 50, "{spent} hundredths of a second of nothing");
    }
    let web = pair.web.at();
    assert_eq!(pair.client.run(http::get(web, "/")).unwrap().status, 200);
}
