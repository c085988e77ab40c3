//! HTTP/2 that no library would send: malformed requests end their stream and no other; floods end
//! their connection, or are not read, and cost the sidecar little.

use std::net::SocketAddr;
use std::time::Duration;

use heddle_proto::mesh::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::app::App;
use crate::support::frames::*;
use crate::support::http::Client;
use crate::support::mesh::Pair;

type Fields = &'static [(&'static str, &'static str)];

/// What is no field at all, of which h2 makes an error of the connection.
const UNREADABLE: &[(&str, Fields)] = &[
    ("a name in capitals", &[("X-Upper", "1")]),
    ("an unknown pseudo-header", &[(":unknown", "1")]),
    ("a null in a value", &[("x-a", "b\0c")]),
    ("a line feed in a value", &[("x-a", "b\nx-c: d")]),
    ("an empty name", &[("", "1")]),
];

/// What each is, its fields, and its body.
const MALFORMED_REQUESTS: &[(&str, Fields, Option<&str>)] = &[
    ("connection", &[("connection", "keep-alive")], None),
    ("keep-alive", &[("keep-alive", "timeout=5")], None),
    (
        "proxy-connection",
        &[("proxy-connection", "keep-alive")],
        None,
    ),
    (
        "transfer-encoding",
        &[("transfer-encoding", "chunked")],
        None,
    ),
    ("upgrade", &[("upgrade", "h2c")], None),
    ("te that is not trailers", &[("te", "gzip")], None),
    (
        "a pseudo-header after a field",
        &[("x-a", "1"), (":path", "/b")],
        None,
    ),
    ("a pseudo-header twice", &[(":path", "/b")], None),
    ("an answer's pseudo-header", &[(":status", "200")], None),
    (
        "less body than its length",
        &[("content-length", "5")],
        Some("abc"),
    ),
    (
        "more body than its length",
        &[("content-length", "5")],
        Some("abcdefghi"),
    ),
    ("no body and a length", &[("content-length", "5")], None),
    (
        "a length that is none",
        &[("content-length", "+5")],
        Some("hello"),
    ),
];

