//! Sends a body over a stream, as fast as its receiver takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// Bytes of a piece for which room is asked at once: asking twice costs more than it keeps from others.
const SMALL: usize = 512;

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
        }
    }

    /// Ready when all of it is sent, or no more of it will be: what it broke off by is told to the
    /// receiver.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if self.waiting.is_some() {
                ready!(self.poll_room(cx))?;
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
                        if data.is_empty() {
                            self.stream.send_data(data, last)?;
                            if last {
                                return Poll::Ready(Ok(()));
                            }
                            continue;
                        }
                        // Asked for only now, and little of it: what is reserved is taken from all
                        // streams of the connection. h2 asks for the rest when it has the data.
                        let asked = if data.len() <= SMALL { data.len() } else { 1 };
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
}

impl<B> Future for Pipe<B>
where
    B: Body<Data = Bytes, Error: Reasoned> + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_sent(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a body is not wanted any more");
                Poll::Ready(())
            }
            // Who waits is told too when the receiver wants no more of it.
            Poll::Pending => self.stream.poll_reset(cx).map(|_| ()),
        }
    }
}
