//! What a rule does with a request beside sending it on, in this order: CORS, faults, an answer of its
//! own, rewrites and header changes, copies to mirrors; and on the way back, changes of the answer's
//! head. Requests of a rule that does nothing of the kind never come here.

mod answer;
mod cors;
mod fault;
mod mirror;
mod rewrite;
mod sticky;

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use heddle_proxy_config::snapshot::{Answer, Changes, DestinationTreatment, Treatment};
use heddle_proxy_telemetry::ResponseFlag;
use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::{Response, StatusCode};

pub(crate) use self::sticky::{Drawn, draw};
use crate::cluster::Cluster;
use crate::forward::Forwarding;
use crate::reply::Failure;
use crate::upstream::Version;
use crate::worker::Worker;

/// A request that is treated, beside what it is.
pub(crate) struct Way<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    /// The address that was called.
    pub(crate) called: SocketAddr,
    pub(crate) version: Version,
    pub(crate) grpc: bool,
    /// Its bytes after the head are none of HTTP's, so nobody gets a copy.
    pub(crate) upgrade: bool,
    /// For people: whose doing it is.
    pub(crate) origin: &'a str,
    /// Parallel to the treatment's mirrors.
    pub(crate) mirrors: &'a [Rc<Cluster>],
}

/// What is answered in place of sending a request on.
pub(crate) enum Reply {
    Failure(Failure),
    Own(Response<Bytes>),
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// What is to become of the answer's head.
#[derive(Default)]
pub(crate) struct After {
    /// For those who may read it from another origin.
    cors: Vec<(HeaderName, HeaderValue)>,
}

/// The treatment of one request, and that of the destination that was drawn for it.
#[derive(Clone, Copy)]
pub(crate) struct Treated<'a> {
    treatment: &'a Treatment,
    destination: Option<&'a DestinationTreatment>,
}

impl<'a> Treated<'a> {
    pub(crate) fn new(treatment: &'a Treatment, drawn: &Drawn) -> Self {
        let destination = drawn.destination;
        Self {
            treatment,
            destination: destination.and_then(|index| treatment.destinations.get(index)),
        }
    }

    /// Everything before the request is sent on, or an answer in place of that.
    pub(crate) async fn before(
        self,
        forwarding: &mut Forwarding,
        after: &mut After,
        way: &Way<'_>,
    ) -> Result<(), Reply> {
        let Treated {
            treatment,
            destination,
        } = self;
        if let (Some(cors), Some(request)) = (&treatment.cors, forwarding.request()) {
            match cors::look(cors, request) {
                cors::Look::Own => {}
                cors::Look::Allowed(headers) => after.cors = headers,
                cors::Look::Preflight(answer) => return Err(Reply::Own(answer)),
            }
        }
        if let Some(pause) = fault::delay(&treatment.fault) {
            forwarding.exchange.flag = ResponseFlag::DelayInjected;
            tokio::time::sleep(pause).await;
        }
        if let Some(failure) = fault::abort(&treatment.fault, way.origin) {
            return Err(failure.into());
        }
        let Some(request) = forwarding.request() else {
            return Ok(());
        };
        match &treatment.answer {
            Some(Answer::Redirect(redirect)) => {
                return Err(answer::redirect(redirect, request, way.origin));
            }
            Some(Answer::Direct(direct)) => return Err(Reply::Own(answer::direct(direct))),
            None => {}
        }
        if let Some(why) = destination.and_then(|to| to.invalid.as_deref()) {
            return Err(invalid(why, way.origin).into());
        }
        let rewrites = [Some(&treatment.rewrite), destination.map(|to| &to.rewrite)];
        for rewrite in rewrites.into_iter().flatten() {
            rewrite::apply(rewrite, request, way.version, way.origin)?;
        }
        let headers = [Some(&treatment.headers), destination.map(|to| &to.headers)];
        for changes in headers.into_iter().flatten() {
            change(request.headers_mut(), &changes.request);
        }
        if !way.upgrade {
            for (mirror, cluster) in treatment.mirrors.iter().zip(way.mirrors) {
                if fault::falls_on(mirror.ppm) {
                    mirror::start(cluster, request, way);
                }
            }
        }
        Ok(())
    }

    /// Changes the head of the answer, whoever gave it.
    pub(crate) fn after<B>(self, after: After, drawn: Drawn, response: &mut Response<B>) {
        let headers = response.headers_mut();
        change(headers, &self.treatment.headers.response);
        if let Some(destination) = self.destination {
            change(headers, &destination.headers.response);
        }
        cors::mark(headers, after.cors);
        if let Some(cookie) = drawn.set_cookie {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

fn change(headers: &mut HeaderMap, changes: &Changes) {
    for name in &changes.remove {
        headers.remove(name);
    }
    for (name, value) in &changes.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &changes.add {
        headers.append(name, value.clone());
    }
}

/// A destination that cannot be meant (Gateway API: 500; gRPC: UNAVAILABLE).
fn invalid(why: &str, origin: &str) -> Failure {
    let text = format!("{origin} sends this to a destination that is not valid: {why}");
    Failure::new(
        ResponseFlag::NoCluster,
        StatusCode::INTERNAL_SERVER_ERROR,
        text,
    )
    .with_grpc(14)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_go_then_are_set_then_are_added() {
        let field = |name: &'static str, value: &'static str| {
            let value = HeaderValue::from_static(value);
            (HeaderName::from_static(name), value)
        };
        let mut headers: HeaderMap = [field("x-a", "1"), field("x-b", "1"), field("x-c", "1")]
            .into_iter()
            .collect();
        let changes = Changes {
            remove: vec![HeaderName::from_static("x-a")],
            set: vec![field("x-b", "2")],
            add: vec![field("x-a", "3"), field("x-c", "3")],
        };
        change(&mut headers, &changes);
        let of = |name: &str| -> Vec<&HeaderValue> { headers.get_all(name).iter().collect() };
        assert_eq!(of("x-a"), ["3"]);
        assert_eq!(of("x-b"), ["2"]);
        assert_eq!(of("x-c"), ["1", "3"]);
    }
}
