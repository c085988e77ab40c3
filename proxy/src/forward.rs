//! Carries one request to an endpoint of a cluster and brings the head of its response back. It
//! repeats a request only where nothing of it can have been processed, where repeating cannot
//! matter (an idempotent request without a body), or where the route asks for it; and it goes to
//! another endpoint while one is left.

use std::rc::Rc;
use std::time::{Duration, Instant};

use heddle_identity::backoff::Backoff;
use heddle_proxy_config::snapshot::RetryPolicy;
use heddle_proxy_telemetry::{Labels, RequestProtocol, ResponseFlag};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::body::{ReplyBody, RequestBody};
use crate::cluster::{Cluster, Member};
use crate::exchange::Exchange;
use crate::head;
use crate::reply::Failure;
use crate::upstream::{ActiveRequest, Lease, Upstream, Version, since};
use crate::worker::Worker;

/// Tries beyond the first when the route does not say (Istio's default).
const DEFAULT_RETRIES: u32 = 2;

/// Delay before a try (Envoy's base interval and ten times it).
const RETRY_BASE: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_millis(250);

/// Where a request goes, and on what terms.
pub(crate) struct Plan<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) version: Version,
    pub(crate) grpc: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<&'a RetryPolicy>,
    /// How long endpoints that refuse connections are tried again.
    pub(crate) patience: Duration,
    /// Labels of what is counted for an endpoint.
    pub(crate) labels: &'a dyn Fn(&Member, RequestProtocol) -> Labels,
}

impl Plan<'_> {
    fn attempts(&self) -> u32 {
        self.retries.map_or(DEFAULT_RETRIES, |r| r.attempts)
    }

    fn asks_for(&self, status: StatusCode) -> bool {
        self.retries
            .is_some_and(|policy| policy.retry_on.iter().any(|on| asks_for(on, status)))
    }

    fn asks_for_any_status(&self) -> bool {
        self.retries
            .is_some_and(|policy| !policy.retry_on.is_empty())
    }
}

/// Whether a condition of `retryOn` names a status.
fn asks_for(condition: &str, status: StatusCode) -> bool {
    match condition {
        "5xx" => status.is_server_error(),
        "gateway-error" => matches!(status.as_u16(), 502..=504),
        "retriable-4xx" => status == StatusCode::CONFLICT,
        code => code.parse::<u16>().is_ok_and(|c| c == status.as_u16()),
    }
}

/// A response head, and what it came by.
struct Answer {
    response: Response<Incoming>,
    active: ActiveRequest,
    lease: Lease,
}

/// Forwards a request whose head is ready, and accounts for it in `exchange`.
pub(crate) async fn forward(
    worker: &Worker,
    plan: Plan<'_>,
    request: Request<RequestBody>,
    mut exchange: Exchange,
) -> Response<ReplyBody> {
    let deadline = plan
        .timeout
        .map(|timeout| Box::pin(tokio::time::sleep(timeout)));
    let mut tries = Tries {
        worker,
        plan: &plan,
        avoid: None,
        retries: 0,
        backoff: None,
        refused_since: None,
    };
    let (answer, deadline) = match deadline {
        None => (tries.run(request, &mut exchange).await, None),
        Some(mut deadline) => {
            let answer = tokio::select! {
                answer = tries.run(request, &mut exchange) => answer,
                () = &mut deadline => Err(timed_out(&plan)),
            };
            (answer, Some(deadline))
        }
    };
    match answer {
        Err(failure) => failure.into_response(plan.grpc, exchange),
        Ok(Answer {
            mut response,
            active,
            lease,
        }) => {
            exchange.lent(active, lease);
            head::clean_response(&mut response);
            exchange.head(response.status(), response.headers());
            response.map(|body| ReplyBody::upstream(body, exchange, deadline))
        }
    }
}

fn timed_out(plan: &Plan<'_>) -> Failure {
    Failure::new(
        ResponseFlag::UpstreamTimeout,
        StatusCode::GATEWAY_TIMEOUT,
        format!(
            "{} did not answer within the route's timeout of {:?}",
            plan.cluster,
            plan.timeout.unwrap_or_default()
        ),
    )
}

/// The attempts at one request.
struct Tries<'a> {
    worker: &'a Worker,
    plan: &'a Plan<'a>,
    avoid: Option<Rc<Upstream>>,
    retries: u32,
    backoff: Option<Backoff>,
    refused_since: Option<Instant>,
}

