//! `Expect: 100-continue`: it is the application that says whether it wants the body.

use std::time::Duration;

use heddle_proto::mesh::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::App;
use crate::support::http::Client;
use crate::support::mesh::Pair;
use crate::support::tcp::{Server, connect, read_all, read_exact, read_head};

const HEAD: &[u8] =
    b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

const PAUSE: Duration = Duration::from_millis(300);

async fn is_silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(PAUSE, stream.read(&mut byte))
        .await
        .is_err()
}

#[test]
fn the_body_is_asked_for_when_the_application_asks() {
    let pair = Pair::new(Protocol::Http1);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
        assert!(is_silent(&mut stream).await);
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        let body = read_exact(&mut stream, 5).await;
        assert_eq!(body, b"hello");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        // The connection is used again.
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(to).await;
        stream.write_all(HEAD).await.unwrap();
        let first = read_head(&mut stream).await;
        assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
        assert_eq!(read_exact(&mut stream, 2).await, b"ok");
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 204"));
    });
}

#[test]
fn an_application_that_declines_is_never_sent_the_body() {
    let pair = Pair::new(Protocol::Http1);
    let (ended, ending) = std::sync::mpsc::channel();
    let _app = Server::start(&pair.server.netns, 8080, move |mut stream, _| {
        let ended = ended.clone();
        async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 3\r\n\r\nno!";
            stream.write_all(answer).await.unwrap();
            ended.send(read_all(&mut stream).await.0).unwrap();
        }
    });
    let to = pair.web.at();
    let answer = pair.client.run(async move {
        let mut stream = connect(to).await;
        stream.write_all(HEAD).await.unwrap();
        // Until the sidecar closes: it cannot know whether a body follows.
        String::from_utf8(read_all(&mut stream).await.0).unwrap()
    });
    assert!(answer.starts_with("HTTP/1.1 417"), "{answer}");
    assert!(
        answer.contains("connection: close") && answer.ends_with("no!"),
        "{answer}"
    );
    let rest = ending.recv_timeout(crate::support::PATIENCE).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn an_application_that_says_nothing_gets_the_body_all_the_same() {
    let pair = Pair::new(Protocol::Http1);
    let _app = Server::start(&pair.server.netns, 8080, |mut stream, _| async move {
        read_head(&mut stream).await;
        assert_eq!(read_exact(&mut stream, 5).await, b"hello");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = connect(to).await;
        stream.write_all(HEAD).await.unwrap();
        // As a client that does not wait for ever.
        stream.write_all(b"hello").await.unwrap();
        let mut answer = read_head(&mut stream).await;
        if answer.starts_with("HTTP/1.1 100") {
            answer = read_head(&mut stream).await;
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}

#[test]
fn one_that_reads_as_it_answers_is_served_as_ever() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(to).await.unwrap();
        for _ in 0..10 {
            let body = crate::support::http::full("some words");
            let request = client.request("POST", "/").header("expect", "100-continue");
            let answer = client.call(request.body(body).unwrap()).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"some words"[..]));
        }
    });
}
