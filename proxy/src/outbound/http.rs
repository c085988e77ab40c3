//! Outbound HTTP: each request is matched against the routes of its service, sent to the subset
//! that the rule draws, and leaves a client span when it is sampled.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_proxy_config::key::{self, Key};
use heddle_proxy_config::snapshot::{HttpRule, Named};
use heddle_proxy_telemetry::{
    HttpSeries, Kind, Labels, Peer, Reporter, RequestProtocol, ResponseFlag, Security, Service,
};
use http::header::SET_COOKIE;
use http::{Request, Response, StatusCode};

use super::headless::Called;
use super::{Outbound, Target, refused};
use crate::body::{Incoming, ReplyBody};
use crate::cluster::{Cluster, Member};
use crate::exchange::Exchange;
use crate::forward::{Forwarding, Plan, asked_deadline};
use crate::head::{self, Survey};
use crate::io::Io;
use crate::limits;
use crate::reply::Failure;
use crate::serve;
use crate::treat::{self, After, Drawn, Reply, Treated, Way};
use crate::upgrade::Upgrade;
use crate::upstream::Version;
use crate::view::{LocalPort, LocalService, View};

/// Serves the application's HTTP connection.
pub(crate) async fn serve(outbound: Rc<Outbound>, io: Io, version: Version) {
    let destination = outbound.destination;
    let phase = outbound.worker.phase.clone();
    let habits = outbound.worker.habits;
    let serving = Rc::clone(&outbound);
    let handler = move |request| handle(Rc::clone(&serving), request, version);
    match serve::http(io, version, phase, habits, handler).await {
        Ok(()) => outbound.upgraded.relay().await,
        Err(error) => match error.refusal() {
            Some(reason) => outbound.worker.refused(reason, || {
                tracing::warn!(%destination, "refused to go on with a connection: {error}");
            }),
            None => tracing::debug!(%destination, %error, "application's connection ended"),
        },
    }
}

/// Where a request goes: the cluster, and the rule that said so.
struct Choice {
    cluster: Rc<Cluster>,
    rule: Option<Place>,
    /// Of a rule that does something beside sending requests on.
    drawn: Option<Box<Drawn>>,
}

/// A rule of a service.
struct Place {
    service: Rc<LocalService>,
    /// Of the service, that is called.
    port: u16,
    index: u32,
}

impl Choice {
    /// No rule says anything.
    fn plain(cluster: Rc<Cluster>) -> Self {
        Self {
            cluster,
            rule: None,
            drawn: None,
        }
    }

    fn rule(&self) -> Option<&HttpRule> {
        let place = self.rule.as_ref()?;
        let rules = place.service.routes.as_ref()?.http.rules();
        rules.get(place.index as usize)
    }

    /// Changes the answer's head as the rule says.
    fn after(&self, after: After, drawn: Drawn, response: &mut Response<ReplyBody>) {
        if let Some(treatment) = self.rule().and_then(|rule| rule.treatment.as_ref()) {
            Treated::new(treatment, &drawn).after(after, drawn, response);
        }
    }
}

/// Answers one request. What can be decided at once is, before there is a future to keep it.
pub(crate) fn handle(
    outbound: Rc<Outbound>,
    request: Request<Incoming>,
    version: Version,
) -> impl Future<Output = Response<ReplyBody>> {
    let decided = decide(&outbound, request, version);
    async move {
        match decided {
            Ok(decided) => decided.carry(&outbound).await,
            Err(refusal) => *refusal,
        }
    }
}

/// A request that knows where it goes.
struct Routed {
    forwarding: Forwarding,
    view: Rc<View>,
    choice: Choice,
    /// What keeps it with one endpoint; nearly always nothing.
    key: Option<Box<Key>>,
    version: Version,
    grpc: bool,
    /// The caller's, of a gRPC call.
    deadline: Option<Duration>,
    upgrade: Option<Upgrade>,
}

