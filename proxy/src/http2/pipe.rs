//! Sends a body over a stream, as fast as its receiver takes it. Small pieces are given to h2 without
//! asking for room, which costs more than they do: never more than [`AHEAD`] of them.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// Bytes for which h2 may not have room yet. Room for so many is also asked for at once.
const AHEAD: usize = 512;

/// What each piece counts of it at least, for what h2 keeps beside its bytes.
const PIECE: usize = 64;

/// Why a body broke off, in the words of HTTP/2.
pub(crate) trait Reasoned {
    fn reason(&self) -> Reason;
}

/// One body on its way.
pub(crate) struct Pipe<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What waits for its receiver; whether it is the last.
    waiting: Option<(Bytes, bool)>,
    /// Given to h2 since it last had room for all.
    ahead: usize,
    /// Who is told when there is room, or the receiver wants no more.
    told: Option<Waker>,
}

impl<B> Pipe<B>
where
    B: Body<Data = Bytes, Error: Reasoned> + Unpin,
{
    pub(crate) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            waiting: None,
            ahead: 0,
            told: None,
        }
    }

    /// Ready when all of it is sent, or no more of it will be: what it broke off by is told to the
    /// receiver.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if self.waiting.is_some() {
                ready!(self.poll_room(cx))?;
                (self.ahead, self.told) = (0, None);
            }
            if let Some((data, last)) = self.waiting.take() {
                self.stream.send_data(data, last)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let last = self.body.is_end_stream();
                        let ahead = self.ahead + data.len().max(PIECE);
                        if data.is_empty() || ahead <= AHEAD {
                            self.ahead = ahead;
                            self.stream.send_data(data, last)?;
                            if last {
                                return Poll::Ready(Ok(()));
                            }
                            continue;
                        }
                        // Asked for only now, and little of it: what is reserved is taken from all
                        // streams of the connection. h2 asks for the rest when it has the data.
                        let asked = if data.len() <= AHEAD { data.len() } else { 1 };
                        self.unwatch();
                        self.stream.reserve_capacity(asked);
                        self.waiting = Some((data, last));
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.stream.reserve_capacity(0);
                            self.stream.send_trailers(trailers)?;
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
                Some(Err(error)) => {
                    self.stream.send_reset(error.reason());
                    return Poll::Ready(Ok(()));
                }
                None => {
                    self.stream.send_data(Bytes::new(), true)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Has the task that asks for room not be told of what is given at once: a turn for nothing.
    fn unwatch(&mut self) {
        if self.told.take().is_some() {
            // What a reset says is found by sending.
            let _ = self
                .stream
                .poll_reset(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Waits for room for some of what waits.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(room) => drop(room?),
                // It is not being sent on any more.
                None => return Poll::Ready(Err(Reason::CANCEL.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Who waits for more of the body is told too when the receiver wants no more of it: ready then.
    fn poll_unwanted(&mut self, cx: &mut Context<'_>, before: usize) -> Poll<()> {
        let told = self.told.as_ref();
        let told = told.is_some_and(|told| told.will_wake(cx.waker()));
        // Had it been told anything by that, h2 would not have taken what was given to it now.
        if told && self.ahead > before {
            return Poll::Pending;
        }
        if !told {
            self.told = Some(cx.waker().clone());
        }
        self.stream.poll_reset(cx).map(|_| ())
    }
}

impl<B> Future for Pipe<B>
where
    B: Body<Data = Bytes, Error: Reasoned> + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.ahead;
        match self.poll_sent(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a body is not wanted any more");
                Poll::Ready(())
            }
            Poll::Pending => self.poll_unwanted(cx, before),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use h2::RecvStream;
    use h2::server::SendResponse;
    use http::Request;
    use http_body::Frame;
    use tokio::io::DuplexStream;

    use super::*;

    const PIECES: usize = 20;

    /// Pieces as the test has them come.
    #[derive(Clone, Default)]
    struct Fed {
        pieces: Rc<RefCell<VecDeque<Bytes>>>,
        asked: Rc<Cell<usize>>,
    }

    impl Fed {
        fn feed(&self, length: usize) {
            self.pieces.borrow_mut().push_back(vec![0; length].into());
        }
    }

    struct Never;

    impl Reasoned for Never {
        fn reason(&self) -> Reason {
            Reason::CANCEL
        }
    }

    impl Body for Fed {
        type Data = Bytes;
        type Error = Never;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Never>>> {
            self.asked.update(|asked| asked + 1);
            match self.pieces.borrow_mut().pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None => Poll::Pending,
            }
        }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Both ends of a connection with one stream.
    struct Ends {
        client: h2::client::Connection<DuplexStream, Bytes>,
        server: h2::server::Connection<DuplexStream, Bytes>,
        _answer: h2::client::ResponseFuture,
        begun: Option<(Request<RecvStream>, SendResponse<Bytes>)>,
    }

    impl Ends {
        async fn new(window: u32) -> (Self, SendStream<Bytes>) {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let mut server = h2::server::Builder::new();
            server.initial_window_size(window);
            let server = server.handshake(theirs);
            let (client, server) = tokio::join!(h2::client::handshake(ours), server);
            let ((mut requests, client), server) = (client.unwrap(), server.unwrap());
            let (answer, stream) = requests.send_request(Request::new(()), false).unwrap();
            let mut ends = Self {
                client,
                server,
                _answer: answer,
                begun: None,
            };
            ends.exchange();
            (ends, stream)
        }

        /// Has each read what the other wrote.
        fn exchange(&mut self) {
            let mut now = Context::from_waker(Waker::noop());
            for _ in 0..4 {
                let _ = Pin::new(&mut self.client).poll(&mut now);
                if let Poll::Ready(Some(request)) = self.server.poll_accept(&mut now) {
                    self.begun = Some(request.unwrap());
                }
            }
        }

        fn received(&mut self) -> usize {
            let (request, _) = self.begun.as_mut().unwrap();
            let mut received = 0;
            let mut now = Context::from_waker(Waker::noop());
            while let Poll::Ready(Some(data)) = request.body_mut().poll_data(&mut now) {
                received += data.unwrap().len();
            }
            received
        }
    }

    #[tokio::test]
    async fn a_piece_for_which_there_is_room_costs_one_turn() {
        let (mut ends, stream) = Ends::new(64 * 1024).await;
        let fed = Fed::default();
        let mut pipe = Pipe::new(fed.clone(), stream);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut turn = Context::from_waker(&waker);
        let woken = || count.0.load(Ordering::Relaxed);
        for length in (0..PIECES).map(|n| n * 50) {
            fed.feed(length);
            assert!(Pin::new(&mut pipe).poll(&mut turn).is_pending());
            ends.exchange();
            assert_eq!((ends.received(), woken()), (length, 0));
        }
        assert_eq!(fed.asked.get(), 2 * PIECES);
        let (_, mut answer) = ends.begun.take().unwrap();
        answer.send_reset(Reason::CANCEL);
        ends.exchange();
        assert_eq!(woken(), 1, "of the reset");
        assert!(Pin::new(&mut pipe).poll(&mut turn).is_ready());
    }

    #[tokio::test]
    async fn little_is_taken_that_there_is_no_room_for() {
        let (mut ends, stream) = Ends::new(0).await;
        let fed = Fed::default();
        (0..PIECES).for_each(|_| fed.feed(1));
        let mut pipe = Pipe::new(fed.clone(), stream);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut turn = Context::from_waker(&waker);
        for _ in 0..3 {
            assert!(Pin::new(&mut pipe).poll(&mut turn).is_pending());
            ends.exchange();
        }
        assert_eq!((ends.received(), fed.asked.get()), (0, AHEAD / PIECE + 1));
        ends.server.set_initial_window_size(1024).unwrap();
        ends.exchange();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(Pin::new(&mut pipe).poll(&mut turn).is_pending());
        ends.exchange();
        assert_eq!(ends.received(), PIECES);
    }
}
