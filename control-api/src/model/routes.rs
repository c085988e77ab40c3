//! The routes of one service as one client sees them: of the VirtualServices in force for it the
//! one with the most specific host, of several the oldest; its rules without those that are for
//! other clients. Clients between whom the routes do not tell share one table.

mod compile;
mod rules;
mod source;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use self::source::{http_source, tcp_source, tls_source};
pub(super) use self::{
    compile::{http_match, sticky},
    rules::{NoDelegate, delegate_name},
};
use super::{Client, Encoded, Model, hosts::filed};
use crate::{
    name::NsName,
    resources::{
        export::{closeness, is_restricted},
        labels::Labels,
        virtual_service::VirtualService,
    },
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
        let winner = self.route_for(name, &client.namespace);
        let mut variant =
            winner.and_then(|object| self.distinction(object, object.route()?, client));
        if self.has_restricted_routes(name) || self.has_consumer_routes(name) {
            let all = variant.get_or_insert_with(|| Client {
                namespace: client.namespace.clone(),
                labels: Labels::default(),
            });
            all.namespace = client.namespace.clone();
        }
        Some(
            entry
                .routes
                .get(variant, || Arc::new(self.compile(name, winner, client))),
        )
    }

    /// Whether some of the routes that may apply to a service are not for every namespace.
    fn has_restricted_routes(&self, name: &NsName) -> bool {
        let hosts = self.hosts();
        let exact = self.routes_of.get(&filed(name)).into_iter();
        let exact = exact.flat_map(|names| names.iter());
        let covering = self.wildcard_routes.iter();
        let covering = covering.filter(|(suffix, _)| hosts.covers(suffix, name));
        let mut all = exact.chain(covering.map(|(_, route)| route));
        all.any(|route| {
            let in_force = self
                .routes
                .get(route)
                .and_then(|entry| entry.in_force.as_ref());
            let route = in_force.and_then(|object| object.route());
            route.is_some_and(|route| is_restricted(&route.export_to))
        })
    }

    /// The VirtualService that applies to a service, for clients in a namespace.
    pub(super) fn route_for(&self, name: &NsName, namespace: &str) -> Option<&Arc<Object>> {
        let in_force = |name: &NsName| {
            let object = self.routes.get(name)?.in_force.as_ref()?;
            let closeness = closeness(&object.route()?.export_to, name.namespace(), namespace)?;
            Some((closeness, object))
        };
        let exact = self
            .routes_of
            .get(&filed(name))
            .into_iter()
            .flat_map(|names| names.iter())
            .filter_map(in_force);
        exact
            .min_by(|(a_near, a), (b_near, b)| {
                (a_near, a.seniority()).cmp(&(b_near, b.seniority()))
            })
            .map(|(_, object)| object)
            .or_else(|| {
                let hosts = self.hosts();
                let covering = self
                    .wildcard_routes
                    .iter()
                    .filter(|(suffix, _)| hosts.covers(suffix, name));
                let candidates = covering.filter_map(|(suffix, route)| {
                    let (near, object) = in_force(route)?;
                    Some((Reverse(suffix.len()), near, object))
                });
                candidates
                    .min_by(|(a_len, a_near, a), (b_len, b_near, b)| {
                        (a_len, a_near, a.seniority()).cmp(&(b_len, b_near, b.seniority()))
                    })
                    .map(|(_, _, object)| object)
            })
    }

    /// What of the client the routes tell apart; None: nothing.
    fn distinction(
        &self,
        object: &Arc<Object>,
        spec: &VirtualService,
        client: &Client,
    ) -> Option<Client> {
        let rules = self.http_rules(object, spec);
        let http = rules
            .iter()
            .flat_map(|one| &one.rule.matches)
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
}
