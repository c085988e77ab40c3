//! Pings that find out whether a peer is still there. Who is heard of needs none: a connection is
//! looked at once in a while, and no clock is read for what comes over it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use crate::bell::Bell;
use crate::limits;

/// Watches one connection.
pub(crate) struct Keepalive {
    pings: PingPong,
    next: Pin<Box<Sleep>>,
    /// A ping is under way.
    asked: bool,
    bell: Bell,
}

impl Keepalive {
    /// `None`: the connection's pings are taken already.
    pub(crate) fn new(pings: Option<PingPong>) -> Option<Self> {
        let keepalive = Self {
            pings: pings?,
            next: Box::pin(tokio::time::sleep(limits::H2_KEEPALIVE)),
            asked: false,
            bell: Bell::new(),
        };
        keepalive.bell.ring();
        Some(keepalive)
    }

    /// Ready when the peer has not said anything for so long that it is gone. `heard`: whether it has
    /// since this was asked last; `wanted`: whether anybody needs it.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut heard: impl FnMut() -> bool,
        wanted: bool,
    ) -> Poll<()> {
        let Self {
            pings,
            next,
            asked,
            bell,
        } = self;
        bell.poll_if_stirred(cx, |cx| {
            loop {
                ready!(next.as_mut().poll(cx));
                let silent = !heard();
                if silent && *asked {
                    return Poll::Ready(());
                }
                *asked = silent && wanted;
                if *asked {
                    ping(pings);
                }
                let after = match asked {
                    true => limits::H2_KEEPALIVE_TIMEOUT,
                    false => limits::H2_KEEPALIVE,
                };
                next.as_mut().reset(Instant::now() + after);
            }
        })
    }
}

fn ping(pings: &mut PingPong) {
    // The answer to the one before must be taken first.
    let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
    // An error: one is under way still, and its answer is waited for as well; or the connection ends.
    let _ = pings.send_ping(Ping::opaque());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    /// How long a silent peer is believed in, at most.
    const MOST: Duration = Duration::from_secs(
        2 * limits::H2_KEEPALIVE.as_secs() + limits::H2_KEEPALIVE_TIMEOUT.as_secs(),
    );

    /// A client's connection to a peer that reads and answers only as told.
    async fn watched(answers: bool) -> Duration {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let start = Instant::now();
        let peer = tokio::spawn(async move {
            let mut peer = h2::server::handshake(theirs).await.unwrap();
            while answers && peer.accept().await.is_some() {}
            std::future::pending::<()>().await;
        });
        let (_requests, mut connection) = h2::client::handshake(ours).await.unwrap();
        let mut keepalive = Keepalive::new(connection.ping_pong()).unwrap();
        let mut last = 0;
        let gone = poll_fn(|cx| {
            let _ = Pin::new(&mut connection).poll(cx);
            // Whatever woke it after the handshake is what the peer sent.
            let now = start.elapsed().as_secs();
            let heard = answers && now > last;
            last = now;
            keepalive.poll(cx, || heard, true)
        });
        let gone = tokio::time::timeout(4 * MOST, gone).await;
        peer.abort();
        gone.map_or(Duration::MAX, |()| start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_found_out() {
        let after = watched(false).await;
        assert!(after <= MOST, "{after:?}");
        assert!(after > limits::H2_KEEPALIVE, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_falls_silent_while_it_owes_an_answer_is_found_out() {
        let (ours, _theirs) = tokio::io::duplex(64 * 1024);
        let start = Instant::now();
        let (_requests, mut connection) = h2::client::handshake(ours).await.unwrap();
        let mut keepalive = Keepalive::new(connection.ping_pong()).unwrap();
        let mut looks = 0;
        let gone = poll_fn(|cx| {
            let _ = Pin::new(&mut connection).poll(cx);
            let heard = || {
                looks += 1;
                // After the first ping something else comes, and then nothing any more.
                looks == 2
            };
            keepalive.poll(cx, heard, true)
        });
        let gone = tokio::time::timeout(4 * MOST, gone).await;
        assert!(gone.is_ok(), "after {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_stays() {
        assert_eq!(watched(true).await, Duration::MAX);
    }
}
