//! Opaque connections through two sidecars, and connections whose protocol nobody declared.

use std::time::{Duration, Instant};

use heddle_proto::mesh::{Address, Protocol, address};
use heddle_proxy_config::kind::Kind;
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{self, Client};
use crate::support::mesh::{NODE, Pair, PodSpec};
use crate::support::resources::{endpoint, set_pod_address};
use crate::support::tcp::{Server, connect, exchange, read_all, read_exact};

/// Reads to the end and answers with all of it and its length.
fn answering_at_the_end(pair: &Pair) -> Server {
    Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let (read, _) = read_all(&mut stream).await;
        stream.write_all(&read).await.unwrap();
        stream.write_all(b" and goodbye").await.unwrap();
    })
}

fn greeting(pair: &Pair) -> Server {
    Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        stream.write_all(b"220 welcome\r\n").await.unwrap();
        let said = read_exact(&mut stream, 4).await;
        stream.write_all(&said).await.unwrap();
    })
}

#[test]
fn the_client_ends_first_and_is_answered() {
    let pair = Pair::new(Protocol::Tcp);
    let _server = answering_at_the_end(&pair);
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        stream.write_all(&[7; 300_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let (answer, end) = read_all(&mut stream).await;
        end.unwrap();
        assert_eq!(answer.len(), 300_000 + 12);
        assert!(answer.ends_with(b"\x07 and goodbye"));
    });
    let sent = |name: &str| pair.client.sidecar().metric(name, &["reporter=\"source\""]);
    eventually("the connection is counted", || {
        sent("istio_tcp_connections_closed_total") == 1.0
    });
    assert_eq!(sent("istio_tcp_received_bytes_total"), 300_000.0);
    assert_eq!(sent("istio_tcp_sent_bytes_total"), 300_012.0);
}

#[test]
fn the_server_ends_first_and_still_listens() {
    let pair = Pair::new(Protocol::Tcp);
    let (heard, hearing) = std::sync::mpsc::channel();
    let _server = Server::start(&pair.server.netns, 8080, move |mut stream, _| {
        let heard = heard.clone();
        async move {
            stream.write_all(b"that is all").await.unwrap();
            stream.shutdown().await.unwrap();
            heard.send(read_all(&mut stream).await.0).unwrap();
        }
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        let (said, end) = read_all(&mut stream).await;
        assert_eq!((said, end.is_ok()), (b"that is all".to_vec(), true));
        stream.write_all(b"understood").await.unwrap();
    });
    let heard = hearing.recv_timeout(crate::support::PATIENCE).unwrap();
    assert_eq!(heard, b"understood");
}

#[test]
fn a_reset_is_carried_as_a_reset() {
    let pair = Pair::new(Protocol::Tcp);
    let _server = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        read_exact(&mut stream, 4).await;
        stream.write_all(b"half of").await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        stream.write_all(b"ping").await.unwrap();
        let (_, end) = read_all(&mut stream).await;
        let kind = end.unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    });
}

/// As long as others wait for a client to begin (Istio's detection of protocols); nothing takes so long
/// by itself, on a busy machine either.
const STALL: Duration = Duration::from_secs(5);

fn server_first(protocol: Protocol) {
    let pair = Pair::new(protocol);
    let _server = greeting(&pair);
    let web = pair.web.at();
    let took = pair.client.run(async move {
        let begun = Instant::now();
        let mut stream = connect(web).await;
        assert_eq!(read_exact(&mut stream, 13).await, b"220 welcome\r\n");
        let took = begun.elapsed();
        stream.write_all(b"QUIT").await.unwrap();
        assert_eq!(read_all(&mut stream).await.0, b"QUIT");
        took
    });
    assert!(took < STALL, "stalled for {took:?}");
}

#[test]
fn a_declared_server_speaks_first_without_a_stall() {
    server_first(Protocol::Tcp);
}

#[test]
fn an_undeclared_server_speaks_first_without_a_stall() {
    server_first(Protocol::Unspecified);
}

#[test]
fn a_few_undeclared_letters_do_not_wait_for_a_line() {
    let pair = Pair::new(Protocol::Unspecified);
    let _server = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let said = read_exact(&mut stream, 4).await;
        stream.write_all(&said).await.unwrap();
    });
    let web = pair.web.at();
    let took = pair.client.run(async move {
        let begun = Instant::now();
        assert_eq!(exchange_open(web, b"ping").await, b"ping");
        begun.elapsed()
    });
    assert!(took < STALL, "stalled for {took:?}");
}

/// Sends without ending, and reads what comes back.
async fn exchange_open(to: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(to).await;
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream).await.0
}

