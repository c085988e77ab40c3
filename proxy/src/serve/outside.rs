//! What interrupts the serving of a connection: the sidecar drains, or a look at the clock says
//! something. Polled only when one of them has news, which is next to never.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

use super::clock::{Clock, LOOK, Look, Watch};
use crate::bell::Bell;

/// An interruption.
pub(super) enum Event {
    /// Once.
    Drain,
    /// The connection is idle.
    Rest,
    /// It has waited too long, for this.
    Late(&'static str),
}

/// Waits for interruptions.
pub(super) struct Outside<'a, D> {
    drain: Pin<&'a mut D>,
    pub(super) draining: bool,
    next_look: Pin<&'a mut Sleep>,
    clock: Arc<Clock>,
    watch: Watch,
    bell: Bell,
}

impl<'a, D: Future<Output = ()>> Outside<'a, D> {
    pub(super) fn new(
        drain: Pin<&'a mut D>,
        next_look: Pin<&'a mut Sleep>,
        clock: Arc<Clock>,
    ) -> Self {
        let bell = Bell::new();
        bell.ring();
        Self {
            drain,
            draining: false,
            next_look,
            clock,
            watch: Watch::default(),
            bell,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Self {
            drain,
            draining,
            next_look,
            clock,
            watch,
            bell,
        } = self;
        let event = bell.poll_if_stirred(cx, |cx| {
            if !*draining && drain.as_mut().poll(cx).is_ready() {
                *draining = true;
                return Poll::Ready(Event::Drain);
            }
            loop {
                ready!(next_look.as_mut().poll(cx));
                next_look.as_mut().reset(Instant::now() + LOOK);
                match clock.look(watch) {
                    Look::Busy => {}
                    Look::Resting => return Poll::Ready(Event::Rest),
                    Look::Late(why) => return Poll::Ready(Event::Late(why)),
                }
            }
        });
        if event.is_ready() {
            bell.ring();
        }
        event
    }

    /// When the sidecar drains; for a connection that is served by nobody at the moment.
    pub(super) async fn drained(&mut self) {
        if !self.draining {
            self.drain.as_mut().await;
            self.draining = true;
        }
    }

    /// The connection is taken up again.
    pub(super) fn resume(&mut self) {
        self.watch = Watch::default();
        self.next_look.as_mut().reset(Instant::now() + LOOK);
        self.bell.ring();
    }
}
