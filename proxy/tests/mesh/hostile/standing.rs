//! Receivers that stand still on connections that others share: the others go on, and what is held for each
//! that stands is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use heddle_proto::mesh::Protocol;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::app::App;
use crate::support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, block};
use crate::support::http::{Body, Client, Error, full};
use crate::support::mesh::Pair;

/// More than any window of a connection was ever made for.
const STANDING: usize = 48;

/// Most bytes that one of them may cost a sidecar: what a stream may hold, and as much again.
const EACH: u64 = 512 << 10;

/// A body without end; how much of it was taken.
fn endless(taken: &Arc<AtomicUsize>) -> Body {
    let taken = Arc::clone(taken);
    let chunk = Bytes::from_static(&[b'x'; 16 * 1024]);
    let frames = std::iter::repeat_with(move || {
        taken.fetch_add(chunk.len(), Ordering::SeqCst);
        Ok::<_, Error>(Frame::data(chunk.clone()))
    });
    StreamBody::new(tokio_stream::iter(frames)).boxed_unsync()
}

/// Until no more of them is taken.
fn stands_still(taken: &AtomicUsize, least: usize) {
    crate::support::eventually("there is much to hold", || {
        taken.load(Ordering::SeqCst) >= least
    });
    let mut last = 0;
    while last != taken.load(Ordering::SeqCst) {
        last = taken.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn memory(pair: &Pair) -> [u64; 2] {
    [&pair.client, &pair.server].map(|pod| pod.sidecar().memory())
}

fn held_little(pair: &Pair, before: [u64; 2]) {
    for ((side, now), before) in ["client", "server"].iter().zip(memory(pair)).zip(before) {
        let each = now.saturating_sub(before) / STANDING as u64;
        println!(
            "{side}'s sidecar: {} KiB for each that stands still",
            each >> 10
        );
        assert!(each <= EACH, "{side}: {each} bytes");
    }
}

/// A call that began before, and says one word at a time.
async fn talking(client: &mut Client) -> (mpsc::Sender<Result<Frame<Bytes>, Error>>, Incoming) {
    let (feed, frames) = mpsc::channel(1);
    let body = StreamBody::new(ReceiverStream::new(frames)).boxed_unsync();
    let request = client.request("POST", "/echo").body(body).unwrap();
    let answer = client.send(request).await.unwrap();
    (feed, answer.into_body())
}

async fn goes_on(
    client: &mut Client,
    feed: &mpsc::Sender<Result<Frame<Bytes>, Error>>,
    answer: &mut Incoming,
) {
    for word in ["one", "two", "three"] {
        feed.send(Ok(Frame::data(word.into()))).await.unwrap();
        let frame = tokio::time::timeout(crate::support::PATIENCE, answer.frame());
        let frame = frame.await.expect("the old call goes on").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
        let answer = client.post("/echo", "words").await;
        assert_eq!(&answer.expect("a new call is answered").body[..], b"words");
    }
}

#[test]
fn readers_that_stand_still_hold_up_nobody_else() {
    let pair = Pair::new(Protocol::Http2);
    let taken = Arc::<AtomicUsize>::default();
    let given = Arc::clone(&taken);
    let app = App::http(
        &pair.server.netns,
        8080,
        move |request: Request<Incoming>| {
            let body = match request.uri().path() {
                "/endless" => endless(&given),
                _ => request.into_body().map_err(Error::from).boxed_unsync(),
            };
            async move { Ok(Response::new(body)) }
        },
    );
    let web = pair.web.at();
    let (mut client, (feed, mut answer)) = pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let talking = talking(&mut client).await;
        (client, talking)
    });
    let before = memory(&pair);
    let standing = pair.client.run(async move {
        let endless = block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/endless"),
            (":authority", "web"),
        ]);
        let mut standing = Vec::new();
        for _ in 0..STANDING {
            let mut frames = Frames::open(web).await;
            let flags = END_HEADERS | END_STREAM;
            frames.send(HEADERS, flags, 1, &endless).await.unwrap();
            standing.push(frames);
        }
        standing
    });
    stands_still(&taken, STANDING * 256 * 1024);
    pair.client
        .run(async move { goes_on(&mut client, &feed, &mut answer).await });
    held_little(&pair, before);
    assert_eq!(app.connections(), 1, "they share one");
    drop(standing);
}

#[test]
fn senders_that_nobody_reads_hold_up_nobody_else() {
    let pair = Pair::new(Protocol::Http2);
    // Of the application's own connection, so that it does not hold up others itself.
    let room = 64 << 20;
    let app = App::with_room(
        &pair.server.netns,
        8080,
        room,
        |request: Request<Incoming>| async move {
            if request.uri().path() == "/unread" {
                let _unread = request;
                std::future::pending::<()>().await;
                return Ok(Response::new(full("")));
            }
            Ok(Response::new(
                request.into_body().map_err(Error::from).boxed_unsync(),
            ))
        },
    );
    let web = pair.web.at();
    let (mut client, (feed, mut answer)) = pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let talking = talking(&mut client).await;
        (client, talking)
    });
    let before = memory(&pair);
    let taken = Arc::<AtomicUsize>::default();
    let standing: Vec<_> = (0..STANDING)
        .map(|_| {
            let body = endless(&taken);
            pair.client.netns.spawn(async move {
                let mut client = Client::http2(web).await.unwrap();
                let request = client.request("POST", "/unread").body(body).unwrap();
                // It ends with the test.
                let _ = client.send(request).await;
            })
        })
        .collect();
    stands_still(&taken, STANDING * 256 * 1024);
    pair.client
        .run(async move { goes_on(&mut client, &feed, &mut answer).await });
    held_little(&pair, before);
    assert_eq!(app.connections(), 1, "they share one");
    for one in standing {
        one.abort();
    }
}