/// What became of one attempt.
enum Attempt {
    Answered(Answer),
    /// Nothing was sent, or sending it again is harmless: at once, on a new connection.
    Again(Request<RequestBody>),
    /// After a pause, if a retry is left.
    Retry(Request<RequestBody>, Failure),
    Failed(Failure),
}

impl Tries<'_> {
    async fn run(
        &mut self,
        mut request: Request<RequestBody>,
        exchange: &mut Exchange,
    ) -> Result<Answer, Failure> {
        let mut fresh = false;
        loop {
            let Some(member) = self.plan.cluster.pick(self.avoid.as_ref()) else {
                return Err(no_endpoint(self.plan));
            };
            let member = Rc::clone(member);
            let per_try = self.plan.retries.and_then(|r| r.per_try_timeout);
            let attempt = self.attempt(&member, request, fresh, exchange);
            let outcome = match per_try {
                None => attempt.await,
                Some(bound) => match tokio::time::timeout(bound, attempt).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(timed_out(self.plan)),
                },
            };
            request = match outcome {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::Again(request) if !fresh => {
                    fresh = true;
                    request
                }
                Attempt::Again(_) => {
                    return Err(unavailable(
                        ResponseFlag::UpstreamClosed,
                        format!("{} closed two connections before answering", member.name()),
                    ));
                }
                Attempt::Retry(request, failure) => {
                    if !self.may_retry() {
                        return Err(failure);
                    }
                    self.avoid = Some(Rc::clone(&member.upstream));
                    let pause = self
                        .backoff
                        .get_or_insert_with(|| Backoff::new(RETRY_BASE, RETRY_MAX))
                        .next();
                    tokio::time::sleep(pause).await;
                    request
                }
            };
        }
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

    async fn attempt(
        &mut self,
        member: &Rc<Member>,
        request: Request<RequestBody>,
        fresh: bool,
        exchange: &mut Exchange,
    ) -> Attempt {
        let plan = self.plan;
        exchange.series = Some(
            member.http_series(&self.worker.shard, plan.grpc, |protocol| {
                (plan.labels)(member, protocol)
            }),
        );
        let active = member.upstream.begin();
        let asked = exchange.span.as_mut().map(|span| {
            span.attempt();
            span.endpoint(
                member.upstream.addr,
                Some(member.endpoint.workload.to_string().into()),
            );
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
                let text = format!("cannot connect to {}: {error}", member.name());
                let failure = unavailable(ResponseFlag::UpstreamConnectFailure, text);
                return Attempt::Retry(request, failure);
            }
        };
        if let (Some(span), Some(asked)) = (&mut exchange.span, asked) {
            let connected = if checkout.reused {
                Duration::ZERO
            } else {
                since(asked)
            };
            span.mark_connect(connected);
        }
        let harmless = checkout.reused && is_idempotent(request.method());
        let spare = (request.body().is_empty() && (harmless || plan.asks_for_any_status()))
            .then(|| head::copy(&request, RequestBody::Empty));
        let mut lease = checkout.lease;
        match lease.send(request).await {
            Ok(response) => match spare {
                Some(spare)
                    if plan.asks_for(response.status()) && self.retries < plan.attempts() =>
                {
                    let text = format!("{} answered {}", member.name(), response.status());
                    Attempt::Retry(spare, unavailable(ResponseFlag::RetryLimit, text))
                }
                _ => Attempt::Answered(Answer {
                    response,
                    active,
                    lease,
                }),
            },
            Err(error) => match (error.unsent, spare) {
                (Some(unsent), _) => Attempt::Again(*unsent),
                (None, Some(spare)) if harmless => Attempt::Again(spare),
                _ => Attempt::Failed(unavailable(
                    ResponseFlag::UpstreamClosed,
                    format!(
                        "{} closed the connection before answering: {}",
                        member.name(),
                        error.source
                    ),
                )),
            },
        }
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_conditions_name_statuses() {
        let named = |condition, code| {
            StatusCode::from_u16(code).is_ok_and(|status| asks_for(condition, status))
        };
        assert!(named("5xx", 500) && named("5xx", 503) && !named("5xx", 404));
        assert!(named("gateway-error", 503) && !named("gateway-error", 500));
        assert!(named("retriable-4xx", 409) && !named("retriable-4xx", 400));
        assert!(named("429", 429) && !named("429", 430));
        assert!(!named("connect-failure", 503));
    }

    #[test]
    fn a_post_is_never_harmless() {
        assert!(!is_idempotent(&Method::POST));
        assert!(!is_idempotent(&Method::PATCH));
        assert!(is_idempotent(&Method::GET));
    }
}
