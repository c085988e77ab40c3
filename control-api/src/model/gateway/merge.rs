//! A Service with a VirtualService and with routes of Gateway API: at the ports to which these are
//! attached they stand alone, since their status says that they apply; the VirtualService has the others.

use heddle_proto::mesh::{HttpMatch, RouteTable};

use super::super::Model;
use crate::name::NsName;

impl Model {
    /// Puts the rules that are in force for clients in a namespace into a table that holds a
    /// VirtualService's.
    pub(in crate::model) fn put_gateway_rules(
        &self,
        service: &NsName,
        namespace: &str,
        table: &mut RouteTable,
    ) {
        let Some(gateway) = self.gateway_rules(service, namespace) else {
            return;
        };
        let ports = self.service(service).into_iter().flat_map(|s| &s.ports);
        let others: Vec<u32> = ports
            .filter(|port| !gateway.ports.contains(&port.number))
            .map(|port| port.number.into())
            .collect();
        let of_host = std::mem::replace(&mut table.http, gateway.rules);
        if of_host.is_empty() && !others.is_empty() {
            table.http_ports = gateway.ports.iter().map(|port| (*port).into()).collect();
        }
        for mut rule in of_host {
            let at = |one: &HttpMatch, port: u32| HttpMatch {
                port,
                ..one.clone()
            };
            if rule.matches.is_empty() {
                rule.matches.push(HttpMatch::default());
            }
            let matches = rule.matches.iter().flat_map(|one| {
                let fits = |port: &&u32| one.port == 0 || one.port == **port;
                others.iter().filter(fits).map(|port| at(one, *port))
            });
            rule.matches = matches.collect();
            if !rule.matches.is_empty() {
                table.http.push(rule);
            }
        }
    }
}
