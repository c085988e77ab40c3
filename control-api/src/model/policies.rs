//! How clients of a namespace connect to a service: the policies of the DestinationRules that they
//! see, merged as Istio does, for the service, its ports, and its subsets. The first rule that has a
//! policy of its own gives that of the service; each subset keeps to the rule that defines it.

mod compile;

use std::collections::BTreeSet;

use heddle_proto::mesh::ScopedPolicy;

use self::compile::traffic_policy;
use super::Model;
use crate::{
    name::NsName,
    resources::traffic_policy::{Components, TrafficPolicy},
    source::{Object, node::Position},
};

impl Model {
    /// The policies of a service as clients in `namespace` have them.
    pub(super) fn policies(&self, service: &NsName, namespace: &str) -> Vec<ScopedPolicy> {
        let rules = self.rules_for(service, namespace);
        let of_service = rules
            .iter()
            .find_map(|object| Some((&***object, object.rule()?.traffic_policy.as_ref()?)));
        let wide = of_service.map(|(_, policy)| &policy.value);
        let mut found = Vec::new();
        let mut add = |subset: &str, port: u16, policy: Components<'_>, origin: String| {
            found.push(ScopedPolicy {
                subset: subset.to_owned(),
                port: port.into(),
                policy: Some(traffic_policy(policy, origin)),
            });
        };
        let none = Components::default();
        if let Some((object, policy)) = of_service {
            let all = none.merged(wide, 0);
            if !all.is_empty() {
                add("", 0, all, origin(object, policy.at));
            }
            for port in &policy.port_level_settings {
                let number = port.port.number;
                add(
                    "",
                    number,
                    none.merged(wide, number),
                    origin(object, port.at),
                );
            }
        }
        let mut known = BTreeSet::new();
        for object in &rules {
            for subset in object.rule().iter().flat_map(|rule| &rule.subsets) {
                if !known.insert(subset.name.as_str()) {
                    continue;
                }
                let Some(own) = &subset.traffic_policy else {
                    continue;
                };
                let origin = || origin(object, own.at);
                let merged = |port| none.merged(wide, port).merged(Some(own), port);
                add(&subset.name, 0, merged(0), origin());
                for port in ports(wide)
                    .chain(ports(Some(own)))
                    .collect::<BTreeSet<u16>>()
                {
                    add(&subset.name, port, merged(port), origin());
                }
            }
        }
        found
    }

    /// Labels that some policy of the service orders its endpoints by.
    pub(super) fn priority_keys(&self, service: &NsName, namespace: &str) -> BTreeSet<&str> {
        let rules = self.rules_for(service, namespace);
        let rules = rules.iter().filter_map(|object| object.rule());
        let policies = rules.flat_map(|rule| {
            let of_subsets = rule.subsets.iter().map(|subset| &subset.traffic_policy);
            of_subsets.chain([&rule.traffic_policy]).flatten()
        });
        let balancers = policies.flat_map(|policy| {
            let of_ports = policy.port_level_settings.iter();
            let of_ports = of_ports.map(|of_port| &of_port.load_balancer);
            of_ports.chain([&policy.load_balancer]).flatten()
        });
        balancers
            .filter_map(|balancer| balancer.locality_lb_setting.as_ref())
            .flat_map(|setting| &setting.failover_priority)
            .filter_map(|label| label.split('=').next())
            .collect()
    }
}

fn ports(policy: Option<&TrafficPolicy>) -> impl Iterator<Item = u16> {
    let settings = policy.into_iter().flat_map(|p| &p.port_level_settings);
    settings.map(|of_port| of_port.port.number)
}

pub(super) fn origin(object: &Object, at: Position) -> String {
    let key = &object.key;
    match &object.origin.file {
        Some(file) => format!("{}/{} ({}:{})", key.kind, key.name, file.display(), at.line),
        None => format!("{}/{}", key.kind, key.name),
    }
}
