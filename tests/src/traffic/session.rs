//! What gRPC streams and WebSockets have in common: messages with ids go out at a steady pace, and
//! each must come back whole and in order. What a stream leaves unacknowledged is sent again on the
//! next one, before anything new.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::record::{Failure, Kind};
use super::{ANSWER, Plan, Work, payload};

/// How long a stream may take to open, and to close.
const OPEN: Duration = Duration::from_secs(10);
/// After a stream that could not be opened.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a stream that takes nothing more may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Messages on a short stream.
const SHORT: usize = 3;

/// What came on a stream.
pub(super) enum Received {
    Message(Bytes),
    /// The server moves its clients elsewhere.
    Moved,
    Broken(String),
}

/// A stream of messages.
pub(super) trait Session: Sized {
    const KIND: Kind;
    async fn open(plan: &Plan) -> Result<Self, String>;
    async fn send(&mut self, message: Bytes) -> Result<(), String>;
    /// Loses nothing when it is dropped before it is done.
    async fn next(&mut self) -> Received;
    /// Ends it in order.
    async fn close(self) -> Result<(), String>;
}

enum End {
    Stopped,
    Moved,
    Broken(String),
}

/// Opens streams until the end. `life`: short ones, one in each such time; else one that stays.
pub(super) async fn run<S: Session + 'static>(mut work: Work, life: Option<Duration>) {
    let mut unacknowledged = VecDeque::new();
    while !work.stopped() {
        let opened = timeout(OPEN, S::open(&work.plan)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no answer in {OPEN:?}")));
        let mut session = match opened {
            Ok(session) => session,
            Err(reason) => {
                let reason = format!("cannot open a stream: {reason}");
                work.record.broken(S::KIND, reason);
                work.pause(AGAIN).await;
                continue;
            }
        };
        work.record.opened(S::KIND);
        let limit = life.map(|_| SHORT);
        let ended = match carry(&mut session, &mut work, &mut unacknowledged, limit).await {
            End::Stopped => match timeout(OPEN, session.close()).await {
                Ok(Ok(())) => None,
                Ok(Err(reason)) => Some(End::Broken(format!("while closing: {reason}"))),
                Err(_) => Some(End::Broken(format!("did not close in {OPEN:?}"))),
            },
            end => Some(end),
        };
        match ended {
            Some(End::Broken(reason)) => work.record.broken(S::KIND, reason),
            Some(_) => work.record.moved(S::KIND),
            None => {}
        }
        if let Some(pause) = life {
            work.pause(pause).await;
        }
    }
    for _ in unacknowledged {
        let never = Failure::new("never acknowledged, on any stream");
        work.record.failed(S::KIND, never);
    }
}

/// Sends and compares until the end, or until so many messages were acknowledged.
async fn carry<S: Session>(
    session: &mut S,
    work: &mut Work,
    unacknowledged: &mut VecDeque<u64>,
    limit: Option<usize>,
) -> End {
    let record = std::sync::Arc::clone(&work.record);
    let mut in_flight: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut tick = interval(work.plan.pace);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    // Why nothing more can be sent, and since when: what was said before still comes.
    let mut deaf: Option<(String, Instant)> = None;
    let end = loop {
        let stopped = work.stopped() || limit.is_some_and(|limit| sent >= limit);
        // What an earlier stream has left must be acknowledged even at the end.
        let done = stopped && unacknowledged.is_empty();
        if done && in_flight.is_empty() {
            break End::Stopped;
        }
        let late = match (&deaf, in_flight.front()) {
            (Some((_, since)), _) => Some(*since + LAST_WORDS),
            (None, Some((_, sent))) => Some(*sent + ANSWER),
            (None, None) => None,
        };
        let late = async {
            match late {
                Some(late) => sleep_until(late.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            received = session.next() => match received {
                Received::Message(message) => match in_flight.pop_front() {
                    Some((id, sent)) if message == payload(id) => {
                        record.answer(S::KIND, sent.elapsed());
                    }
                    expected => {
                        let what = format!("sent {expected:?}, and {message:?} came back");
                        record.failed(S::KIND, Failure::new(what));
                        break End::Broken("it mixes up its messages".into());
                    }
                },
                Received::Moved => break End::Moved,
                Received::Broken(reason) => break End::Broken(reason),
            },
            () = late => break End::Broken(match deaf {
                Some((reason, _)) => reason,
                None => format!("a message is not answered in {ANSWER:?}"),
            }),
            _ = work.stop.changed(), if !work.stopped() => {}
            _ = tick.tick(), if !done && deaf.is_none() => {
                let id = unacknowledged.pop_front().unwrap_or_else(|| work.id());
                in_flight.push_back((id, Instant::now()));
                sent += 1;
                if let Err(reason) = session.send(payload(id)).await {
                    deaf = Some((reason, Instant::now()));
                }
            }
        }
    };
    for (id, _) in in_flight.into_iter().rev() {
        unacknowledged.push_front(id);
    }
    end
}
