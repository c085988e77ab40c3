//! What interrupts the serving of a connection: the sidecar drains, or a look at the clock says
//! something. Polled only when one of them has news, which is next to never.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::clock::{Clock, Late, Look, Watch};
use crate::bell::Bell;

/// Until the first look at a connection, or at one that has been taken up again. It is soon found to
/// be idle, so that many that come at once never hold much together.
const FIRST_LOOK: Duration = Duration::from_millis(25);

/// Between two looks at one that is served for long. Each look doubles the time to the next.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// An interruption.
pub(super) enum Event {
    /// Once.
    Drain,
    /// The connection is idle.
    Rest,
    /// It has waited too long, for this.
    Late(Late),
}

/// Waits for interruptions.
pub(super) struct Outside<'a, D> {
    drain: Pin<&'a mut D>,
    pub(super) draining: bool,
    next_look: Pin<&'a mut Sleep>,
    /// Between the last look and the next.
    pace: Duration,
    clock: Arc<Clock>,
    watch: Watch,
    stall: Duration,
    bell: Bell,
}

impl<'a, D: Future<Output = ()>> Outside<'a, D> {
    pub(super) fn new(
        drain: Pin<&'a mut D>,
        next_look: Pin<&'a mut Sleep>,
        clock: Arc<Clock>,
        stall: Duration,
    ) -> Self {
        let mut outside = Self {
            drain,
            draining: false,
            next_look,
            pace: FIRST_LOOK,
            clock,
            watch: Watch::default(),
            stall,
            bell: Bell::new(),
        };
        outside.resume();
        outside
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Self {
            drain,
            draining,
            next_look,
            pace,
            clock,
            watch,
            stall,
            bell,
        } = self;
        let event = bell.poll_if_stirred(cx, |cx| {
            if !*draining && drain.as_mut().poll(cx).is_ready() {
                *draining = true;
                return Poll::Ready(Event::Drain);
            }
            loop {
                ready!(next_look.as_mut().poll(cx));
                let seen = clock.look(watch, *pace, *stall);
                *pace = LAST_LOOK.min(*pace * 2);
                next_look.as_mut().reset(Instant::now() + *pace);
                match seen {
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
        self.pace = FIRST_LOOK;
        self.next_look.as_mut().reset(Instant::now() + self.pace);
        self.bell.ring();
    }
}
