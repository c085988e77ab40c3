//! One stream's state machine: what the proxy subscribes to, what that brings with it, what it was
//! sent and has accepted. No sockets and no clock: requests and mail go in, responses come out.
//!
//! Invariants: one response per type awaits its answer; of the four types that depend on
//! each other nothing is sent before what it needs (Endpoints, Service, RouteTable, Address) and
//! nothing is removed before what needs it; what was refused is not sent again before it changes;
//! everything kept is bounded by the subscriptions, and those by `Bounds`.

mod closure;
mod held;
mod message;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

pub use self::message::{Bounds, Kind, Nack, Request, Response, Summary, Violation};
use self::{closure::Closure, held::TypeState, message::MAX_TEXT};
use super::hub::{Mail, Registration};
use crate::{
    model::{Client, Model, Sight},
    name::NsName,
};

/// One stream.
pub struct StreamState {
    node: NsName,
    trust_domain: String,
    bounds: Bounds,
    client: Client,
    /// What it sees of the mesh.
    sight: Sight,
    types: [TypeState; 8],
    /// Addresses by the name under which they were subscribed.
    addresses: HashMap<Arc<str>, IpAddr>,
    closure: Closure,
    nonces: u64,
    model: u64,
}

impl StreamState {
    /// For the proxy of a pod.
    pub fn new(node: NsName, model: &Model, bounds: Bounds) -> Self {
        let client = client(&node, model);
        let sight = model.sight(&client);
        Self {
            sight,
            trust_domain: model.settings().trust_domain.as_str().to_owned(),
            node,
            bounds,
            client,
            types: Default::default(),
            addresses: HashMap::new(),
            closure: Closure::default(),
            nonces: 0,
            model: 0,
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// When the proxy asks for too much that it may not have.
    pub fn request(
        &mut self,
        request: Request,
        registration: &mut Registration,
    ) -> Result<(), Violation> {
        let kind = request.kind;
        let bounds = self.bounds;
        let texts = request
            .initial
            .iter()
            .flat_map(|(name, version)| [name, version]);
        if let Some(long) = texts.chain(&request.subscribe).find(|t| t.len() > MAX_TEXT) {
            return Err(Violation::TooLong(long.len()));
        }
        let state = &mut self.types[kind.index()];
        // Only the first request of a type may bring something, or it could grow for ever.
        let first = !std::mem::replace(&mut state.opened, true);
        let brought = if first { request.initial } else { Vec::new() };
        state.answer(&request.nonce, request.nack.as_ref());
        if kind.is_implied() {
            for (name, version) in brought.into_iter().take(bounds.subscriptions) {
                let name: Arc<str> = name.into();
                let needed = NsName::parse(&name).is_some_and(|name| self.closure.needs(&name));
                self.types[kind.index()].already_held(name, version, needed);
            }
            return Ok(());
        }
        for name in request.unsubscribe {
            self.types[kind.index()].unsubscribe(&name);
            if kind == Kind::DnsName {
                registration.leave_name(&name);
            }
            if let Some((_, ip)) = (kind == Kind::Address)
                .then(|| self.addresses.remove_entry(&*name))
                .flatten()
            {
                self.closure.remove_address(ip);
                registration.leave_address(ip);
            }
        }
        let initial: HashMap<String, String> =
            brought.into_iter().take(bounds.subscriptions).collect();
        let by_subscription = initial
            .keys()
            .filter(|name| !request.subscribe.contains(name))
            .cloned();
        let names: Vec<String> = by_subscription
            .chain(request.subscribe.iter().cloned())
            .collect();
        for name in names {
            self.subscribe(kind, &name, initial.get(&name), registration)?;
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        kind: Kind,
        name: &str,
        held: Option<&String>,
        registration: &mut Registration,
    ) -> Result<(), Violation> {
        let allowed = match kind {
            Kind::Workload => name == self.node.as_str(),
            Kind::Telemetry => name == self.node.namespace(),
            Kind::Trust => name == self.trust_domain,
            Kind::Address => name.parse::<IpAddr>().is_ok(),
            Kind::DnsName => is_host_name(name),
            Kind::Endpoints | Kind::Service | Kind::Routes => false,
        };
        let state = &mut self.types[kind.index()];
        let full = state.subscribed() >= self.bounds.subscriptions && !state.is_subscribed(name);
        if !allowed || full {
            return state.refuse(name);
        }
        let name: Arc<str> = name.into();
        state.subscribe(name.clone(), held.map(String::as_str));
        if kind == Kind::DnsName {
            registration.follow_name(&name);
        }
        if let (Kind::Address, Ok(ip)) = (kind, name.parse::<IpAddr>().map(|ip| ip.to_canonical()))
            && self.addresses.insert(name, ip).is_none()
        {
            registration.follow_address(ip);
            self.closure.add_address(ip);
        }
        Ok(())
    }

    /// Takes mail.
    pub fn mail(&mut self, mail: &Mail, model: &Model) {
        for ip in &mail.addresses {
            self.closure.address_changed(*ip);
            let names = self.addresses.iter().filter(|(_, known)| *known == ip);
            for (name, _) in names {
                self.types[Kind::Address.index()].look_at(name);
            }
        }
        for service in &mail.services {
            self.service_changed(service);
        }
        for name in &mail.names {
            self.types[Kind::DnsName.index()].look_at(name);
        }
        if mail.own {
            for kind in Kind::OWN {
                self.types[kind.index()].look_at_all();
            }
            let client = client(&self.node, model);
            if client != self.client {
                self.client = client;
                let needed: Vec<NsName> = self.closure.needed().cloned().collect();
                needed
                    .iter()
                    .for_each(|service| self.service_changed(service));
            }
            let sight = model.sight(&self.client);
            if sight != self.sight {
                self.sight = sight;
                self.closure.look_at_all();
                for kind in [Kind::Address, Kind::DnsName] {
                    self.types[kind.index()].look_at_all();
                }
            }
        }
    }

    fn service_changed(&mut self, service: &NsName) {
        self.closure.service_changed(service);
        if self.closure.needs(service) {
            let name = service.shared();
            for kind in Kind::IMPLIED {
                self.types[kind.index()].look_at(&name);
            }
        }
    }

    /// Whether the proxy holds things from before of which it has not yet told everything.
    pub fn is_settling(&self) -> bool {
        let brought = self.types[Kind::Address.index()].brought_some;
        brought
            && Kind::IMPLIED
                .iter()
                .any(|kind| !self.types[kind.index()].opened)
    }

    /// What can be sent now.
    pub fn responses(&mut self, model: &Model, registration: &mut Registration) -> Vec<Response> {
        self.close(model, registration);
        let mut responses = Vec::new();
        for kind in Kind::OWN.into_iter().chain([Kind::DnsName]) {
            self.send(kind, model, &mut responses);
        }
        let blocked = Kind::ORDERED
            .into_iter()
            .any(|kind| !self.send(kind, model, &mut responses));
        if !blocked && self.types[Kind::Address.index()].opened {
            for kind in Kind::ORDERED.into_iter().rev() {
                let nonces = &mut self.nonces;
                let state = &mut self.types[kind.index()];
                if state.has_removals() && state.awaits_answer() {
                    break;
                }
                responses.extend(state.remove(kind, nonces));
            }
        }
        self.model = model.version;
        responses
    }

    /// Brings what is needed up to date with the addresses and the routes.
    fn close(&mut self, model: &Model, registration: &mut Registration) {
        let client = &self.client;
        let (new, gone) = self.closure.update(model, client);
        for service in new {
            registration.follow_service(&service);
            for kind in Kind::IMPLIED {
                self.types[kind.index()].need(service.shared());
            }
        }
        for service in gone {
            registration.leave_service(&service);
            for kind in Kind::IMPLIED {
                self.types[kind.index()].drop_later(&service.shared());
            }
        }
    }

    /// False: something of this type waits.
    fn send(&mut self, kind: Kind, model: &Model, responses: &mut Vec<Response>) -> bool {
        let Self {
            node,
            types,
            addresses,
            client,
            nonces,
            bounds,
            ..
        } = self;
        let current = |name: &Arc<str>| match kind {
            Kind::Endpoints => model.endpoints(&NsName::parse(name)?, client),
            Kind::Service => model.service_resource(&NsName::parse(name)?, client),
            Kind::Routes => Some(
                model
                    .route_table(&NsName::parse(name)?, client)?
                    .encoded
                    .clone(),
            ),
            Kind::Address => {
                let ip = addresses.get(name)?;
                Some(Arc::new(model.address(*ip, client)))
            }
            Kind::DnsName => Some(Arc::new(model.dns_name(name, client))),
            Kind::Workload => model.workload(node).map(Arc::new),
            Kind::Trust => model.trust_bundle().map(Arc::new),
            Kind::Telemetry => Some(Arc::new(model.telemetry(node.namespace()))),
        };
        let state = &mut types[kind.index()];
        let (response, complete) = state.send(kind, current, bounds.response_bytes, nonces);
        responses.extend(response);
        complete
    }

    /// How it is doing.
    pub fn summary(&self) -> Summary {
        let mut nacks: Vec<_> = Kind::ALL
            .into_iter()
            .flat_map(|kind| {
                self.types[kind.index()]
                    .nacks()
                    .map(move |(name, reason)| (kind, name, reason))
            })
            .collect();
        nacks.sort_by(|a, b| a.1.cmp(&b.1));
        Summary {
            model: self.model,
            synced: self.types.iter().all(TypeState::is_synced) && self.closure.is_settled(),
            nacks,
            resources: self.types.iter().map(TypeState::held).sum(),
        }
    }

    /// Names of services that it needs now.
    pub fn needed(&self) -> BTreeSet<NsName> {
        self.closure.needed().cloned().collect()
    }
}

/// In small letters, without a dot at its end.
fn is_host_name(name: &str) -> bool {
    let is_good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_*".contains(&b);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_good);
    name.len() <= 253 && name.split('.').all(is_label)
}

fn client(node: &NsName, model: &Model) -> Client {
    Client {
        namespace: node.namespace().into(),
        labels: model
            .pod(node)
            .map(|pod| pod.labels.clone())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