#[test]
fn malformed_requests_are_reset_alone() {
    let pair = Pair::new(Protocol::Http2);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let wrong = pair.client.run(async move {
        let mut wrong = Vec::new();
        for (name, fields, body) in MALFORMED_REQUESTS {
            let mut frames = Frames::open(to).await;
            let block = block(&[&GET[..], fields].concat());
            frames.request(1, &block, *body).await.unwrap();
            let outcome = frames.outcome(1).await;
            let next = frames.get(3).await;
            if outcome != MALFORMED || next != OK {
                wrong.push((*name, outcome, next));
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(app.requests() >= MALFORMED_REQUESTS.len());
}

/// Requests whose `:path` is none.
const STRANGE_PATHS: &[(&str, Fields)] = &[
    ("no slash", &[(":path", "a"), (":authority", "web")]),
    ("a host", &[(":path", "other:80"), (":authority", "web")]),
    ("a star", &[(":path", "*"), (":authority", "web")]),
    ("a query", &[(":path", "?a"), (":authority", "web")]),
    ("nothing", &[(":path", ""), (":authority", "web")]),
    ("not even that", &[(":authority", "web")]),
    ("not even that, with a Host", &[("host", "web")]),
];

#[test]
fn paths_that_are_none_are_refused() {
    let pair = Pair::new(Protocol::Http2);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let taken = pair.client.run(async move {
        let mut frames = Frames::open(to).await;
        let mut taken = Vec::new();
        for (n, (name, fields)) in (0..).zip(STRANGE_PATHS) {
            let head = [&[(":method", "GET"), (":scheme", "http")], *fields].concat();
            frames
                .request(2 * n + 1, &block(&head), None)
                .await
                .unwrap();
            let outcome = frames.outcome(2 * n + 1).await;
            if !matches!(outcome, MALFORMED | BAD_REQUEST) {
                taken.push((*name, outcome));
            }
        }
        taken
    });
    assert!(taken.is_empty(), "{taken:#?}");
    assert_eq!(app.requests(), 0);
}

#[test]
fn unreadable_requests_end_their_connection() {
    let pair = Pair::new(Protocol::Http2);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    pair.client.run(async move {
        for (name, fields) in UNREADABLE {
            let mut frames = Frames::open(to).await;
            let block = block(&[&GET[..], fields].concat());
            let flags = END_HEADERS | END_STREAM;
            frames.send(HEADERS, flags, 1, &block).await.unwrap();
            // PROTOCOL_ERROR.
            assert_eq!(frames.outcome(1).await, Outcome::GoAway(1), "{name}");
        }
    });
    assert_eq!(app.requests(), 0);
}

#[test]
fn authority_wins_over_host() {
    let pair = Pair::new(Protocol::Http2);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(to).await.unwrap();
        let answer = client.get_with("/", &[("host", "other")]).await.unwrap();
        assert!(
            answer.text().starts_with(&format!("GET http://{to}/")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.seen("host"), [""; 0]);
    });
}

/// What became of a flood.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The connection was closed; the code of its GOAWAY.
    Closed(Option<u32>),
    /// Nothing more is read from it.
    Blocked,
    /// It was taken to the end.
    Taken,
}

/// Most bytes of a flood.
const FLOOD: usize = 48 << 20;

/// How long a write may make no progress until the peer is taken not to read.
const STUCK: Duration = Duration::from_secs(3);

/// Sends what `next` makes until it is stopped. Answers are read, unless they are not to be.
async fn flood(to: SocketAddr, read: bool, mut next: impl FnMut(u32) -> Vec<u8> + Send) -> End {
    let (mut reader, mut writer) = Frames::open(to).await.0.into_split();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while read && let Ok(n @ 1..) = reader.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..n]);
            let keep = all.len().saturating_sub(256 * 1024);
            all.drain(..keep);
        }
        if !read {
            std::future::pending::<()>().await;
        }
        all
    });
    let mut sent = 0;
    let mut end = End::Taken;
    for n in 0.. {
        if sent >= FLOOD {
            break;
        }
        let bytes = next(n);
        sent += bytes.len();
        match tokio::time::timeout(STUCK, writer.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                end = End::Closed(None);
                break;
            }
            Err(_) => {
                end = End::Blocked;
                break;
            }
        }
        if reading.is_finished() {
            end = End::Closed(None);
            break;
        }
    }
    if let End::Closed(code) = &mut end
        && let Ok(Ok(all)) = tokio::time::timeout(STUCK, reading).await
    {
        // The last frame, if the end of the connection did not overtake it.
        let goaway = |at: &[u8]| at[3] == GOAWAY && at[4..9] == [0; 5];
        let at = all.windows(17).rposition(goaway);
        *code = at
            .map(|at| u32::from_be_bytes([all[at + 13], all[at + 14], all[at + 15], all[at + 16]]));
    }
    end
}

/// Growth of a sidecar's memory in a flood, at most: ten times what one connection may hold by the
/// limits that apply to it (64 KiB of head and 1 MiB of bodies).
const GROWTH: u64 = 10 * ((64 << 10) + (1 << 20));

fn withstands(
    what: &str,
    read: bool,
    next: impl FnMut(u32) -> Vec<u8> + Send + 'static,
    expected: impl Fn(&End) -> bool,
) {
    let pair = Pair::new(Protocol::Http2);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.web.at();
    let warm = async move {
        Client::http2(to)
            .await
            .unwrap()
            .get("/")
            .await
            .unwrap()
            .status
    };
    assert_eq!(pair.client.run(warm), 200);
    let before = pair.client.sidecar().memory();
    let (end, other) = pair.client.run(async move {
        let flooding = tokio::spawn(flood(to, read, next));
        let mut other = Client::http2(to).await.unwrap();
        let mut served = 0;
        while !flooding.is_finished() {
            assert_eq!(other.get("/").await.unwrap().status, 200);
            served += 1;
        }
        assert_eq!(other.get("/").await.unwrap().status, 200);
        (flooding.await.unwrap(), served)
    });
    let grown = pair.client.sidecar().memory().saturating_sub(before);
    println!(
        "{what}: {end:?}, memory grew by {} KiB, {other} requests of another client meanwhile",
        grown >> 10
    );
    assert!(
        expected(&end),
        "{what}: {end:?}\n{}",
        pair.client.sidecar().log()
    );
    assert!(grown <= GROWTH, "{what}: {} KiB", grown >> 10);
}

