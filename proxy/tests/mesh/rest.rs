//! HTTP/1.1 connections that do nothing for a while: in between requests they are given up by
//! everything but the socket, and nobody may notice; in the middle of one they are not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, watch};

use crate::support::app::{App, listen};
use crate::support::http::full;
use crate::support::mesh::Pair;

/// Long enough for a sidecar to find a connection idle, three times over.
const PAUSE: Duration = Duration::from_millis(1500);

/// What the big answer holds.
const BIG: usize = 4 * 1024 * 1024;

fn pair() -> Pair {
    Pair::new(Protocol::Http1)
}

async fn ask(stream: &mut TcpStream, bytes: &str) {
    stream.write_all(bytes.as_bytes()).await.unwrap();
}

/// Reads until the last bytes are these.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let more = stream.read_buf(&mut read).await.unwrap();
        assert!(more > 0, "ended after {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

/// The echo's last line is the last header that it saw.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: web\r\n\r\n")
}

#[test]
fn a_connection_that_rested_is_served_as_before() {
    let pair = pair();
    let app = App::http(&pair.server.netns, 8080, |request| async move {
        let path = request.uri().path().to_owned();
        Ok(http::Response::new(full(format!("{path} done"))))
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = TcpStream::connect(to).await.unwrap();
        ask(&mut stream, &get("/first")).await;
        until(&mut stream, "/first done").await;
        tokio::time::sleep(PAUSE).await;
        // A head that comes in two parts, with a pause between.
        ask(&mut stream, "GET /second HT").await;
        tokio::time::sleep(PAUSE).await;
        ask(&mut stream, "TP/1.1\r\nhost: web\r\n\r\n").await;
        until(&mut stream, "/second done").await;
        tokio::time::sleep(PAUSE).await;
        // Two at once.
        ask(&mut stream, &(get("/third") + &get("/fourth"))).await;
        let both = until(&mut stream, "/fourth done").await;
        assert!(both.contains("/third done"), "{both}");
    });
    assert_eq!((app.requests(), app.connections()), (4, 1));
}

#[test]
fn a_body_may_pause_and_the_connection_goes_on() {
    let pair = pair();
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = TcpStream::connect(to).await.unwrap();
        for framing in ["content-length: 10", "transfer-encoding: chunked"] {
            let chunked = framing.ends_with("chunked");
            let part = |bytes: &str| match chunked {
                true => format!("{:x}\r\n{bytes}\r\n", bytes.len()),
                false => bytes.to_owned(),
            };
            ask(
                &mut stream,
                &format!("POST / HTTP/1.1\r\nhost: web\r\n{framing}\r\n\r\n"),
            )
            .await;
            ask(&mut stream, &part("12345")).await;
            tokio::time::sleep(PAUSE).await;
            ask(&mut stream, &part("67890")).await;
            if chunked {
                ask(&mut stream, "0\r\n\r\n").await;
                until(&mut stream, "\r\n0\r\n\r\n").await;
            } else {
                until(&mut stream, "67890").await;
            }
            tokio::time::sleep(PAUSE).await;
        }
        ask(&mut stream, &get("/after")).await;
        let after = until(&mut stream, "\n").await;
        assert!(after.contains("GET /after HTTP/1.1"), "{after}");
    });
}

#[test]
fn a_body_that_nobody_read_is_never_taken_for_a_request() {
    let pair = pair();
    // Answers without reading what it is sent.
    let app = App::http(&pair.server.netns, 8080, |request| async move {
        assert_ne!(request.uri().path(), "/smuggled");
        Ok(http::Response::new(full("early")))
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let body = get("/smuggled");
        let length = body.len();
        ask(
            &mut stream,
            &format!("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\n\r\n"),
        )
        .await;
        until(&mut stream, "early").await;
        tokio::time::sleep(PAUSE).await;
        // It may have been closed by now.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PAUSE, stream.read_to_end(&mut rest)).await;
        assert_eq!(String::from_utf8(rest).unwrap(), "");
    });
    assert_eq!(app.requests(), 1);
}

