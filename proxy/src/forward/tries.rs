//! The attempts at one request. One is repeated only where nothing of it can have been processed,
//! where repeating cannot matter (an idempotent request without a body), or where the route asks for
//! it; at another endpoint while one is left.
//!
//! Invariant: what may have reached a server is repeated within the cluster's budget only. Moving on
//! from an endpoint that was sent nothing adds no load, and is not counted there.

use std::rc::Rc;
use std::time::{Duration, Instant};

use heddle_identity::backoff::Backoff;
use heddle_proxy_telemetry::ResponseFlag;
use http::StatusCode;

use super::deadline::{self, Deadline, passed};
use super::plan::{Cause, Plan, is_idempotent};
use super::{Answer, Forwarding};
use crate::balance::Pick;
use crate::body::RequestBody;
use crate::breaker::Overflow;
use crate::cluster::{Member, RetryPermit};
use crate::head::Spare;
use crate::reply::Failure;
use crate::upstream::connect::{ConnectError, Link};
use crate::upstream::{SendError, Upstream, Version, since};
use crate::worker::Worker;

/// Base of the pause before a try when the route names none (Envoy's).
const RETRY_BASE: Duration = Duration::from_millis(25);

/// The longest pause, in bases (Envoy's).
const LONGEST_PAUSE: u32 = 10;

pub(super) struct Tries<'a> {
    worker: &'a Worker,
    plan: &'a Plan<'a>,
    forwarding: &'a mut Forwarding,
    /// When the request's time ends, if it does.
    until: Option<tokio::time::Instant>,
    /// Who is asked just now.
    asked: Option<&'a Rc<Member>>,
    tried: Vec<Rc<Upstream>>,
    /// A copy of the request under way, where it may be sent again.
    spare: Option<Spare<RequestBody>>,
    retries: u32,
    /// Held while a repetition is under way.
    permit: Option<RetryPermit>,
    backoff: Option<Backoff>,
    refused_since: Option<Instant>,
}

/// What became of one attempt. Nearly always an answer, for which a box would be an allocation.
#[allow(clippy::large_enum_variant)]
enum Attempt {
    Answered(Answer),
    /// Nothing was sent, or sending it again is harmless: at once, on a new connection.
    Again,
    /// If there may be another.
    Retry(Failure, Cause),
    /// There may.
    Granted(Cause),
    Failed(Failure),
}

