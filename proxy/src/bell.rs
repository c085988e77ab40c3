//! A waker between a task and a part of what it does. What rings while the task is at that part (two
//! halves of it tell each other of what they did) makes it look once more, and costs no turn of the
//! scheduler; a part for which nothing has rung need not be polled at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Looks in one turn, so that no connection keeps the others waiting.
const LOOKS: usize = 16;

/// The bell of one part.
pub(crate) struct Bell {
    shared: Arc<Shared>,
    waker: Waker,
}

struct Shared {
    state: AtomicU8,
    task: AtomicWaker,
}

/// Nobody is at it, and nothing has happened.
const QUIET: u8 = 0;
/// The task is at it.
const DRIVING: u8 = 1;
/// The task is at it, and should look once more.
const RUNG: u8 = 2;
/// Nobody is at it, and something has happened: its bytes, or its end, have come.
const STIRRED: u8 = 3;

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let (Ok(before) | Err(before)) =
            self.state
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
                    DRIVING => Some(RUNG),
                    QUIET => Some(STIRRED),
                    _ => None,
                });
        if matches!(before, QUIET | STIRRED) {
            self.task.wake();
        }
    }
}

impl Bell {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU8::new(QUIET),
            task: AtomicWaker::new(),
        });
        Self {
            waker: Arc::clone(&shared).into(),
            shared,
        }
    }

    /// Polls for the task of `cx`, again while it rings.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.shared.task.register(cx.waker());
        let mut inner = Context::from_waker(&self.waker);
        for _ in 0..LOOKS {
            self.shared.state.store(DRIVING, Ordering::Release);
            let polled = poll(&mut inner);
            let rung = self.shared.state.swap(QUIET, Ordering::AcqRel) == RUNG;
            if polled.is_ready() || !rung {
                return polled;
            }
        }
        self.ring();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Polls only if something has happened; the first time it must be rung by hand.
    pub(crate) fn poll_if_stirred<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.stirred() {
            return self.poll(cx, poll);
        }
        self.shared.task.register(cx.waker());
        // It may have rung for the task of before.
        match self.stirred() {
            true => self.poll(cx, poll),
            false => Poll::Pending,
        }
    }

    /// Makes it be looked at.
    pub(crate) fn ring(&self) {
        self.shared.state.store(STIRRED, Ordering::Release);
    }

    /// Whether something has happened since it was polled last.
    pub(crate) fn stirred(&self) -> bool {
        self.shared.state.load(Ordering::Acquire) != QUIET
    }

    /// Lets go of the task.
    pub(crate) fn forget(&self) {
        self.shared.task.take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), count.into())
    }

    #[test]
    fn what_rings_from_within_is_looked_at_in_the_same_turn() {
        let (woken, waker) = task();
        let bell = Bell::new();
        let mut looks = 0;
        let polled = bell.poll(&mut Context::from_waker(&waker), |cx| {
            looks += 1;
            if looks < 3 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((looks, woken.0.load(Ordering::Relaxed)), (3, 0));
        assert!(!bell.stirred());
    }

    #[test]
    fn what_rings_from_outside_wakes_the_task() {
        let (woken, waker) = task();
        let bell = Bell::new();
        let mut outside = None;
        let polled = bell.poll(&mut Context::from_waker(&waker), |cx| {
            outside = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        outside.iter().for_each(Waker::wake_by_ref);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(bell.stirred());
        bell.forget();
        outside.iter().for_each(Waker::wake_by_ref);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_has_not_rung_is_not_polled() {
        let (_, waker) = task();
        let bell = Bell::new();
        let mut polls = 0;
        let mut poll = || {
            bell.poll_if_stirred(&mut Context::from_waker(&waker), |_| {
                polls += 1;
                Poll::<()>::Pending
            })
        };
        assert!(poll().is_pending());
        bell.ring();
        assert!(poll().is_pending());
        assert!(poll().is_pending());
        assert_eq!(polls, 1);
    }

    #[test]
    fn one_that_always_rings_gives_the_others_their_turn() {
        let (woken, waker) = task();
        let bell = Bell::new();
        let polled = bell.poll(&mut Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(bell.stirred());
    }
}
