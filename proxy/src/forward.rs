//! Carries one request to an endpoint of a cluster and brings the head of its response back, within
//! the time that its route and its caller give it.

mod deadline;
mod plan;
pub(crate) mod tally;
mod tries;

use bytes::Bytes;
use heddle_proxy_telemetry::ResponseFlag;
use http::{Request, Response, StatusCode};

use self::deadline::passed;
pub(crate) use self::deadline::{Deadline, asked as asked_deadline};
pub(crate) use self::plan::Plan;
use self::tries::Tries;
use crate::body::{Incoming, ReplyBody, RequestBody};
use crate::exchange::Exchange;
use crate::head::{self, Survey};
use crate::reply::Failure;
use crate::upstream::{ActiveRequest, Lease};
use crate::worker::Worker;

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
    pub(crate) exchange: Exchange,
}

/// How it went, and what is left of its time.
pub(crate) struct Outcome {
    answer: Result<Answer, Failure>,
    deadline: Option<Deadline>,
}

impl Forwarding {
    pub(crate) fn new(request: Request<Incoming>, mut exchange: Exchange) -> Self {
        let (request, bytes) = RequestBody::of(request);
        exchange.request_bytes(bytes);
        Self {
            request: Some(request),
            exchange,
        }
    }

    /// A request of the sidecar's own.
    pub(crate) fn own(request: Request<RequestBody>, exchange: Exchange) -> Self {
        Self {
            request: Some(request),
            exchange,
        }
    }

    /// The request, until it is sent.
    pub(crate) fn request(&mut self) -> Option<&mut Request<RequestBody>> {
        self.request.as_mut()
    }

    /// Carries the request to an endpoint, and the head of its answer back.
    pub(crate) async fn carry(&mut self, worker: &Worker, plan: &Plan<'_>) -> Outcome {
        let mut deadline = plan.time().map(|time| Deadline::new(time, plan.grpc));
        if let Some(request) = &mut self.request
            && plan.repeats_bodies()
        {
            request.body_mut().record();
        }
        let until = deadline.as_ref().map(Deadline::at);
        let mut tries = Tries::new(worker, plan, self, until);
        // One place with and without a deadline: each mention of a future that is awaited takes
        // its room.
        let answer = tokio::select! {
            biased;
            answer = tries.run() => answer,
            () = passed(&mut deadline) => {
                tries.late();
                Err(timed_out(plan))
            }
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
                if exchange.is_unwanted() {
                    head::close(&mut response);
                }
                exchange.head(response.status(), response.headers(), seen);
                response.map(|body| ReplyBody::upstream(body, exchange, outcome.deadline))
            }
        }
    }

    /// A failure in place of sending the request on.
    pub(crate) fn refuse(self, failure: Failure, grpc: bool) -> Response<ReplyBody> {
        failure.into_response(grpc, self.exchange)
    }

    /// An answer in place of sending the request on.
    pub(crate) fn answer(self, response: Response<Bytes>) -> Response<ReplyBody> {
        let mut exchange = self.exchange;
        let seen = Survey::of(response.headers());
        exchange.head(response.status(), response.headers(), seen);
        response.map(|body| ReplyBody::own(body, Some(exchange)))
    }
}

impl Outcome {
    /// Whether an endpoint has answered, whatever.
    pub(crate) fn is_answer(&self) -> bool {
        self.answer.is_ok()
    }
}

fn timed_out(plan: &Plan<'_>) -> Failure {
    let after = plan.time().unwrap_or_default();
    let whose = match plan.deadline {
        Some(deadline) if deadline == after => "its caller's deadline",
        _ => "the route's timeout",
    };
    Failure::new(
        ResponseFlag::UpstreamTimeout,
        StatusCode::GATEWAY_TIMEOUT,
        format!(
            "{} did not answer within {whose} of {after:?}",
            plan.cluster
        ),
    )
}