impl<'a> Tries<'a> {
    pub(super) fn new(
        worker: &'a Worker,
        plan: &'a Plan<'a>,
        forwarding: &'a mut Forwarding,
        until: Option<tokio::time::Instant>,
    ) -> Self {
        Self {
            worker,
            plan,
            forwarding,
            until,
            asked: None,
            tried: Vec::new(),
            spare: None,
            retries: 0,
            permit: None,
            backoff: None,
            refused_since: None,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Answer, Failure> {
        let mut fresh = false;
        loop {
            let pick = Pick {
                hash: self.plan.hash,
                tried: &self.tried,
            };
            let plan: &'a Plan<'a> = self.plan;
            let Some(member) = plan.cluster.pick(pick) else {
                self.count_unplaced();
                return Err(no_endpoint(self.plan));
            };
            self.asked = Some(member);
            let per_try = self.plan.retries.and_then(|r| r.per_try_timeout);
            let mut bound = per_try.map(|bound| Deadline::new(bound, false));
            let in_time = tokio::select! {
                biased;
                outcome = self.attempt(member, fresh) => Some(outcome),
                () = passed(&mut bound) => None,
            };
            self.asked = None;
            let outcome = match in_time {
                Some(outcome) => outcome,
                None => self.too_slow(member, per_try.unwrap_or_default()),
            };
            let cause = match outcome {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::Again => {
                    fresh = true;
                    continue;
                }
                Attempt::Granted(cause) => cause,
                Attempt::Retry(failure, cause) => match self.grant(cause) {
                    Ok(()) => cause,
                    Err(_) => return Err(failure),
                },
            };
            fresh = false;
            if !self.plan.retries.is_some_and(|r| r.ignore_previous_hosts) {
                self.tried.push(Rc::clone(&member.upstream));
            }
            self.pause(cause).await;
        }
    }

    /// The time of the whole request has passed: whoever was asked has not answered in it.
    pub(super) fn late(&self) {
        if let Some(member) = self.asked {
            self.unanswered(member);
        }
    }

    /// Nothing came of asking in time. That is not the endpoint's doing where the request waited for
    /// one of the connections that it may have: what it held of one that was being made is given
    /// back by now.
    fn unanswered(&self, member: &Member) {
        let waited = self.forwarding.request.is_some() && member.upstream.is_full();
        if !waited {
            member.failed();
        }
    }

    fn count_unplaced(&mut self) {
        if let Some(labels) = self.plan.labels {
            let shard = &self.worker.shard;
            let labels = |protocol| labels(None, protocol);
            let cluster = self.plan.cluster;
            let series = cluster.unplaced_http(shard, self.plan.grpc, labels);
            self.forwarding.exchange.series = Some(series);
        }
    }

    /// Nothing is gained by waiting before an endpoint that has not been asked yet, when another
    /// took no connection.
    async fn pause(&mut self, cause: Cause) {
        let untried = (1..self.plan.cluster.len()).contains(&self.tried.len());
        if untried && cause == Cause::Unsent {
            return;
        }
        let base = self.plan.retries.and_then(|r| r.backoff);
        let base = base.unwrap_or(RETRY_BASE);
        let pause = self
            .backoff
            .get_or_insert_with(|| Backoff::new(base, base.saturating_mul(LONGEST_PAUSE)))
            .next();
        tokio::time::sleep(pause).await;
    }

    /// Whether there may be another try; else the flag that says why not.
    fn grant(&mut self, cause: Cause) -> Result<(), ResponseFlag> {
        let (plan, tally) = (self.plan, &self.worker.tally);
        if plan.attempts() == 0 {
            return Err(ResponseFlag::None);
        }
        let patient = self
            .refused_since
            .is_some_and(|refused| since(refused) < plan.patience);
        if self.retries >= plan.attempts() && !patient {
            tally.denied("attempts");
            return Err(ResponseFlag::RetryLimit);
        }
        if cause != Cause::Unsent && self.permit.is_none() {
            self.permit = plan.cluster.begin_retry();
            if self.permit.is_none() {
                tally.denied("budget");
                return Err(ResponseFlag::UpstreamOverflow);
            }
        }
        self.retries = self.retries.saturating_add(1);
        tally.retried(plan.cluster.service.as_ref(), cause.label());
        Ok(())
    }

    /// An attempt that took longer than the route gives each.
    fn too_slow(&mut self, member: &Member, bound: Duration) -> Attempt {
        self.unanswered(member);
        let unsent = self.forwarding.request.is_some();
        let what = if unsent {
            "took no connection"
        } else {
            "did not answer"
        };
        let failure = Failure::new(
            ResponseFlag::UpstreamTimeout,
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "{} {what} within the route's timeout of {bound:?} for each try",
                member.name()
            ),
        );
        if unsent {
            return Attempt::Retry(failure, Cause::Unsent);
        }
        let plan = self.plan;
        let spare = self.spare.take().filter(|spare| {
            let harmless = spare.body().is_empty() && is_idempotent(spare.method());
            spare.body().is_kept() && (harmless || plan.asks_for_no_answer())
        });
        match spare {
            Some(spare) => {
                self.forwarding.request = Some(spare.into_request());
                Attempt::Retry(failure, Cause::TooSlow)
            }
            None => Attempt::Failed(failure),
        }
    }

    async fn attempt(&mut self, member: &Rc<Member>, fresh: bool) -> Attempt {
        let plan = self.plan;
        let exchange = &mut self.forwarding.exchange;
        if let Some(labels) = plan.labels {
            let labels = |protocol| labels(Some(member), protocol);
            exchange.series = Some(member.http_series(&self.worker.shard, plan.grpc, labels));
        }
        let active = match plan.cluster.begin(member) {
            Ok(active) => active,
            Err(overflow) => return Attempt::Failed(overflown(&overflow)),
        };
        let asked = exchange.span.as_mut().map(|span| {
            span.attempt();
            span.endpoint(
                member.upstream.addr,
                Some(member.endpoint.workload.to_string().into()),
            );
            if let Link::Mesh(peer) = &member.upstream.link {
                span.peer_identity(peer.to_string());
            }
            Instant::now()
        });
        let dialer = &self.worker.dialer;
        let checkout = match member.upstream.checkout(dialer, plan.version, fresh).await {
            Ok(checkout) => checkout,
            Err(ConnectError::Overflow(overflow)) => {
                return Attempt::Failed(overflown(&overflow));
            }
            Err(error) => {
                member.failed();
                if error.is_refused() {
                    self.refused_since.get_or_insert_with(Instant::now);
                } else {
                    self.refused_since = None;
                }
                self.worker.connect_failed(&member.name(), &error);
                let text = format!("cannot connect to {}: {error}", member.name());
                let failure = unavailable(ResponseFlag::UpstreamConnectFailure, text);
                return Attempt::Retry(failure, Cause::Unsent);
            }
        };
        if let (Some(span), Some(asked)) = (&mut self.forwarding.exchange.span, asked) {
            let connected = if checkout.reused {
                Duration::ZERO
            } else {
                since(asked)
            };
            span.mark_connect(connected);
        }
        let Some(mut request) = self.forwarding.request.take() else {
            return Attempt::Failed(nothing_to_send(self.plan));
        };
        if plan.deadline.is_some()
            && let Some(until) = self.until
        {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            deadline::tell(request.headers_mut(), left);
        }
        let harmless =
            checkout.reused && is_idempotent(request.method()) && request.body().is_empty();
        let keep = harmless || plan.version == Version::Http2 || plan.may_repeat();
        let body = keep.then(|| request.body().again()).flatten();
        self.spare = body.map(|body| Spare::of(&request, body));
        let mut lease = checkout.lease;
        match lease.send(request).await {
            Ok(response) => {
                member.answered(response.status(), response.headers(), plan.grpc);
                match plan.cause(&response) {
                    Some(cause) if self.repeats(cause) => Attempt::Granted(cause),
                    _ => Attempt::Answered(Answer {
                        response,
                        active,
                        lease,
                    }),
                }
            }
            Err(error) => self.broken_off(member, error, fresh, harmless),
        }
    }

    /// Whether an answer that the route wants another for is dropped for that. Else it is the
    /// answer, with a flag that says why there is no other.
    fn repeats(&mut self, cause: Cause) -> bool {
        let Some(spare) = self.spare.take().filter(|spare| spare.body().is_kept()) else {
            return false;
        };
        match self.grant(cause) {
            Ok(()) => {
                self.forwarding.request = Some(spare.into_request());
                true
            }
            Err(flag) => {
                self.forwarding.exchange.flag = flag;
                false
            }
        }
    }

    /// The connection ended, or the stream was reset, before a response head came.
    fn broken_off(
        &mut self,
        member: &Member,
        error: SendError,
        fresh: bool,
        harmless: bool,
    ) -> Attempt {
        let text = format!(
            "{} closed the connection before answering: {}",
            member.name(),
            error.source
        );
        let failure = unavailable(ResponseFlag::UpstreamClosed, text);
        let untouched = error.is_refused_stream();
        if error.is_broken_request()
            && let Some(fault) = self.forwarding.exchange.clients_fault()
        {
            return Attempt::Failed(broken_request(fault));
        }
        let spare = self.spare.take().filter(|spare| spare.body().is_kept());
        let spare = spare.map(Spare::into_request);
        let (outcome, again) = match (error.unsent, spare) {
            (Some(unsent), _) if !fresh => (Attempt::Again, *unsent),
            (Some(unsent), _) => (Attempt::Retry(failure, Cause::Unsent), *unsent),
            (None, Some(spare)) if !fresh && (harmless || untouched) => (Attempt::Again, spare),
            (None, Some(spare)) if untouched => (Attempt::Retry(failure, Cause::Refused), spare),
            (None, Some(spare)) if self.plan.asks_for_no_answer() => {
                (Attempt::Retry(failure, Cause::Reset), spare)
            }
            _ => {
                member.failed();
                return Attempt::Failed(failure);
            }
        };
        if matches!(outcome, Attempt::Retry(..)) {
            member.failed();
        }
        self.forwarding.request = Some(again);
        outcome
    }
}

/// Not reached: whatever asks for another attempt has put the request back.
fn nothing_to_send(plan: &Plan<'_>) -> Failure {
    let text = format!("a request to {} was lost in the sidecar", plan.cluster);
    Failure::new(
        ResponseFlag::UpstreamClosed,
        StatusCode::INTERNAL_SERVER_ERROR,
        text,
    )
}

/// A bound of the destination is reached: asking again would only add to it.
fn overflown(overflow: &Overflow) -> Failure {
    unavailable(ResponseFlag::UpstreamOverflow, overflow.to_string())
}

fn unavailable(flag: ResponseFlag, text: String) -> Failure {
    Failure::new(flag, StatusCode::SERVICE_UNAVAILABLE, text)
}

/// What came of the body was sent on and cannot be finished: whoever got it has not failed.
fn broken_request(fault: ResponseFlag) -> Failure {
    let text = match fault {
        ResponseFlag::DownstreamClosed => "the client left in the middle of its request's body",
        _ => "the request cannot be forwarded: its body is malformed",
    };
    Failure::new(fault, StatusCode::BAD_REQUEST, text)
}

fn no_endpoint(plan: &Plan<'_>) -> Failure {
    let cluster = plan.cluster;
    let text = match cluster.is_empty() {
        true => format!(
            "{cluster} has no ready endpoint; `heddle status` shows its pods, and a host may not resolve"
        ),
        false => format!(
            "{cluster} has no endpoint left: outlierDetection leaves out all that there are; `heddle explain` \
             shows them"
        ),
    };
    unavailable(ResponseFlag::NoHealthyUpstream, text)
}