#[test]
fn undeclared_http_is_detected() {
    let pair = Pair::new(Protocol::Unspecified);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    let own = pair.client.id().to_string();
    pair.client.run(async move {
        let mut one = Client::http1(web).await.unwrap();
        for _ in 0..5 {
            let answer = one.get("/").await.unwrap();
            assert!(answer.text().starts_with("GET / HTTP/1.1"));
            assert!(answer.seen("x-forwarded-client-cert")[0].ends_with(&own));
        }
        let mut two = Client::http2(web).await.unwrap();
        for _ in 0..5 {
            assert!(two.get("/").await.unwrap().text().contains("HTTP/2.0"));
        }
        // A client that thinks before it asks.
        let mut slow = connect(web).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let request = b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        slow.write_all(request).await.unwrap();
        let answer = read_all(&mut slow).await.0;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("GET /slow"), "{answer}");
        assert!(answer.contains("x-forwarded-client-cert"), "{answer}");
    });
    assert_eq!(app.requests(), 11);
}

#[test]
fn a_pod_is_called_by_its_own_address() {
    let pair = Pair::new(Protocol::Http1);
    set_pod_address(&pair.mesh.control, &pair.server, vec![]);
    let _app = App::echo(&pair.server.netns, 9000, "server");
    let (to, own) = (pair.server.at(9000), pair.client.id().to_string());
    pair.client.run(async move {
        let mut client = Client::http1(to).await.unwrap();
        let answer = client.get("/").await.unwrap();
        assert!(answer.seen("x-forwarded-client-cert")[0].ends_with(&own));
    });
}

#[test]
fn ipv6_is_meshed_alike() {
    let pair = Pair::new(Protocol::Http1);
    let to = (pair.server.ip6, 9000).into();
    let mut own = endpoint(&pair.server, &[]);
    own.address = pair.server.ip6.to_string();
    let address = Address {
        kind: Some(address::Kind::Workload(own)),
        ..Default::default()
    };
    let name = pair.server.ip6.to_string();
    pair.mesh.control.set(Kind::Address, &name, &address);
    let _app = App::echo(&pair.server.netns, 9000, "server");
    let answer = pair.client.run(http::get(to, "/")).unwrap();
    assert!(answer.seen("x-forwarded-client-cert")[0].ends_with("sa/client"));
    // The server's sidecar is STRICT there too.
    let node = &pair.mesh.node;
    let refused = node.run(async move { exchange(to, b"GET / HTTP/1.1\r\n\r\n").await });
    assert!(!refused.contains("HTTP"), "{refused}");
}

#[test]
fn applications_have_more_connections_together_than_there_are_ports() {
    const PORTS: usize = 16;
    let pair = Pair::new(Protocol::Tcp);
    set_pod_address(&pair.mesh.control, &pair.server, vec![]);
    let echo = |port| {
        Server::start(&pair.server.netns, port, |mut stream, _| async move {
            let said = read_exact(&mut stream, 4).await;
            stream.write_all(&said).await.unwrap();
            read_all(&mut stream).await.1.unwrap();
        })
    };
    let _servers = [8080, 9000].map(echo);
    let range = format!(
        "echo 40000 {} > /proc/sys/net/ipv4/ip_local_port_range",
        40_000 + PORTS - 1
    );
    pair.server.netns.exec("sh", &["-c", &range]);
    let to = [pair.web.at(), pair.server.at(9000)];
    pair.client.run(async move {
        let mut held = Vec::new();
        for to in [to; PORTS * 3 / 4].into_iter().flatten() {
            let mut stream = connect(to).await;
            stream.write_all(b"ping").await.unwrap();
            assert_eq!(read_exact(&mut stream, 4).await, b"ping");
            held.push(stream);
        }
    });
}

#[test]
fn an_address_that_the_mesh_does_not_know_is_passed_through() {
    let pair = Pair::new(Protocol::Http1);
    let _server = Server::start(&pair.mesh.node, 7000, |mut stream, _| async move {
        let said = read_exact(&mut stream, 5).await;
        stream.write_all(&said).await.unwrap();
    });
    pair.client.run(async {
        assert_eq!(exchange((NODE, 7000).into(), b"hello").await, "hello");
    });
}

#[test]
fn a_port_that_the_service_does_not_have_is_refused_and_counted() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let ip = pair.web.ip;
    pair.client.run(async move {
        assert_eq!(
            exchange((ip, 81).into(), b"GET / HTTP/1.1\r\n\r\n").await,
            ""
        );
    });
    let sidecar = pair.client.sidecar();
    sidecar.logs(&["refused", "no such port", "10.96.0.1:81"]);
    let refused = sidecar.metric(
        "heddle_connections_refused_total",
        &["reason=\"no-such-port\""],
    );
    assert_eq!(refused, 1.0);
}

#[test]
fn an_opaque_port_is_not_looked_at() {
    let server = PodSpec {
        environment: vec![("HEDDLE_OPAQUE_PORTS", "9000,9100-9200".into())],
        ..PodSpec::new("server")
    };
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), server);
    set_pod_address(&pair.mesh.control, &pair.server, vec![]);
    let _apps = [9000, 9101, 9300].map(|port| App::echo(&pair.server.netns, port, "server"));
    for (port, looked_at) in [(9000, false), (9101, false), (9300, true)] {
        let answer = pair.client.run(http::get(pair.server.at(port), "/"));
        let identity = answer.unwrap().seen("x-forwarded-client-cert");
        assert_eq!(!identity.is_empty(), looked_at, "{port}");
    }
}
