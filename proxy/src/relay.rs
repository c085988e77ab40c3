//! Opaque connections: bytes both ways, half-closes carried through, a broken connection carried as
//! a reset. A connection holds bytes only while its receiver is slower than its sender, and then
//! reads no more: at most one scratch buffer for each direction.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use heddle_proxy_telemetry::{ResponseFlag, TcpSeries};
use tokio::io::AsyncWrite;

use crate::io::Io;
use crate::scratch::{self, Scratch};

/// Bytes that one direction moves before others have their turn.
const TURN: usize = 2 * scratch::PLAIN;

/// Where what is relayed is counted.
pub(crate) enum Meter<'a> {
    /// A connection of its own.
    Series(&'a TcpSeries),
    /// What a request became.
    Tally(&'a Tally),
}

/// Bytes that were relayed, and how it ended.
#[derive(Default)]
pub(crate) struct Tally {
    /// By the client.
    pub(crate) sent: Cell<u64>,
    /// By the client, too.
    pub(crate) received: Cell<u64>,
    pub(crate) flag: Cell<ResponseFlag>,
}

/// Relays until both directions have ended, and counts it. Connections are lent: a future keeps what
/// it is given twice.
pub(crate) async fn relay(
    downstream: &mut Io,
    upstream: &mut Io,
    meter: Meter<'_>,
) -> io::Result<()> {
    let mut counted = Counted::new(meter);
    let mut request = Flow::from(Side::Downstream);
    let mut response = Flow::from(Side::Upstream);
    let copied = poll_fn(|cx| {
        let there = request.poll(cx, downstream, upstream, &counted)?;
        let back = response.poll(cx, upstream, downstream, &counted)?;
        match (there, back) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await;
    counted.flag = match &copied {
        Ok(()) => ResponseFlag::None,
        Err(Broken(Side::Upstream, _)) => ResponseFlag::UpstreamClosed,
        Err(Broken(Side::Downstream, _)) => ResponseFlag::DownstreamClosed,
    };
    copied.map_err(|Broken(_, error)| {
        downstream.reset_on_close();
        upstream.reset_on_close();
        error
    })
}

#[derive(Clone, Copy)]
enum Side {
    Downstream,
    Upstream,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Downstream => Side::Upstream,
            Side::Upstream => Side::Downstream,
        }
    }
}

/// Whose connection broke, and how.
struct Broken(Side, io::Error);

/// One direction.
struct Flow {
    sender: Side,
    /// What the receiver has not taken yet.
    pending: BytesMut,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Open,
    /// The sender has ended; the receiver has not been told yet.
    Ended,
    Done,
}

impl From<Side> for Flow {
    fn from(sender: Side) -> Self {
        Self {
            sender,
            pending: BytesMut::new(),
            state: State::Open,
        }
    }
}

impl Flow {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        counted: &Counted<'_>,
    ) -> Poll<Result<(), Broken>> {
        let receiver = self.sender.other();
        let unwritten = |error| Broken(receiver, error);
        let mut moved = 0;
        loop {
            while !self.pending.is_empty() {
                let n = ready!(write(cx, to, &self.pending)).map_err(unwritten)?;
                self.pending.advance(n);
            }
            self.pending = BytesMut::new();
            ready!(to.poll_room(cx)).map_err(unwritten)?;
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(unwritten)?;
                    self.state = State::Done;
                }
                State::Open if moved >= TURN => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Open => match scratch::with(|s| self.pass(cx, from, to, s)) {
                    Poll::Ready(Ok(0)) => self.state = State::Ended,
                    Poll::Ready(Ok(n)) => {
                        counted.moved(self.sender, n as u64);
                        moved += n;
                    }
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(unwritten)?;
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// Reads once and passes it on; how many bytes.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        scratch: &mut Scratch,
    ) -> Poll<Result<usize, Broken>> {
        let received = ready!(from.poll_receive(cx, scratch));
        let received = received.map_err(|error| Broken(self.sender, error))?;
        let left = to.send(cx, scratch, received);
        let left = left.map_err(|error| Broken(self.sender.other(), error))?;
        self.pending
            .extend_from_slice(&scratch.plain[received - left..received]);
        Poll::Ready(Ok(received))
    }
}

fn write(cx: &mut Context<'_>, to: &mut Io, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => Poll::Ready(other),
    }
}

/// Counts one connection, also when the relay is given up.
struct Counted<'a> {
    meter: Meter<'a>,
    flag: ResponseFlag,
}

impl<'a> Counted<'a> {
    fn new(meter: Meter<'a>) -> Self {
        if let Meter::Series(series) = meter {
            series.opened();
        }
        // Until it is known better: the sidecar ends before the connection.
        let flag = ResponseFlag::LocalReset;
        Self { meter, flag }
    }

    fn moved(&self, sender: Side, bytes: u64) {
        match (&self.meter, sender) {
            (Meter::Series(series), Side::Downstream) => series.received(bytes),
            (Meter::Series(series), Side::Upstream) => series.sent(bytes),
            (Meter::Tally(tally), Side::Downstream) => tally.sent.set(tally.sent.get() + bytes),
            (Meter::Tally(tally), Side::Upstream) => {
                tally.received.set(tally.received.get() + bytes);
            }
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        match &self.meter {
            Meter::Series(series) => series.closed(self.flag),
            Meter::Tally(tally) => tally.flag.set(self.flag),
        }
    }
}
