//! The forms that HTTP/1.1 takes: bodies, upgrades, old clients, and what must be refused.

use std::time::Duration;

use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::app::App;
use crate::support::http::{Answer, Client, Error, empty};
use crate::support::mesh::Pair;
use crate::support::tcp::{Server, connect, exchange, read_exact, read_head};

const MIB: usize = 1 << 20;

/// So much without holding it.
fn zeros(bytes: usize) -> crate::support::http::Body {
    let chunk = Bytes::from_static(&[0; 16 * 1024]);
    let frames = (0..bytes / chunk.len()).map(move |_| Ok::<_, Error>(Frame::data(chunk.clone())));
    StreamBody::new(tokio_stream::iter(frames)).boxed_unsync()
}

#[test]
fn large_bodies_stream_both_ways_in_bounded_memory() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::http(&pair.server.netns, 8080, |request| async move {
        let mut body = request.into_body();
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            seen += frame?.data_ref().map_or(0, Bytes::len);
        }
        let reply = Response::builder().header("x-seen", seen);
        Ok(reply.body(zeros(64 * MIB))?)
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let request = client.request("POST", "/").body(zeros(64 * MIB)).unwrap();
        let mut response = client.send(request).await.unwrap();
        assert_eq!(response.headers()["x-seen"], (64 * MIB).to_string());
        // Slow at first: what cannot be written must not pile up.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut seen = 0;
        while let Some(frame) = response.frame().await {
            seen += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        assert_eq!(seen, 64 * MIB);
    });
    for pod in [&pair.client, &pair.server] {
        let memory = pod.sidecar().memory();
        assert!(memory < 64 << 20, "{} MiB", memory >> 20);
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::http(&pair.server.netns, 8080, |_| async {
        Ok(Response::builder().status(413).body(empty())?)
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&[1; 1000]).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    });
}

#[test]
fn an_upgrade_joins_the_connections() {
    let pair = Pair::new(Protocol::Http1);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                       upgrade: websocket\r\n\r\nearly";
        stream.write_all(answer).await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..n]).await.unwrap();
        }
        stream.write_all(b"bye").await.unwrap();
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        let request = b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
                        upgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert_eq!(read_exact(&mut stream, 5).await, b"early");
        for n in 0..50u8 {
            stream.write_all(&[n; 100]).await.unwrap();
            assert_eq!(read_exact(&mut stream, 100).await, [n; 100]);
        }
        stream.shutdown().await.unwrap();
        assert_eq!(crate::support::tcp::read_all(&mut stream).await.0, b"bye");
    });
}

#[test]
fn an_upgrade_that_the_server_declines_is_an_answer() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::http(&pair.server.netns, 8080, |_| async {
        Ok(Response::builder().status(426).body(empty())?)
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        for _ in 0..3 {
            let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
            assert_eq!(client.get_with("/", &upgrade).await.unwrap().status, 426);
        }
    });
}

#[test]
fn a_head_of_more_than_a_hundred_fields_is_refused() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        // With host and connection.
        for (fields, status) in [(98, "200"), (99, "431")] {
            let more: String = (0..fields).map(|n| format!("x-{n}: 1\r\n")).collect();
            let head = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n");
            let answer = exchange(web, head.as_bytes()).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
    });
    assert_eq!(app.requests(), 1);
}

#[test]
fn an_http_1_0_client_is_answered_in_its_version() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::http(&pair.server.netns, 8080, |request| async move {
        assert_eq!(request.version(), http::Version::HTTP_11);
        assert!(request.headers().contains_key("host"));
        // Of unknown length: chunked is not for this client.
        Ok(Response::new(zeros(64 * 1024)))
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let answer = exchange(web, b"GET /old HTTP/1.0\r\n\r\n").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
        assert_eq!(body.len(), 64 * 1024);
    });
}

