//! What a served HTTP connection is doing, and how long it may do nothing: between requests, and in
//! the middle of a head. It is looked at now and then, so a request reads no clock and sets no timer;
//! what takes too long is found a look later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::limits;

/// What one connection is doing. Only its own thread looks at it; atomic because an upgrade needs a
/// connection that can be sent to another.
#[derive(Default)]
pub(crate) struct Clock {
    /// Requests that are not answered whole.
    under_way: AtomicU32,
    /// Requests that ever came; wraps.
    requests: AtomicU32,
    /// Something has come since the last request was answered whole.
    head_begun: AtomicBool,
    /// The body of the last request has not been read to its end, as far as is known.
    mid_body: AtomicBool,
    /// The peer has not taken everything that was written.
    stuck: AtomicBool,
}

/// One request under way.
pub(crate) struct UnderWay(Arc<Clock>);

impl UnderWay {
    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let clock = &self.0;
        let others = clock.under_way.load(Relaxed) - 1;
        clock.under_way.store(others, Relaxed);
        clock.head_begun.store(false, Relaxed);
    }
}

/// What one look has seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Busy,
    /// Nothing has happened since the look before, and nothing is half done.
    Resting,
    /// It has waited too long, for this.
    Late(&'static str),
}

/// What the one who looks remembers.
#[derive(Default)]
pub(super) struct Watch {
    seen: Option<(u32, bool)>,
    idle: Duration,
}

impl Clock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::default()
    }

    /// The last request's body has been read to its end.
    pub(crate) fn body_read(&self) {
        self.mid_body.store(false, Relaxed);
    }

    /// The peer has sent something: a head, unless it is still at a body.
    pub(crate) fn heard(&self) {
        if self.under_way.load(Relaxed) == 0 && !self.mid_body.load(Relaxed) {
            self.head_begun.store(true, Relaxed);
        }
    }

    /// The peer takes no more for now.
    pub(crate) fn stuck(&self) {
        self.stuck.store(true, Relaxed);
    }

    /// The peer has been sent everything.
    pub(crate) fn flushed(&self) {
        self.stuck.store(false, Relaxed);
    }

    /// A head is complete; the request lasts until the guard is dropped.
    pub(super) fn asked(self: &Arc<Self>, has_body: bool) -> UnderWay {
        self.under_way
            .store(self.under_way.load(Relaxed) + 1, Relaxed);
        self.requests
            .store(self.requests.load(Relaxed).wrapping_add(1), Relaxed);
        self.mid_body.store(has_body, Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// One look, so long after the one before.
    pub(super) fn look(&self, watch: &mut Watch, after: Duration) -> Look {
        if self.under_way.load(Relaxed) > 0 {
            watch.seen = None;
            return Look::Busy;
        }
        let now = (self.requests.load(Relaxed), self.head_begun.load(Relaxed));
        if watch.seen.replace(now) != Some(now) {
            watch.idle = Duration::ZERO;
            return Look::Busy;
        }
        watch.idle += after;
        match now {
            (_, true) if watch.idle >= limits::HEAD => Look::Late("no whole head came"),
            (_, true) => Look::Busy,
            (_, false) if watch.idle >= limits::DOWNSTREAM_IDLE => Look::Late("no request came"),
            _ if self.stuck.load(Relaxed) || self.mid_body.load(Relaxed) => Look::Busy,
            _ => Look::Resting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(250);

    /// What comes after so many looks that see nothing new.
    fn after(clock: &Clock, watch: &mut Watch, looks: u32) -> Look {
        let mut seen = Look::Busy;
        for _ in 0..looks {
            seen = clock.look(watch, LOOK);
        }
        seen
    }

    fn looks(time: Duration) -> u32 {
        (time.as_millis() / LOOK.as_millis()) as u32
    }

    #[test]
    fn a_connection_rests_after_one_look_without_news() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        assert_eq!(clock.look(&mut watch, LOOK), Look::Busy);
        assert_eq!(clock.look(&mut watch, LOOK), Look::Resting);
        drop(clock.asked(false));
        assert_eq!(clock.look(&mut watch, LOOK), Look::Busy);
        assert_eq!(clock.look(&mut watch, LOOK), Look::Resting);
    }

    #[test]
    fn an_idle_connection_lasts_an_hour() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        let hour = looks(limits::DOWNSTREAM_IDLE);
        assert_eq!(after(&clock, &mut watch, hour), Look::Resting);
        assert_eq!(clock.look(&mut watch, LOOK), Look::Late("no request came"));
    }

    #[test]
    fn a_head_that_never_ends_is_not_waited_for() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        clock.heard();
        let bound = looks(limits::HEAD);
        assert_eq!(after(&clock, &mut watch, bound), Look::Busy);
        assert_eq!(
            clock.look(&mut watch, LOOK),
            Look::Late("no whole head came")
        );
    }

    #[test]
    fn a_request_may_last() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        clock.heard();
        let request = clock.asked(false);
        assert_eq!(after(&clock, &mut watch, 1_000_000), Look::Busy);
        clock.heard();
        drop(request);
        assert_eq!(after(&clock, &mut watch, 2), Look::Resting);
    }

    #[test]
    fn nothing_rests_in_the_middle_of_a_body_or_of_a_write() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        drop(clock.asked(true));
        assert_eq!(after(&clock, &mut watch, 10), Look::Busy);
        let request = clock.asked(true);
        request.clock().body_read();
        clock.stuck();
        drop(request);
        assert_eq!(after(&clock, &mut watch, 10), Look::Busy);
        clock.flushed();
        assert_eq!(clock.look(&mut watch, LOOK), Look::Resting);
    }

    #[test]
    fn a_body_that_goes_on_after_its_answer_is_no_head() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        drop(clock.asked(true));
        clock.heard();
        let bound = looks(limits::HEAD);
        assert_eq!(after(&clock, &mut watch, 2 * bound), Look::Busy);
        clock.body_read();
        assert_eq!(clock.look(&mut watch, LOOK), Look::Resting);
        clock.heard();
        assert_eq!(
            after(&clock, &mut watch, bound + 1),
            Look::Late("no whole head came")
        );
    }
}
