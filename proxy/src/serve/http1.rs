//! HTTP/1.1 on one connection. While it is idle it gives up everything that hyper holds for it
//! (buffers, mostly) and only waits for bytes: thousands of idle connections cost next to nothing.
//!
//! Invariant: it is given up only between two messages: the last answer is sent whole, the body of
//! its request was read to the end, and no byte of the next one has come.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::End;
use super::clock::{Clock, Late};
use super::outside::{Event, Outside};
use crate::body::ReplyBody;
use crate::io::Io;
use crate::limits;

/// How a connection is to be served.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// The sidecar drains already.
    pub(super) late: bool,
    /// Names of fields go on in the letters that they came in.
    pub(super) header_case: bool,
}

/// Serves until either side ends the connection.
pub(super) async fn serve<S, D>(
    io: Io,
    mut service: S,
    clock: &Arc<Clock>,
    outside: &mut Outside<'_, D>,
    manner: Manner,
) -> Result<(), End>
where
    S: Service<Request<Incoming>, Response = Response<ReplyBody>, Error = Infallible>,
    D: Future<Output = ()>,
{
    let mut io = io.served(clock);
    #[cfg(test)]
    let _open = counts::Counted::new(&counts::OPEN);
    loop {
        // At most 100 header fields: hyper's own bound, which costs less unnamed.
        let connection = http1::Builder::new()
            // The clock bounds heads; hyper's own bound would make a timer for each request.
            .header_read_timeout(None)
            .keep_alive(!manner.late)
            .preserve_header_case(manner.header_case)
            .max_buf_size(limits::HEAD_BYTES)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = Box::new(connection);
        let ended = poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                    return Poll::Ready(Some(ended.map_err(End::Http)));
                }
                match ready!(outside.poll(cx)) {
                    Event::Drain => Pin::new(&mut *connection).graceful_shutdown(),
                    Event::Rest if !outside.draining => return Poll::Ready(None),
                    Event::Rest => {}
                    Event::Late(what) => return Poll::Ready(Some(Err(End::Late(what)))),
                }
            }
        })
        .await;
        if let Some(Ok(())) = ended {
            return Ok(());
        }
        let Some(parts) = connection.into_parts() else {
            return Ok(());
        };
        io = parts.io.into_inner();
        if let Some(Err(error)) = ended {
            if error.is_broken_off() {
                // What ends with the connection must not look whole.
                io.reset_on_close();
            }
            return Err(error);
        }
        io.unread(parts.read_buf);
        service = parts.service;
        if !rest(&mut io, clock, outside).await? {
            return Ok(());
        }
    }
}

/// Waits for bytes. `false`: there will be none, and the connection is closed.
async fn rest<D: Future<Output = ()>>(
    io: &mut Io,
    clock: &Clock,
    outside: &mut Outside<'_, D>,
) -> Result<bool, End> {
    #[cfg(test)]
    let _resting = counts::Counted::new(&counts::RESTING);
    tokio::select! {
        biased;
        more = io.read_ahead(limits::HEAD_BYTES) => {
            if more.map_err(End::Broken)? {
                clock.heard();
                outside.resume();
                return Ok(true);
            }
        }
        () = outside.drained() => {}
        () = tokio::time::sleep(limits::DOWNSTREAM_IDLE) => {
            return Err(End::Late(Late::Request));
        }
    }
    // A peer that takes nothing at this moment sees it broken off.
    let _ = tokio::time::timeout(limits::GIVE_BACK, io.shutdown()).await;
    Ok(false)
}

/// How many connections a thread serves, and how many of them rest, for tests that must know.
#[cfg(test)]
pub(crate) mod counts {
    use std::cell::Cell;
    use std::thread::LocalKey;

    thread_local! {
        pub(crate) static OPEN: Cell<usize> = const { Cell::new(0) };
        pub(crate) static RESTING: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) struct Counted(&'static LocalKey<Cell<usize>>);

    impl Counted {
        pub(super) fn new(count: &'static LocalKey<Cell<usize>>) -> Self {
            count.set(count.get() + 1);
            Self(count)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
}