impl Routed {
    async fn carry(mut self: Box<Self>, outbound: &Outbound) -> Response<ReplyBody> {
        let treated = match self.choice.drawn.take() {
            None => None,
            Some(drawn) => match Box::pin(self.before(outbound, &drawn)).await {
                Ok(after) => Some((drawn, after)),
                Err((after, reply)) => {
                    let Self {
                        forwarding, choice, ..
                    } = *self;
                    let mut response = match reply {
                        Reply::Own(response) => forwarding.answer(response),
                        Reply::Failure(failure) => forwarding.refuse(failure, self.grpc),
                    };
                    choice.after(after, *drawn, &mut response);
                    return response;
                }
            },
        };
        let (view, choice) = (&self.view, &self.choice);
        let rule = choice.rule();
        let plan = Plan {
            cluster: &choice.cluster,
            hash: self.key.as_ref().map(|key| key.hash),
            version: self.version,
            grpc: self.grpc,
            timeout: rule.and_then(|r| r.timeout),
            deadline: self.deadline,
            retries: rule.and_then(|r| r.retries.as_deref()),
            patience: limits::REFUSED_PATIENCE,
            labels: Some(&|member, protocol| {
                labels(outbound, view, &choice.cluster, member, protocol)
            }),
        };
        let outcome = self.forwarding.carry(&outbound.worker, &plan).await;
        let mut response = self.forwarding.respond(outcome, self.grpc);
        if let Some((drawn, after)) = treated {
            self.choice.after(after, *drawn, &mut response);
        }
        if let Some(cookie) = self.key.and_then(|key| key.set_cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        if let Some(upgrade) = self.upgrade {
            upgrade.finish(&mut response, &outbound.upgraded);
        }
        response
    }

    /// What the rule does before it sends the request on, or in place of that.
    async fn before(
        &mut self,
        outbound: &Outbound,
        drawn: &Drawn,
    ) -> Result<After, (After, Reply)> {
        let mut after = After::default();
        let (view, choice) = (&self.view, &self.choice);
        let (Some(place), Some(config)) = (&choice.rule, choice.rule()) else {
            return Ok(after);
        };
        let Some(treatment) = &config.treatment else {
            return Ok(after);
        };
        let shard = &outbound.worker.shard;
        let labels = |protocol| labels(outbound, view, &choice.cluster, None, protocol);
        let series = choice.cluster.unplaced_http(shard, self.grpc, labels);
        self.forwarding.exchange.series = Some(series);
        let port = place.service.port(place.port);
        let rule = port.and_then(|port| port.rules.get(place.index as usize));
        let way = Way {
            worker: &outbound.worker,
            called: outbound.destination,
            version: self.version,
            grpc: self.grpc,
            upgrade: self.upgrade.is_some(),
            origin: &config.origin,
            mirrors: rule.map_or(&[], |rule| &rule.mirrors),
        };
        let treated = Treated::new(treatment, drawn);
        match treated.before(&mut self.forwarding, &mut after, &way).await {
            Ok(()) => Ok(after),
            Err(reply) => Err((after, reply)),
        }
    }
}

fn decide(
    outbound: &Outbound,
    mut request: Request<Incoming>,
    version: Version,
) -> Result<Box<Routed>, Box<Response<ReplyBody>>> {
    let worker = &outbound.worker;
    let started = Instant::now();
    let seen = Survey::of(request.headers());
    let grpc = seen.grpc;
    let upgrade = Upgrade::of(&mut request, seen, version);
    head::strip_hop(request.headers_mut(), seen, upgrade.is_some());
    let mut span = worker
        .tracer
        .start(Kind::Client, request.headers_mut(), &mut rand::rng());
    if let Some(span) = &mut span {
        span.method(request.method());
        span.path(request.uri().path());
        span.authority(head::authority(&request));
        if let Target::Service(name) = &outbound.target {
            span.called(name.as_str(), outbound.destination.port());
        }
        span.version(request.version());
        span.local_identity(Arc::clone(&worker.own_id));
    }
    let deadline = match seen.grpc_timeout && grpc {
        true => asked_deadline(request.headers()),
        false => None,
    };
    let mut exchange = Exchange::new(started, span);
    let view = worker.view();
    let fit = head::prepare(&mut request, seen, version, outbound.destination);
    let chosen = match fit {
        Ok(()) => choose(outbound, &view, &request),
        Err(error) => Err(Failure::new(
            ResponseFlag::DownstreamProtocolError,
            StatusCode::BAD_REQUEST,
            format!("the request cannot be forwarded: {error}"),
        )),
    };
    let choice = match chosen {
        Ok(choice) => choice,
        Err(failure) => {
            exchange.series = unplaced(outbound, &view, &request, grpc);
            return Err(Box::new(failure.into_response(grpc, exchange)));
        }
    };
    if let Some(span) = &mut exchange.span {
        if let (Some(rule), Some(place)) = (choice.rule(), &choice.rule) {
            span.route(Arc::clone(&rule.origin), place.index);
            if matches!(outbound.target, Target::Workload(_)) {
                span.called(place.service.config.name.as_str(), place.port);
            }
        }
        if let Some(subset) = &choice.cluster.subset {
            span.subset(Arc::clone(subset));
        }
        if let Some(service) = &choice.cluster.service {
            span.service(service.to_string());
        }
    }
    let key = choice.cluster.hash_key().and_then(|by| {
        let key = key::of(by, &request, outbound.peer)?;
        Some(Box::new(key))
    });
    Ok(Box::new(Routed {
        forwarding: Forwarding::new(request, exchange),
        view,
        choice,
        key,
        version,
        grpc,
        deadline,
        upgrade,
    }))
}

/// Where a request is counted for which no cluster was chosen: by its service alone.
fn unplaced(
    outbound: &Outbound,
    view: &View,
    request: &Request<Incoming>,
    grpc: bool,
) -> Option<HttpSeries> {
    let worker = &outbound.worker;
    let port = outbound.destination.port();
    let cluster = match &outbound.target {
        Target::Service(name) => Rc::clone(&view.service(name)?.port(port)?.fallback),
        Target::Workload(ip) => {
            let workload = view.workload(*ip)?;
            match Called::named(view, workload, port, head::authority(request)) {
                Some((called, _)) => Rc::clone(&called.port.fallback),
                None => worker.with_upstreams(|upstreams| workload.cluster(port, upstreams)),
            }
        }
        Target::Refused => return Some(refused::series(outbound, grpc)),
        Target::Unknown => return None,
    };
    let labels = |protocol| labels(outbound, view, &cluster, None, protocol);
    Some(cluster.unplaced_http(&worker.shard, grpc, labels))
}

fn choose(
    outbound: &Outbound,
    view: &View,
    request: &Request<Incoming>,
) -> Result<Choice, Failure> {
    let number = outbound.destination.port();
    let gone = || {
        Failure::new(
            ResponseFlag::NoCluster,
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the service at {} is gone", outbound.destination),
        )
    };
    match &outbound.target {
        Target::Service(name) => {
            let service = view.service(name).ok_or_else(gone)?;
            let port = service.port(number).ok_or_else(gone)?;
            let whole = || port.fallback.at(outbound.destination, &outbound.worker);
            choose_by(outbound, service, port, request, whole)
        }
        Target::Workload(ip) => {
            let workload = view.workload(*ip).ok_or_else(gone)?;
            let named = match workload.pod.headless.is_empty() {
                true => None,
                false => Called::named(view, workload, number, head::authority(request)),
            };
            let cluster = match named {
                None => {
                    let worker = &outbound.worker;
                    worker.with_upstreams(|upstreams| workload.cluster(number, upstreams))
                }
                Some((called, Named::Pod)) => called.pod(outbound),
                Some((called, Named::Service)) => {
                    let pod = || called.pod(outbound);
                    return choose_by(outbound, called.service, called.port, request, pod);
                }
            };
            Ok(Choice::plain(cluster))
        }
        Target::Refused => Err(refused::failure(outbound)),
        Target::Unknown => Err(gone()),
    }
}

/// By the routes of a service; `whole`: where what no rule leads elsewhere goes.
fn choose_by(
    outbound: &Outbound,
    service: &Rc<LocalService>,
    port: &LocalPort,
    request: &Request<Incoming>,
    whole: impl FnOnce() -> Rc<Cluster>,
) -> Result<Choice, Failure> {
    let number = port.number;
    let routes = service.routes.as_deref();
    let Some(table) = routes.and_then(|routes| routes.http_for(number)) else {
        return Ok(Choice::plain(whole()));
    };
    let found = table.find(
        request.method(),
        request.uri(),
        head::authority(request),
        request.headers(),
        number,
    );
    let Some((index, rule)) = found.and_then(|i| Some((i, port.rules.get(i)?))) else {
        return Err(Failure::new(
            ResponseFlag::NoRoute,
            StatusCode::NOT_FOUND,
            format!(
                "no route of service {} matches {} {}",
                service.config.name,
                request.method(),
                request.uri().path()
            ),
        ));
    };
    let config = &table.rules()[index];
    let (cluster, drawn) = match &config.treatment {
        None => (rule.draw(), None),
        Some(treatment) => {
            let drawn = treat::draw(treatment, config, rule, request, outbound.peer);
            let cluster = drawn.destination.and_then(|to| rule.cluster(to));
            (cluster, Some(Box::new(drawn)))
        }
    };
    Ok(Choice {
        cluster: match cluster {
            Some(cluster) => cluster.at(outbound.destination, &outbound.worker),
            None => whole(),
        },
        rule: Some(Place {
            service: Rc::clone(service),
            port: number,
            // Tables are bounded far below.
            index: index as u32,
        }),
        drawn,
    })
}

/// Labels of what goes from this pod to an endpoint, or was meant for one.
pub(super) fn labels(
    outbound: &Outbound,
    view: &View,
    cluster: &Cluster,
    member: Option<&Member>,
    protocol: RequestProtocol,
) -> Labels {
    let destination = member.map(|member| {
        let endpoint = &member.endpoint;
        let identity = endpoint.identity.as_ref();
        Peer {
            workload: match &*endpoint.owner {
                "" => endpoint.workload.name().to_owned(),
                owner => owner.to_owned(),
            },
            namespace: endpoint.workload.namespace().to_owned(),
            principal: identity.map(ToString::to_string).unwrap_or_default(),
            app: endpoint.app.to_string(),
            version: endpoint.version.to_string(),
        }
    });
    let service = cluster.service.as_ref().map(|name| Service {
        host: view
            .service(name)
            .and_then(|s| s.config.hosts.first().map(ToString::to_string))
            .unwrap_or_default(),
        name: name.name().to_owned(),
        namespace: name.namespace().to_owned(),
    });
    Labels {
        reporter: Reporter::Source,
        source: outbound.worker.own_peer(view),
        destination: Arc::new(destination.unwrap_or_default()),
        service: Arc::new(service.unwrap_or_default()),
        protocol,
        // Istio's value for what the source reports.
        security: Security::Unknown,
    }
}
