//! What a served HTTP connection is doing, and how long it may do nothing: between requests, in the
//! middle of a head, and while a request's body or an answer's reader is waited for. It is looked at
//! now and then, so a request reads no clock and sets no timer; what takes too long is found a look
//! later.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::io::heads::Fault;
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
    /// How often a head over HTTP/2 has begun or ended: odd while one is on its way. Wraps.
    blocks: AtomicU32,
    /// The peer has not taken everything that was written.
    stuck: AtomicBool,
    /// More of a body is asked for, and has not come.
    waits: AtomicBool,
    /// How often bytes went either way; wraps.
    moves: AtomicU32,
    /// Requests that their sender gave up before they were answered.
    given_up: AtomicU32,
    /// The request that must be refused, by its place among all of them.
    refused: OnceLock<(u32, Fault)>,
}

/// One request under way.
pub(crate) struct UnderWay {
    clock: Arc<Clock>,
    number: u32,
}

impl UnderWay {
    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Why its head must be refused.
    pub(super) fn fault(&self) -> Option<Fault> {
        let (number, fault) = self.clock.refused.get()?;
        (*number == self.number).then_some(*fault)
    }

    /// Its sender wants no answer any more.
    pub(super) fn given_up(&self) {
        let so_far = self.clock.given_up.load(Relaxed);
        self.clock.given_up.store(so_far.saturating_add(1), Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let clock = &self.clock;
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
    Late(Late),
}

/// What was waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    Request,
    Head,
    Body,
    Reader,
}

/// What the one who looks remembers.
#[derive(Default)]
pub(super) struct Watch {
    seen: Option<(u32, bool)>,
    idle: Duration,
    /// For a head over HTTP/2 that is on its way.
    blocks: u32,
    in_block: Duration,
    /// For a peer in the middle of a request.
    moves: u32,
    still: Duration,
}

impl Clock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::default()
    }

    /// A head that must be refused is coming: that of the request with this number.
    pub(crate) fn refuse(&self, request: u32, fault: Fault) {
        // Nothing behind the first is looked at.
        let _ = self.refused.set((request, fault));
    }

    /// Whether there are too many whose sender gives them up at once to be an accident.
    pub(super) fn is_abused(&self) -> bool {
        let given_up = self.given_up.load(Relaxed);
        given_up >= limits::GIVEN_UP && given_up >= self.requests.load(Relaxed) / 2
    }

    /// The last request's body has been read to its end.
    pub(crate) fn body_read(&self) {
        self.mid_body.store(false, Relaxed);
    }

    /// The peer has sent something: a head, unless it is still at a body.
    pub(crate) fn heard(&self) {
        self.waits.store(false, Relaxed);
        self.moved();
        if self.under_way.load(Relaxed) == 0 && !self.mid_body.load(Relaxed) {
            self.head_begun.store(true, Relaxed);
        }
    }

    /// A head over HTTP/2 has begun, or the one that had has ended.
    pub(crate) fn block(&self) {
        self.blocks.store(self.blocks().wrapping_add(1), Relaxed);
    }

    /// How often one has begun or ended.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks.load(Relaxed)
    }

    /// The peer has nothing to say for now, though it has begun to say something.
    pub(crate) fn waits(&self, for_more: bool) {
        self.waits.store(for_more, Relaxed);
    }

    /// Bytes went either way.
    pub(crate) fn moved(&self) {
        self.moves
            .store(self.moves.load(Relaxed).wrapping_add(1), Relaxed);
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
        let number = self.requests.load(Relaxed);
        self.requests.store(number.wrapping_add(1), Relaxed);
        self.mid_body.store(has_body, Relaxed);
        UnderWay {
            clock: Arc::clone(self),
            number,
        }
    }

    /// One look, so long after the one before. `stall`: how long a peer may stand still in the middle
    /// of a request.
    pub(super) fn look(&self, watch: &mut Watch, after: Duration, stall: Duration) -> Look {
        if let Some(late) = self.stalled(watch, after, stall) {
            return Look::Late(late);
        }
        if self.is_block_late(watch, after) {
            return Look::Late(Late::Head);
        }
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
            (_, true) if watch.idle >= limits::HEAD => Look::Late(Late::Head),
            (_, true) => Look::Busy,
            (_, false) if watch.idle >= limits::DOWNSTREAM_IDLE => Look::Late(Late::Request),
            _ if self.stuck.load(Relaxed) || self.mid_body.load(Relaxed) => Look::Busy,
            _ => Look::Resting,
        }
    }

    /// Whether the same head over HTTP/2 has been on its way for too long. Nothing else of its connection
    /// moves, whatever is under way there.
    fn is_block_late(&self, watch: &mut Watch, after: Duration) -> bool {
        let blocks = self.blocks();
        if blocks.is_multiple_of(2) || std::mem::replace(&mut watch.blocks, blocks) != blocks {
            watch.in_block = Duration::ZERO;
            return false;
        }
        watch.in_block += after;
        watch.in_block >= limits::HEAD
    }

    /// What the peer owes, if it has stood still for too long.
    fn stalled(&self, watch: &mut Watch, after: Duration, stall: Duration) -> Option<Late> {
        let owed = match (self.stuck.load(Relaxed), self.waits.load(Relaxed)) {
            (true, _) => Some(Late::Reader),
            (false, true) => Some(Late::Body),
            (false, false) => None,
        };
        let moves = self.moves.load(Relaxed);
        if owed.is_none() || std::mem::replace(&mut watch.moves, moves) != moves {
            watch.still = Duration::ZERO;
            return None;
        }
        watch.still += after;
        owed.filter(|_| !stall.is_zero() && watch.still >= stall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(250);
    const STALL: Duration = Duration::from_secs(300);

    /// What comes after so many looks that see nothing new.
    fn after(clock: &Clock, watch: &mut Watch, looks: u32) -> Look {
        let mut seen = Look::Busy;
        for _ in 0..looks {
            seen = clock.look(watch, LOOK, STALL);
        }
        seen
    }

    fn looks(time: Duration) -> u32 {
        (time.as_millis() / LOOK.as_millis()) as u32
    }

    #[test]
    fn a_connection_rests_after_one_look_without_news() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        assert_eq!(clock.look(&mut watch, LOOK, STALL), Look::Busy);
        assert_eq!(clock.look(&mut watch, LOOK, STALL), Look::Resting);
        drop(clock.asked(false));
        assert_eq!(clock.look(&mut watch, LOOK, STALL), Look::Busy);
        assert_eq!(clock.look(&mut watch, LOOK, STALL), Look::Resting);
    }

    #[test]
    fn an_idle_connection_lasts_an_hour() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        let hour = looks(limits::DOWNSTREAM_IDLE);
        assert_eq!(after(&clock, &mut watch, hour), Look::Resting);
        assert_eq!(
            clock.look(&mut watch, LOOK, STALL),
            Look::Late(Late::Request)
        );
    }

    #[test]
    fn a_head_that_never_ends_is_not_waited_for() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        clock.heard();
        let bound = looks(limits::HEAD);
        assert_eq!(after(&clock, &mut watch, bound), Look::Busy);
        assert_eq!(clock.look(&mut watch, LOOK, STALL), Look::Late(Late::Head));
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
        assert_eq!(clock.look(&mut watch, LOOK, STALL), Look::Resting);
    }

    #[test]
    fn a_body_that_stops_coming_is_not_waited_for_without_end() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        let _request = clock.asked(true);
        clock.waits(true);
        let bound = looks(STALL);
        for _ in 0..3 {
            clock.heard();
            clock.waits(true);
            assert_eq!(after(&clock, &mut watch, bound), Look::Busy);
        }
        assert_eq!(after(&clock, &mut watch, 1), Look::Late(Late::Body));
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for_without_end() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        let _request = clock.asked(false);
        clock.stuck();
        let bound = looks(STALL);
        for _ in 0..3 {
            clock.moved();
            clock.stuck();
            assert_eq!(after(&clock, &mut watch, bound), Look::Busy);
        }
        assert_eq!(
            clock.look(&mut watch, LOOK, STALL),
            Look::Late(Late::Reader)
        );
        let (mut patient, never) = (Watch::default(), Duration::ZERO);
        for _ in 0..2 * bound {
            assert_eq!(clock.look(&mut patient, LOOK, never), Look::Busy);
        }
    }

    #[test]
    fn only_the_request_with_the_fault_is_refused() {
        let clock = Clock::start();
        clock.refuse(1, Fault::Fragment);
        assert_eq!(clock.asked(false).fault(), None);
        assert_eq!(clock.asked(false).fault(), Some(Fault::Fragment));
        assert_eq!(clock.asked(false).fault(), None);
    }

    #[test]
    fn many_requests_given_up_are_abuse_when_they_are_most() {
        let clock = Clock::start();
        for n in 0..2 * limits::GIVEN_UP {
            let request = clock.asked(false);
            if n % 3 == 0 {
                request.given_up();
            }
        }
        assert!(!clock.is_abused());
        for _ in 0..2 * limits::GIVEN_UP {
            clock.asked(false).given_up();
        }
        assert!(clock.is_abused());
    }

    #[test]
    fn a_body_that_goes_on_after_its_answer_is_no_head() {
        let (clock, mut watch) = (Clock::start(), Watch::default());
        drop(clock.asked(true));
        clock.heard();
        let bound = looks(limits::HEAD);
        assert_eq!(after(&clock, &mut watch, 2 * bound), Look::Busy);
        clock.body_read();
        assert_eq!(clock.look(&mut watch, LOOK, STALL), Look::Resting);
        clock.heard();
        assert_eq!(after(&clock, &mut watch, bound + 1), Look::Late(Late::Head));
    }
}
