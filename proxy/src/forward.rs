//! Carries one request to an endpoint of a cluster and brings the head of its response back. It
//! repeats a request only where nothing of it can have been processed, where repeating cannot
//! matter (an idempotent request without a body), or where the route asks for it; and it goes to
//! another endpoint while one is left.

mod plan;

use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use heddle_identity::backoff::Backoff;
use heddle_proxy_telemetry::ResponseFlag;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Sleep;

pub(crate) use self::plan::Plan;
use self::plan::is_idempotent;
use crate::body::{ReplyBody, RequestBody};
use crate::cluster::Member;
use crate::exchange::Exchange;
use crate::head::{self, Survey};
use crate::reply::Failure;
use crate::upstream::connect::Link;
use crate::upstream::{ActiveRequest, Lease, SendError, Upstream, Version, since};
use crate::worker::Worker;

/// Delay before a try (Envoy's base interval and ten times it).
const RETRY_BASE: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_millis(250);

/// A response head, and what it came by.
struct Answer {
    response: Response<Incoming>,
    active: ActiveRequest,
    lease: Lease,
}

/// One request whose head is ready, and what will account for it. Kept in one place, and lent to
/// what works on it: what an `async fn` takes by value, it keeps twice.
pub(crate) struct Forwarding {
    /// What is to be sent next; taken when it is.
    request: Option<Request<RequestBody>>,
    exchange: Exchange,
}

/// How it went, and what is left of the time that the route gives.
pub(crate) struct Outcome {
    answer: Result<Answer, Failure>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Forwarding {
    pub(crate) fn new(request: Request<Incoming>, mut exchange: Exchange) -> Self {
        let (head, body) = request.into_parts();
        let (body, bytes) = RequestBody::new(body);
        exchange.request_bytes(bytes);
        Self {
            request: Some(Request::from_parts(head, body)),
            exchange,
        }
    }

    /// Carries the request to an endpoint, and the head of its answer back.
    pub(crate) async fn carry(&mut self, worker: &Worker, plan: &Plan<'_>) -> Outcome {
        let mut deadline = plan
            .timeout
            .map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        let mut tries = Tries {
            worker,
            plan,
            forwarding: self,
            tried: Vec::new(),
            spare: None,
            retries: 0,
            backoff: None,
            refused_since: None,
        };
        // One place with and without a deadline: each mention of a future that is awaited takes
        // its room.
        let answer = tokio::select! {
            biased;
            answer = tries.run() => answer,
            () = passed(&mut deadline) => Err(timed_out(plan)),
        };
        Outcome { answer, deadline }
    }

    /// The response on its way downstream.
    pub(crate) fn respond(self, outcome: Outcome, grpc: bool) -> Response<ReplyBody> {
        let mut exchange = self.exchange;
        match outcome.answer {
            Err(failure) => failure.into_response(grpc, exchange),
            Ok(Answer {
                mut response,
                active,
                lease,
            }) => {
                exchange.lent(active, lease, response.status());
                let seen = Survey::of(response.headers());
                head::clean_response(&mut response, seen);
                exchange.head(response.status(), response.headers(), seen);
                response.map(|body| ReplyBody::upstream(body, exchange, outcome.deadline))
            }
        }
    }
}

/// When the deadline has passed, if there is one.
async fn passed(deadline: &mut Option<Pin<Box<Sleep>>>) {
    match deadline {
        Some(deadline) => deadline.await,
        None => std::future::pending().await,
    }
}

fn timed_out(plan: &Plan<'_>) -> Failure {
    let after = plan.timeout.unwrap_or_default();
    Failure::new(
        ResponseFlag::UpstreamTimeout,
        StatusCode::GATEWAY_TIMEOUT,
        format!(
            "{} did not answer within the route's timeout of {after:?}",
            plan.cluster
        ),
    )
}

/// The attempts at one request.
struct Tries<'a> {
    worker: &'a Worker,
    plan: &'a Plan<'a>,
    forwarding: &'a mut Forwarding,
    tried: Vec<Rc<Upstream>>,
    /// A copy of the request under way, where it may be sent again.
    spare: Option<Request<RequestBody>>,
    retries: u32,
    backoff: Option<Backoff>,
    refused_since: Option<Instant>,
}

/// What became of one attempt.
enum Attempt {
    Answered(Answer),
    /// Nothing was sent, or sending it again is harmless: at once, on a new connection.
    Again,
    /// If a retry is left.
    Retry(Failure),
    Failed(Failure),
}

