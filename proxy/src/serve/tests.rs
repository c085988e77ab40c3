//! Heads that never end, in both versions, over a real socket: by a clock that does not wait while nothing
//! happens.
#![allow(clippy::unwrap_used)]

use std::future::pending;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::Instant;

use super::*;

const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n";

/// So long is a client that goes on for ever looked at.
const LONG: Duration = Duration::from_secs(60);

/// Between two pieces of what it sends.
const NOW_AND_THEN: Duration = Duration::from_millis(500);

/// Serves a client that begins so, and goes on with this now and then; how it ended, and when. GET is
/// answered, and POST never.
fn served(version: Version, begin: &[u8], more: &[u8]) -> Option<(End, Duration)> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true);
    let runtime = runtime.build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(to).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (_serving, phase) = watch::channel(Phase::Serving);
        let habits = Habits {
            stall: Duration::from_secs(300),
            header_case: false,
            windows: limits::H2_PEERS,
        };
        let handler = |request: Request<Incoming>| async move {
            if request.method() == Method::POST {
                pending::<()>().await;
            }
            Response::new(ReplyBody::own("", None))
        };
        let start = Instant::now();
        let serving = http(stream.into(), version, phase, habits, handler);
        let serving = async { (serving.await, start.elapsed()) };
        let sending = async {
            client.write_all(begin).await.unwrap();
            while start.elapsed() < LONG {
                tokio::time::sleep(NOW_AND_THEN).await;
                if client.write_all(more).await.is_err() {
                    pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            (ended, after) = serving => Some((ended.unwrap_err(), after)),
            () = sending => None,
        }
    })
}

/// What HTTP/2 begins with, and these after it.
fn http2(frames: &[&[u8]]) -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings];
    [&preface.concat()[..], &frames.concat()].concat()
}

/// A POST to `/` of `a`, on stream 1.
const POST: &[u8] = &[0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 1, b'a'];

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let (one, two) = (Version::Http1, Version::Http2);
    let second = [HTTP1, b"\r\nG"].concat();
    let continued = [0, 0x3e, 0x80, 9, 0, 0, 0, 0, 3];
    let first_part = [0, 0, 1, 1, 0, 0, 0, 0, 3, 0x82];
    for (what, version, begin, more) in [
        ("fields", one, HTTP1.to_vec(), &b"x-a: b\r\n"[..]),
        ("a first letter", one, b"G".to_vec(), b""),
        ("letters of the method", one, b"G".to_vec(), b"E"),
        ("a head behind another", one, second, b"E"),
        ("the preface", two, b"PRI * HTTP".to_vec(), b""),
        ("half of a frame's head", two, http2(&[&[0, 0]]), b""),
        (
            "a block of fields",
            two,
            http2(&[&[0, 0x3e, 0x80, 1, 4, 0, 0, 0, 1]]),
            b"x",
        ),
        (
            "a block that goes on, behind a request",
            two,
            http2(&[POST, &first_part, &continued]),
            b"x",
        ),
    ] {
        let (end, after) = served(version, &begin, more).expect(what);
        assert_eq!(end.refusal(), Some("slow-head"), "{what}: {end}");
        // Looks are a second apart at most.
        let bound = limits::HEAD..limits::HEAD + Duration::from_secs(3);
        assert!(bound.contains(&after), "{what}: after {after:?}");
    }
}

#[test]
fn who_is_slow_with_anything_else_goes_on() {
    let data = [0, 0x3e, 0x80, 0, 0, 0, 0, 0, 1];
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n".to_vec();
    for (what, version, begin, more) in [
        ("pings", Version::Http2, http2(&[]), &ping[..]),
        ("a body", Version::Http2, http2(&[POST, &data]), b"x"),
        ("a body", Version::Http1, post, b"x"),
    ] {
        let ended = served(version, &begin, more);
        assert!(ended.is_none(), "{what} in {version:?}: {ended:?}");
    }
}
