//! Inbound HTTP: what only the mesh may say about the caller is taken off and said anew, the
//! request goes to the application, and a server span is left when it is sampled.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_proxy_telemetry::ResponseFlag;
use http::{HeaderValue, Request, Response, StatusCode};

use super::Inbound;
use crate::balance::Pick;
use crate::body::{Incoming, ReplyBody};
use crate::exchange::Exchange;
use crate::forward::{Forwarding, Plan};
use crate::head::{self, Survey};
use crate::io::Io;
use crate::limits;
use crate::reply::Failure;
use crate::serve;
use crate::upgrade::Upgrade;
use crate::upstream::Version;

/// Serves a caller's HTTP connection.
pub(super) async fn serve(inbound: Rc<Inbound>, io: Io, version: Version) {
    let (peer, destination) = (inbound.peer, inbound.destination);
    let phase = inbound.worker.phase.clone();
    let mut habits = inbound.worker.habits;
    if inbound.identity.is_none() {
        habits.windows = limits::H2_STRANGERS;
    }
    let caller = forwarded_client_cert(&inbound);
    let serving = Rc::clone(&inbound);
    let handler = move |request| handle(Rc::clone(&serving), request, version, caller.clone());
    match serve::http(io, version, phase, habits, handler).await {
        Ok(()) => inbound.upgraded.relay().await,
        Err(error) => match error.refusal() {
            Some(reason) => inbound.worker.refused(reason, || {
                tracing::warn!(%peer, %destination, "refused to go on with a connection: {error}");
            }),
            None => tracing::debug!(%peer, %destination, %error, "caller's connection ended"),
        },
    }
}

/// `By=…;URI=…` (Envoy's x-forwarded-client-cert), made once for each connection.
fn forwarded_client_cert(inbound: &Inbound) -> Option<HeaderValue> {
    let caller = inbound.identity.as_ref()?;
    let own = inbound.worker.tls.own_id();
    // A SPIFFE id is visible ASCII.
    HeaderValue::try_from(format!("By={own};URI={caller}")).ok()
}

/// Answers one request. What can be decided at once is, before there is a future to keep it.
pub(crate) fn handle(
    inbound: Rc<Inbound>,
    request: Request<Incoming>,
    version: Version,
    caller: Option<HeaderValue>,
) -> impl Future<Output = Response<ReplyBody>> {
    let decided = decide(&inbound, request, version, caller);
    async move {
        match decided {
            Ok(decided) => decided.carry(&inbound).await,
            Err(refusal) => *refusal,
        }
    }
}

/// A request that the application is to have.
struct Served {
    forwarding: Forwarding,
    version: Version,
    grpc: bool,
    upgrade: Option<Upgrade>,
}

impl Served {
    async fn carry(mut self: Box<Self>, inbound: &Inbound) -> Response<ReplyBody> {
        let plan = Plan {
            cluster: &inbound.cluster,
            hash: None,
            version: self.version,
            grpc: self.grpc,
            timeout: None,
            deadline: None,
            retries: None,
            patience: Duration::ZERO,
            labels: Some(&|_, protocol| inbound.labels(protocol)),
        };
        let outcome = self.forwarding.carry(&inbound.worker, &plan).await;
        let mut response = self.forwarding.respond(outcome, self.grpc);
        if let Some(upgrade) = self.upgrade {
            upgrade.finish(&mut response, &inbound.upgraded);
        }
        response
    }
}

fn decide(
    inbound: &Inbound,
    mut request: Request<Incoming>,
    version: Version,
    caller: Option<HeaderValue>,
) -> Result<Box<Served>, Box<Response<ReplyBody>>> {
    let worker = &inbound.worker;
    let started = Instant::now();
    let seen = Survey::of(request.headers());
    let grpc = seen.grpc;
    let upgrade = Upgrade::of(&mut request, seen, version);
    head::strip_hop(request.headers_mut(), seen, upgrade.is_some());
    head::strip_disguised(request.headers_mut(), seen);
    match caller {
        Some(caller) => {
            request
                .headers_mut()
                .insert(&head::FORWARDED_CLIENT_CERT, caller);
        }
        None => {
            request.headers_mut().remove(&head::FORWARDED_CLIENT_CERT);
        }
    }
    let (mut span, serving) = worker.tracer.serve(request.headers_mut(), &mut rand::rng());
    if let Some(span) = &mut span {
        span.method(request.method());
        span.path(request.uri().path());
        span.authority(head::authority(&request));
        span.version(request.version());
        span.local_identity(Arc::clone(&worker.own_id));
        if let Some(peer) = &inbound.identity {
            span.peer_identity(peer.to_string());
        }
        if let Some(service) = &inbound.port.service {
            span.service(service.to_string());
        }
    }
    let mut exchange = Exchange::new(started, span);
    exchange.serving(serving);
    if let Err(error) = head::prepare(&mut request, seen, version, inbound.destination) {
        let text = format!("the request cannot be forwarded: {error}");
        let failure = Failure::new(
            ResponseFlag::DownstreamProtocolError,
            StatusCode::BAD_REQUEST,
            text,
        );
        exchange.series = inbound.cluster.pick(Pick::default()).map(|member| {
            member.http_series(&worker.shard, grpc, |protocol| inbound.labels(protocol))
        });
        return Err(Box::new(failure.into_response(grpc, exchange)));
    }
    Ok(Box::new(Served {
        forwarding: Forwarding::new(request, exchange),
        version,
        grpc,
        upgrade,
    }))
}
