//! Copies of requests to mirrors. A copy has a task of its own, a bound on its time, its body and its
//! answer, and the worker has a bound on how many there are: the original waits for nothing of it, and
//! whatever becomes of it is counted and told to nobody.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use heddle_proxy_config::snapshot::RetryPolicy;
use http::Request;
use http::header::EXPECT;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::{Way, rewrite};
use crate::body::{ReplyBody, RequestBody, Whole};
use crate::cluster::Cluster;
use crate::exchange::Exchange;
use crate::forward::{Forwarding, Plan};
use crate::head;
use crate::limits;
use crate::upstream::Version;
use crate::worker::Worker;

/// What its host has at its end, as in Envoy.
const SHADOW: &str = "-shadow";

/// One of so many copies, while it lives.
struct Place(Rc<Cell<u32>>);

impl Place {
    fn take(under_way: &Rc<Cell<u32>>) -> Option<Self> {
        let taken = under_way.get();
        (taken < limits::MIRRORS_PER_WORKER).then(|| {
            under_way.set(taken + 1);
            Self(Rc::clone(under_way))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A copy on its way.
struct Copy {
    worker: Rc<Worker>,
    cluster: Rc<Cluster>,
    head: Request<RequestBody>,
    /// Its body, once it has passed to the original's destination.
    body: Option<oneshot::Receiver<Whole>>,
    version: Version,
    grpc: bool,
    _place: Place,
}

/// Starts a copy of the request, if there is room for it.
pub(super) fn start(cluster: &Rc<Cluster>, request: &mut Request<RequestBody>, way: &Way<'_>) {
    let worker = way.worker;
    let Some(place) = Place::take(&worker.mirrors) else {
        worker.tally.mirrored("overflow");
        return;
    };
    request.body_mut().record();
    let body = request.body().listen();
    if body.is_none() && !request.body().is_empty() {
        worker.tally.mirrored("body");
        return;
    }
    let mut head = head::copy(request, RequestBody::Empty);
    head.headers_mut().remove(EXPECT);
    if rewrite::mark_host(&mut head, SHADOW).is_err() {
        worker.tally.mirrored("host");
        return;
    }
    let copy = Copy {
        worker: Rc::clone(worker),
        cluster: cluster.at(way.called, worker),
        head,
        body,
        version: way.version,
        grpc: way.grpc,
        _place: place,
    };
    tokio::task::spawn_local(async move {
        let tally = Rc::clone(&copy.worker);
        let result = tokio::time::timeout(limits::MIRROR, copy.send()).await;
        tally.tally.mirrored(result.unwrap_or("timeout"));
    });
}

impl Copy {
    /// What became of it.
    async fn send(mut self) -> &'static str {
        if let Some(body) = self.body.take() {
            match body.await {
                Ok(whole) => *self.head.body_mut() = RequestBody::whole(whole),
                // Too long, or it never passed whole.
                Err(_) => return "body",
            }
        }
        let never = RetryPolicy::default();
        let plan = Plan {
            cluster: &self.cluster,
            hash: None,
            version: self.version,
            grpc: self.grpc,
            timeout: None,
            deadline: None,
            retries: Some(&never),
            patience: Duration::ZERO,
            labels: None,
        };
        let exchange = Exchange::new(Instant::now(), None);
        let mut forwarding = Forwarding::own(self.head, exchange);
        let outcome = forwarding.carry(&self.worker, &plan).await;
        let answered = outcome.is_answer();
        let response = forwarding.respond(outcome, self.grpc);
        drain(response.into_body()).await;
        if answered { "answered" } else { "failed" }
    }
}

/// Reads an answer that nobody wants, so that its connection serves again; of a long one the beginning.
async fn drain(mut body: ReplyBody) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > limits::MIRROR_ANSWER {
            return;
        }
    }
}