#[test]
fn expect_100_continue_is_answered_and_the_body_follows() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                     content-length: 5\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let first = read_head(&mut stream).await;
        assert!(first.starts_with("HTTP/1.1 100"), "{first}");
        stream.write_all(b"hello").await.unwrap();
        let (rest, _) = crate::support::tcp::read_all(&mut stream).await;
        let rest = String::from_utf8(rest).unwrap();
        assert!(
            rest.starts_with("HTTP/1.1 200") && rest.ends_with("hello"),
            "{rest}"
        );
    });
}

#[test]
fn chunked_bodies_and_trailers_pass() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let request =
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nte: trailers\r\n\
                        connection: close, te\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        let answer = exchange(web, request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            answer.contains("hello") && answer.contains(" world"),
            "{answer}"
        );
    });
}

/// Sends each over a connection of its own; the head of the answer, with what came along.
async fn sent(web: std::net::SocketAddr, request: &str) -> String {
    let mut stream = connect(web).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[test]
fn ambiguous_requests_are_refused() {
    let cases = [
        (
            "two content-lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        ),
        (
            "a list of content-lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nhello",
        ),
        (
            "a signed content-length",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello",
        ),
        (
            "two transfer-encodings",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "another transfer-encoding",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "transfer-encoding in HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a folded header",
            "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n",
        ),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n",
        ),
        ("an empty name", "GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n"),
        ("a null", "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ];
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut taken = Vec::new();
        for (name, request) in cases {
            let answer = sent(web, request).await;
            if !answer.starts_with("HTTP/1.1 400") || answer.matches("HTTP/1.").count() != 1 {
                taken.push((name, answer));
            }
        }
        assert!(taken.is_empty(), "{taken:#?}");
    });
    assert_eq!(app.requests(), 0);
}

/// Where the specification allows both to refuse and to repair, what goes on is repaired.
#[test]
fn what_could_be_read_in_two_ways_goes_on_in_one() {
    let pair = Pair::new(Protocol::Http1);
    let app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{head}",
            head.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let both = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\
                    transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        let answer = exchange(web, both.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        assert!(!answer.contains("content-length: 5"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        let answer = sent(web, "GET / HTTP/1.1\nhost: a\nx-a: b\n\n").await;
        assert!(answer.contains("GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n"), "{answer}");
        let answer = sent(web, "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.contains("GET /a HTTP/1.1\r\n"), "{answer}");
    });
    assert_eq!(app.connections(), 3);
}

#[test]
fn the_target_wins_over_host_for_route_and_application() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let request = b"GET http://target/x HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n";
        let answer = exchange(web, request).await;
        assert!(
            answer.contains("GET /x HTTP/1.1\nhost: target\n"),
            "{answer}"
        );
    });
}

#[test]
fn connections_are_reused_under_load() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    let (clients, each) = (32, 50);
    pair.client.run(async move {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..clients {
            all.spawn(async move {
                let mut client = Client::http1(web).await.unwrap();
                for _ in 0..each {
                    let answer: Answer = client.post("/", "some words").await.unwrap();
                    assert_eq!((answer.status, &answer.body[..]), (200, &b"some words"[..]));
                }
            });
        }
        all.join_all().await;
    });
    assert_eq!(app.requests(), clients * each);
    // As many as were ever in flight at a time, and a few for the moment between two requests.
    assert!(app.connections() <= 2 * clients, "{}", app.connections());
}

#[test]
fn a_head_that_never_ends_is_closed_and_others_are_served() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut slow = connect(web).await;
        let begun = std::time::Instant::now();
        let trickle = async {
            slow.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n")
                .await
                .unwrap();
            while slow.write_all(b"x-a: b\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let others = async {
            let mut client = Client::http1(web).await.unwrap();
            for _ in 0..10 {
                assert_eq!(client.get("/").await.unwrap().status, 200);
            }
        };
        tokio::join!(trickle, others);
        // Between once and twice the ten seconds that a head may take, and some.
        assert!(
            begun.elapsed() < Duration::from_secs(25),
            "{:?}",
            begun.elapsed()
        );
    });
}
