//! The routes of one service as one client sees them: of the VirtualServices in force for it the
//! one with the most specific host, of several the oldest; its rules without those that are for
//! other clients. Clients between whom the routes do not tell share one table.

mod compile;
mod source;

use std::{collections::BTreeMap, sync::Arc};

use self::source::{http_source, tcp_source, tls_source};
use super::{Client, Encoded, Model, hosts::filed};
use crate::{
    name::NsName,
    resources::{labels::Labels, virtual_service::VirtualService},
    source::Object,
};

/// A route table, and the services that it names.
#[derive(Debug)]
pub struct RouteView {
    /// What is sent.
    pub encoded: Arc<Encoded>,
    /// Services that exist and that its rules name, sorted.
    pub names: Box<[NsName]>,
}

impl Model {
    /// The routes of a service for a client.
    pub fn route_table(&self, name: &NsName, client: &Client) -> Option<Arc<RouteView>> {
        let entry = self.services.get(name)?;
        let winner = self.route_for(name);
        let variant = winner.and_then(|object| distinction(object.route()?, client));
        Some(
            entry
                .routes
                .get(variant, || Arc::new(self.compile(name, winner, client))),
        )
    }

    /// The VirtualService that applies to a service.
    pub(super) fn route_for(&self, name: &NsName) -> Option<&Arc<Object>> {
        let in_force = |name: &NsName| self.routes.get(name)?.in_force.as_ref();
        let exact = self
            .routes_of
            .get(&filed(name))
            .into_iter()
            .flat_map(|names| names.iter())
            .filter_map(in_force);
        exact
            .min_by(|a, b| a.seniority().cmp(&b.seniority()))
            .or_else(|| {
                let hosts = self.hosts();
                let covering = self
                    .wildcard_routes
                    .iter()
                    .filter(|(suffix, _)| hosts.covers(suffix, name));
                let candidates =
                    covering.filter_map(|(suffix, route)| Some((suffix.len(), in_force(route)?)));
                candidates
                    .min_by(|(a_len, a), (b_len, b)| {
                        b_len
                            .cmp(a_len)
                            .then_with(|| a.seniority().cmp(&b.seniority()))
                    })
                    .map(|(_, object)| object)
            })
    }
}

/// What of the client the routes tell apart; None: nothing.
fn distinction(spec: &VirtualService, client: &Client) -> Option<Client> {
    let http = spec
        .http
        .iter()
        .flat_map(|rule| &rule.matches)
        .map(http_source);
    let tcp = spec
        .tcp
        .iter()
        .flat_map(|rule| &rule.matches)
        .map(tcp_source);
    let tls = spec
        .tls
        .iter()
        .flat_map(|rule| &rule.matches)
        .map(|one| tls_source(one));
    let mut labels = BTreeMap::new();
    let mut by_namespace = false;
    for source in http.chain(tcp).chain(tls) {
        by_namespace |= source.namespace.is_some();
        for key in source.labels.keys() {
            labels.insert(key.clone(), client.labels.get(key).map(str::to_owned));
        }
    }
    (by_namespace || !labels.is_empty()).then(|| {
        let labels: BTreeMap<String, String> = labels
            .into_iter()
            .filter_map(|(k, v)| Some((k, v?)))
            .collect();
        Client {
            namespace: if by_namespace {
                client.namespace.clone()
            } else {
                Arc::from("")
            },
            labels: Labels::from(&labels),
        }
    })
}