fn is_closed(end: &End) -> bool {
    matches!(end, End::Closed(_))
}

fn request(n: u32, end: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | end, 2 * n + 1, &block(&GET))
}

#[test]
fn rapid_reset() {
    let reset = |n| {
        [
            request(n, END_STREAM),
            frame(RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes()),
        ]
        .concat()
    };
    withstands("rapid reset", true, reset, is_closed);
}

#[test]
fn rapid_reset_in_bursts_that_are_each_allowed() {
    let burst = |n: u32| {
        std::thread::sleep(Duration::from_micros(500));
        [
            request(n, END_STREAM),
            frame(RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes()),
        ]
        .concat()
    };
    withstands("rapid reset in bursts", true, burst, is_closed);
}

#[test]
fn made_you_reset() {
    // A window of nothing is the stream's error: the server resets it.
    let made = |n| [request(n, 0), frame(WINDOW_UPDATE, 0, 2 * n + 1, &[0; 4])].concat();
    withstands("made you reset", true, made, is_closed);
}

#[test]
fn made_you_reset_by_a_window_too_wide() {
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let made = move |n| [request(n, 0), frame(WINDOW_UPDATE, 0, 2 * n + 1, &most)].concat();
    withstands("made you reset, too wide", true, made, is_closed);
}

#[test]
fn made_you_reset_by_data_after_the_end() {
    let made = |n| [request(n, END_STREAM), frame(DATA, 0, 2 * n + 1, b"x")].concat();
    withstands("made you reset, after the end", true, made, is_closed);
}

#[test]
fn continuation_without_end() {
    let fields = |n: u32| block(&[("x-a", &format!("{n}"))]).repeat(1000);
    let flood = move |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &block(&GET)),
        n => frame(CONTINUATION, 0, 1, &fields(n)),
    };
    withstands("continuation", true, flood, is_closed);
}

#[test]
fn empty_continuations() {
    let flood = move |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &block(&GET)),
        _ => frame(CONTINUATION, 0, 1, &[]).repeat(100),
    };
    withstands("empty continuation", true, flood, is_closed);
}

#[test]
fn an_hpack_bomb() {
    // A field of 4000 bytes is put in the table, then named by one byte 16,000 times a request.
    let flood = |n: u32| {
        let mut bomb = block(&GET);
        if n == 0 {
            let length = 3900 - 127;
            let (low, high) = ((length % 128) as u8 | 0x80, (length / 128) as u8);
            bomb.extend([0x40, 1, b'x', 0x7f, low, high]);
            bomb.extend(vec![b'a'; 3900]);
        }
        bomb.resize(16_000, 0xbe);
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &bomb)
    };
    // Each is refused; whoever sends them goes on.
    withstands("hpack bomb", true, flood, |_| true);
}

#[test]
fn empty_data() {
    let flood = |n: u32| match n {
        0 => request(0, 0),
        _ => frame(DATA, 0, 1, &[]).repeat(100),
    };
    withstands("empty data", true, flood, is_closed);
}

#[test]
fn settings() {
    let flood = |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100);
    withstands("settings", false, flood, |end| *end != End::Taken);
}

#[test]
fn pings() {
    let flood = |_| frame(PING, 0, 0, &[7; 8]).repeat(100);
    withstands("pings", false, flood, |end| *end != End::Taken);
}
