//! The forms that HTTP/1.1 takes: bodies, trailers, old clients, and letters.

use std::time::Duration;

use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::http::{Answer, Client, Error, empty};
use crate::support::mesh::{Pair, PodSpec};
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
fn chunked_bodies_and_trailers_pass_both_ways() {
    let pair = Pair::new(Protocol::Http1);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let mut seen = String::new();
        while !seen.contains("\r\n0\r\n") || !seen.ends_with("\r\n\r\n") {
            seen += &String::from_utf8(read_exact(&mut stream, 1).await).unwrap();
        }
        let seen = seen.to_ascii_lowercase();
        assert!(seen.contains("\r\ntrailer: x-sum\r\n"), "{seen}");
        assert!(seen.contains("\r\n0\r\nx-sum: 11\r\n\r\n"), "{seen}");
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                       5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let web = pair.web.at();
    let answer = pair.client.run(async move {
        let request =
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nte: trailers\r\n\
                        trailer: x-sum\r\nconnection: close, te\r\n\r\n\
                        5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 11\r\n\r\n";
        exchange(web, request).await
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.ends_with("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn an_http_1_0_connection_is_kept_when_its_client_asks() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::http(&pair.server.netns, 8080, |_| async {
        Ok(Response::new(crate::support::http::full("words")))
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(web).await;
        for _ in 0..3 {
            let request = b"GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let head = read_head(&mut stream).await.to_ascii_lowercase();
            assert!(head.starts_with("http/1.0 200"), "{head}");
            assert!(head.contains("connection: keep-alive\r\n"), "{head}");
            assert_eq!(read_exact(&mut stream, 5).await, b"words");
        }
        let last = exchange(web, b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        assert!(last.ends_with("words"), "{last}");
    });
    assert_eq!(app.requests(), 4);
}

#[test]
fn names_of_fields_keep_their_letters_when_asked() {
    for (keep, names) in [
        ("true", ["Host: a\r\n", "X-MiXeD: 1\r\n", "X-Answer: 2\r\n"]),
        (
            "false",
            ["host: a\r\n", "x-mixed: 1\r\n", "x-answer: 2\r\n"],
        ),
    ] {
        let pod = |name| PodSpec {
            environment: vec![("HEDDLE_PRESERVE_HEADER_CASE", keep.into())],
            ..PodSpec::new(name)
        };
        let pair = Pair::with(Protocol::Http1, pod("client"), pod("server"));
        let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
            let head = read_head(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Answer: 2\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{head}",
                head.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let web = pair.web.at();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-MiXeD: 1\r\nConnection: close\r\n\r\n";
        let answer = pair.client.run(exchange(web, request));
        for name in names {
            assert!(answer.contains(name), "{name}: {answer}");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_carried_as_a_reset() {
    let pair = Pair::new(Protocol::Http1);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, number| async move {
        read_head(&mut stream).await;
        // Without a length: its end is the end of the connection.
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if number == 0 {
            let socket = socket2::SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    let web = pair.web.at();
    pair.client.run(async move {
        for broken in [true, false] {
            let mut stream = connect(web).await;
            let request = b"GET / HTTP/1.0\r\nhost: a\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let (read, end) = crate::support::tcp::read_all(&mut stream).await;
            assert_eq!(end.is_err(), broken, "{}", String::from_utf8_lossy(&read));
        }
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