#[test]
fn a_reader_that_pauses_gets_everything() {
    let pair = pair();
    let _app = App::http(&pair.server.netns, 8080, |request| async move {
        let body = match request.uri().path() {
            "/big" => Bytes::from(vec![b'x'; BIG]),
            _ => Bytes::from_static(b"small"),
        };
        Ok(http::Response::new(full(body)))
    });
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = TcpStream::connect(to).await.unwrap();
        ask(&mut stream, &get("/big")).await;
        tokio::time::sleep(PAUSE).await;
        let read = until(&mut stream, "x").await;
        let mut left = BIG + read.find("\r\n\r\n").unwrap() + 4 - read.len();
        tokio::time::sleep(PAUSE).await;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let most = buffer.len().min(left);
            let more = stream.read(&mut buffer[..most]).await.unwrap();
            assert!(more > 0, "{left} bytes are missing");
            left -= more;
        }
        ask(&mut stream, &get("/small")).await;
        until(&mut stream, "small").await;
    });
}

#[test]
fn a_connection_that_rests_is_closed_when_the_sidecar_drains() {
    let pair = pair();
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let mut stream = pair.client.run(async move {
        let mut stream = TcpStream::connect(to).await.unwrap();
        ask(&mut stream, &get("/")).await;
        until(&mut stream, "\n").await;
        tokio::time::sleep(PAUSE).await;
        stream
    });
    pair.client.sidecar().signal(Signal::SIGTERM);
    let ended = pair.client.run(async move {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.map(|_| rest)
    });
    assert_eq!(ended.unwrap(), b"");
}

/// An application on raw sockets: it keeps connections open until it is told to close them all,
/// answers `/together` when so many have asked, and everything else at once, whatever comes of a body.
fn closing_app(pair: &Pair, together: usize) -> watch::Sender<u32> {
    let (close, closes) = watch::channel(0);
    let listener = pair.server.netns.run(async { listen(8080) });
    pair.server.netns.spawn(async move {
        let gathered = Arc::new(Barrier::new(together));
        while let Ok((mut stream, _)) = listener.accept().await {
            let (gathered, mut closes) = (Arc::clone(&gathered), closes.clone());
            closes.mark_unchanged();
            tokio::spawn(async move {
                let mut read = Vec::new();
                loop {
                    tokio::select! {
                        _ = closes.changed() => return,
                        more = stream.read_buf(&mut read) => if !matches!(more, Ok(1..)) { return },
                    }
                    // What is left of a body that was answered early comes before the next head.
                    let method = |at: &[u8]| at == b"GET " || at == b"POST";
                    let Some(head) = read.windows(4).position(method) else {
                        continue;
                    };
                    if !read[head..].windows(4).any(|end| end == b"\r\n\r\n") {
                        continue;
                    }
                    if read[head..].starts_with(b"GET /together") {
                        gathered.wait().await;
                    }
                    read.clear();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    close
}

#[test]
fn requests_find_their_way_past_many_connections_that_have_just_ended() {
    // More than one turn of the scheduler lets a task look at.
    const MANY: usize = 200;
    let pair = pair();
    let close = closing_app(&pair, MANY);
    let to = pair.web.at();
    pair.client.run(async move {
        let mut streams = Vec::new();
        for _ in 0..MANY {
            let mut stream = TcpStream::connect(to).await.unwrap();
            ask(&mut stream, &get("/together")).await;
            streams.push(stream);
        }
        for stream in &mut streams {
            until(stream, "done").await;
        }
        close.send_modify(|closes| *closes += 1);
        for (n, stream) in streams.iter_mut().take(20).enumerate() {
            let post = "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 2\r\n\r\nhi";
            let request = if n % 2 == 0 { get("/") } else { post.into() };
            ask(stream, &request).await;
            let answer = tokio::time::timeout(Duration::from_secs(10), until(stream, "done")).await;
            let answer = answer.expect("it is answered");
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{n}: {answer}");
        }
    });
}

#[test]
fn a_connection_that_was_answered_early_is_watched_when_it_is_pooled() {
    let pair = pair();
    let close = closing_app(&pair, 1);
    let to = pair.web.at();
    pair.client.run(async move {
        let mut stream = TcpStream::connect(to).await.unwrap();
        for _ in 0..2 {
            ask(
                &mut stream,
                "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 6\r\n\r\nfir",
            )
            .await;
            until(&mut stream, "done").await;
            ask(&mut stream, "st.").await;
            tokio::time::sleep(PAUSE).await;
            close.send_modify(|closes| *closes += 1);
            tokio::time::sleep(PAUSE).await;
            ask(&mut stream, &get("/")).await;
            let answer = tokio::time::timeout(Duration::from_secs(10), until(&mut stream, "done"));
            let answer = answer.await.expect("it is answered");
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        }
    });
}
