//! One share of the requests: how it is rewritten, how the sidecar connects to it, and who may get it.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::{Reached, Share, State, Tls, words};
use crate::snapshot::{
    Address, Algorithm, ClientTls, Endpoint, Name, Resolution, Service, Snapshot, TrafficPolicy,
    Treatment,
};

/// Endpoints that are told of one share; the rest are counted.
pub const MAX_ENDPOINTS: usize = 50;

/// Who is left out, as the sidecar's workers know it: by the cluster's name and the address.
pub type Ejected = HashSet<(String, SocketAddr)>;

/// `subset v1 of service default/web port 80`.
pub(super) fn cluster_name(service: &Name, subset: Option<&str>, port: u16) -> String {
    match subset {
        Some(subset) => format!("subset {subset} of service {service} port {port}"),
        None => format!("service {service} port {port}"),
    }
}

/// What of one service, subset and port gets a share.
pub(super) fn share(
    snapshot: &Snapshot,
    service: &Name,
    subset: Option<&str>,
    port: u16,
    called: SocketAddr,
    ejected: &Ejected,
) -> Share {
    let config = snapshot.services.get(service);
    let policy = config.and_then(|config| config.policy(subset, port));
    let tls = policy.map(|policy| &policy.tls);
    let cluster = cluster_name(service, subset, port);
    let state = |addr: SocketAddr, endpoint: &Endpoint| {
        if ejected.contains(&(cluster.clone(), addr)) {
            State::Ejected
        } else if endpoint.placement.draining {
            State::Draining
        } else {
            State::Ready
        }
    };
    let known = snapshot.endpoints.get(service);
    let members = || {
        let members = known.into_iter().flat_map(|all| all.members(subset, port));
        members.map(|(addr, endpoint)| reached(addr, endpoint, tls, state(addr, endpoint)))
    };
    let kept = |policy: &TrafficPolicy| policy.algorithm == Algorithm::Passthrough;
    let is_called = config.is_some_and(|config| config.resolution == Resolution::Called)
        || policy.is_some_and(|policy| kept(policy));
    let (endpoints, left_out) = match is_called {
        true => {
            let known = known.and_then(|all| {
                let mut members = all.members(subset, port);
                members.find(|(addr, _)| addr.ip() == called.ip())
            });
            let one = match known {
                Some((addr, endpoint)) => reached(addr, endpoint, tls, state(addr, endpoint)),
                None => match snapshot.addresses.get(&called.ip()).map(|known| &**known) {
                    Some(Address::Workload(pod)) => {
                        reached(called, &pod.endpoint, tls, State::Ready)
                    }
                    _ => somebody(called, tls),
                },
            };
            (vec![one], 0)
        }
        false => {
            let told: Vec<Reached> = members().take(MAX_ENDPOINTS).collect();
            let all = members().count();
            let left_out = all - told.len();
            (told, left_out)
        }
    };
    Share {
        service: Some(service.to_string()),
        subset: subset.map(str::to_owned),
        port,
        policy: policy.map(|policy| words::policy(policy)),
        endpoints,
        endpoints_left_out: left_out,
        ..Share::default()
    }
}

/// A pod that is called, as one of its service.
pub(super) fn of_pod(service: &Service, port: u16, at: SocketAddr, pod: &Endpoint) -> Share {
    let policy = service.policy(None, port);
    let tls = policy.map(|policy| &policy.tls);
    Share {
        service: Some(service.name.to_string()),
        port,
        percent: 100.0,
        policy: policy.map(|policy| words::policy(policy)),
        endpoints: vec![reached(at, pod, tls, State::Ready)],
        ..Share::default()
    }
}

/// What the rule and this destination of it do to the request on its way.
pub(super) fn treat(
    share: &mut Share,
    treatment: &Treatment,
    place: usize,
    request: &http::Request<()>,
) {
    let own = treatment.destinations.get(place);
    share.invalid = own
        .and_then(|own| own.invalid.as_deref())
        .map(str::to_owned);
    let mut uri = request.uri().clone();
    let rewrites = [Some(&treatment.rewrite), own.map(|own| &own.rewrite)];
    for rewrite in rewrites.into_iter().flatten() {
        let target = rewrite.path.as_ref().map(|path| path.target(&uri));
        match target {
            Some(Ok(Some(target))) => match target.parse() {
                Ok(made) => uri = made,
                Err(_) => share.invalid = Some("what its rewrite makes is no path".to_owned()),
            },
            Some(Err(error)) => share.invalid = Some(error.to_string()),
            Some(Ok(None)) | None => {}
        }
        if let Some(authority) = &rewrite.authority {
            share.authority = Some(authority.to_string());
        }
    }
    share.path = (uri != *request.uri()).then(|| uri.to_string());
    let of_rule = words::head(&treatment.headers.request);
    share.request_headers = match own.map(|own| words::head(&own.headers.request)) {
        None => of_rule,
        Some(mut own) => {
            own.remove.splice(0..0, of_rule.remove);
            own.set.splice(0..0, of_rule.set);
            own.add.splice(0..0, of_rule.add);
            own
        }
    };
    if let Some(own) = own {
        share.response_headers = words::head(&own.headers.response);
    }
}

/// An endpoint as it is reached.
pub(super) fn reached(
    addr: SocketAddr,
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    state: State,
) -> Reached {
    let identity = endpoint.identity.as_ref();
    let is_plain = endpoint.plain_ports.contains(&addr.port());
    let tls = match (tls.unwrap_or(&ClientTls::Auto), identity) {
        (ClientTls::Auto, Some(_)) if is_plain => Tls::Plain,
        (ClientTls::Auto | ClientTls::Mesh, Some(_)) => Tls::Mutual,
        (ClientTls::Auto, None) | (ClientTls::Disable, _) => Tls::Plain,
        (ClientTls::Mesh, None) => Tls::Impossible,
        (ClientTls::Originate(_), _) => Tls::Origin,
    };
    let locality = &endpoint.placement.locality;
    Reached {
        workload: endpoint.workload.to_string(),
        address: addr.to_string(),
        identity: identity
            .filter(|_| tls == Tls::Mutual)
            .map(ToString::to_string),
        tls,
        locality: locality.is_known().then(|| locality.as_str().to_owned()),
        state,
    }
}

/// Whoever is at an address that the control plane lists no endpoint for.
fn somebody(called: SocketAddr, tls: Option<&ClientTls>) -> Reached {
    Reached {
        workload: String::new(),
        address: called.to_string(),
        tls: match tls {
            Some(ClientTls::Originate(_)) => Tls::Origin,
            Some(ClientTls::Mesh) => Tls::Impossible,
            _ => Tls::Plain,
        },
        identity: None,
        locality: None,
        state: State::Ready,
    }
}