impl Tries<'_> {
    async fn run(&mut self) -> Result<Answer, Failure> {
        let mut fresh = false;
        loop {
            let Some(member) = self.plan.cluster.pick(&self.tried) else {
                let labels = |protocol| (self.plan.labels)(None, protocol);
                let shard = &self.worker.shard;
                let series = self
                    .plan
                    .cluster
                    .unplaced_http(shard, self.plan.grpc, labels);
                self.forwarding.exchange.series = Some(series);
                return Err(no_endpoint(self.plan));
            };
            let per_try = self.plan.retries.and_then(|r| r.per_try_timeout);
            let mut bound = per_try.map(|bound| Box::pin(tokio::time::sleep(bound)));
            let in_time = tokio::select! {
                biased;
                outcome = self.attempt(member, fresh) => Some(outcome),
                () = passed(&mut bound) => None,
            };
            let outcome = match in_time {
                Some(outcome) => outcome,
                None => self.too_slow(member, per_try.unwrap_or_default()),
            };
            match outcome {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::Again => fresh = true,
                Attempt::Retry(failure) => {
                    if !self.may_retry() {
                        return Err(failure);
                    }
                    fresh = false;
                    self.tried.push(Rc::clone(&member.upstream));
                    self.pause(&failure).await;
                }
            }
        }
    }

    /// Nothing is gained by waiting before an endpoint that has not been asked yet, when another
    /// took no connection.
    async fn pause(&mut self, failure: &Failure) {
        let untried = self.tried.len() < self.plan.cluster.len();
        if untried && failure.flag == ResponseFlag::UpstreamConnectFailure {
            return;
        }
        let pause = self
            .backoff
            .get_or_insert_with(|| Backoff::new(RETRY_BASE, RETRY_MAX))
            .next();
        tokio::time::sleep(pause).await;
    }

    fn may_retry(&mut self) -> bool {
        if self.plan.attempts() == 0 {
            return false;
        }
        let patient = self
            .refused_since
            .is_some_and(|refused| since(refused) < self.plan.patience);
        if self.retries < self.plan.attempts() {
            self.retries += 1;
            return true;
        }
        patient
    }

    /// An attempt that took longer than the route gives each.
    fn too_slow(&mut self, member: &Member, bound: Duration) -> Attempt {
        let failure = Failure::new(
            ResponseFlag::UpstreamTimeout,
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "{} did not answer within the route's timeout of {bound:?} for each try",
                member.name()
            ),
        );
        match self.spare.take() {
            Some(spare)
                if is_idempotent(spare.method())
                    || self.plan.asks_for(StatusCode::GATEWAY_TIMEOUT) =>
            {
                self.forwarding.request = Some(spare);
                Attempt::Retry(failure)
            }
            _ => Attempt::Failed(failure),
        }
    }

    async fn attempt(&mut self, member: &Rc<Member>, fresh: bool) -> Attempt {
        let plan = self.plan;
        let labels = |protocol| (plan.labels)(Some(member), protocol);
        self.forwarding.exchange.series =
            Some(member.http_series(&self.worker.shard, plan.grpc, labels));
        let active = member.upstream.begin();
        let asked = self.forwarding.exchange.span.as_mut().map(|span| {
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
            Err(error) => {
                if error.is_refused() {
                    self.refused_since.get_or_insert_with(Instant::now);
                } else {
                    self.refused_since = None;
                }
                self.worker.connect_failed(&member.name(), &error);
                let text = format!("cannot connect to {}: {error}", member.name());
                let failure = unavailable(ResponseFlag::UpstreamConnectFailure, text);
                return Attempt::Retry(failure);
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
        let Some(request) = self.forwarding.request.take() else {
            return Attempt::Failed(nothing_to_send(self.plan));
        };
        let harmless = checkout.reused && is_idempotent(request.method());
        let keep = harmless || plan.version == Version::Http2 || plan.may_repeat();
        self.spare =
            (keep && request.body().is_empty()).then(|| head::copy(&request, RequestBody::Empty));
        let mut lease = checkout.lease;
        match lease.send(request).await {
            Ok(response) => {
                let wanted = plan.asks_for(response.status()) && self.retries < plan.attempts();
                match self.spare.take().filter(|_| wanted) {
                    Some(spare) => {
                        self.forwarding.request = Some(spare);
                        let text = format!("{} answered {}", member.name(), response.status());
                        Attempt::Retry(unavailable(ResponseFlag::RetryLimit, text))
                    }
                    None => Attempt::Answered(Answer {
                        response,
                        active,
                        lease,
                    }),
                }
            }
            Err(error) => self.broken_off(member, error.into(), fresh, harmless),
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
        let (outcome, again) = match (error.unsent, self.spare.take()) {
            (Some(unsent), _) if !fresh => (Attempt::Again, *unsent),
            (Some(unsent), _) => (Attempt::Retry(failure), *unsent),
            (None, Some(spare)) if !fresh && (harmless || untouched) => (Attempt::Again, spare),
            (None, Some(spare)) if untouched || self.plan.asks_for_resets() => {
                (Attempt::Retry(failure), spare)
            }
            _ => return Attempt::Failed(failure),
        };
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

fn unavailable(flag: ResponseFlag, text: String) -> Failure {
    Failure::new(flag, StatusCode::SERVICE_UNAVAILABLE, text)
}

fn no_endpoint(plan: &Plan<'_>) -> Failure {
    unavailable(
        ResponseFlag::NoHealthyUpstream,
        format!(
            "{} has no ready endpoint; `heddle status` shows its pods",
            plan.cluster
        ),
    )
}
