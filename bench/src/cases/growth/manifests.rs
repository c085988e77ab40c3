//! What the control plane reads: one file, so that it is in force as a whole. Written one object to a
//! line where it is long, which YAML allows.

use std::fmt::Write as _;

use super::Size;
use crate::peers::envoy;

/// Of each other Service.
const ENDPOINTS_OF_ONE: usize = 10;

/// Headers of the request, which the last rule alone matches.
pub(super) fn headers(size: Size) -> [String; 2] {
    [
        "x-tenant: none".to_owned(),
        format!("x-size: {}", mark(size)),
    ]
}

fn mark(size: Size) -> String {
    format!("{}-{}", size.routes, size.endpoints)
}

pub(super) fn all(size: Size) -> String {
    let mut text = routes(size);
    text += SUBSETS;
    for index in 0..size.endpoints.div_ceil(ENDPOINTS_OF_ONE) {
        service(&mut text, index);
    }
    text
}

const SUBSETS: &str = "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews-destination}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

fn routes(size: Size) -> String {
    let mut text = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews-route}
spec:
  hosts: [reviews]
  http:
"
    .to_owned();
    for (prefix, (header, value), subset) in rules(size) {
        // Writing to a string succeeds.
        let _ = writeln!(
            text,
            "  - {{match: [{{uri: {{prefix: {prefix}}}, headers: {{{header}: {{exact: {value}}}}}}}], \
             route: [{{destination: {{host: reviews, subset: {subset}}}}}]}}"
        );
    }
    text
}

/// Prefix, header and subset of each.
fn rules(size: Size) -> impl Iterator<Item = (String, (&'static str, String), &'static str)> {
    let others = (1..size.routes).map(|index| {
        let prefix = match index % 2 {
            0 => format!("/section-{index}/"),
            _ => "/reviews".to_owned(),
        };
        (prefix, ("x-tenant", format!("t-{index}")), "v1")
    });
    let last = ("/reviews".to_owned(), ("x-size", mark(size)), "v2");
    others.chain([last])
}

/// The same routes for Envoy, in the frame of its own file.
pub(super) fn envoy(size: Size) -> String {
    const RULES: &str = "    routes:\n";
    let mut text = envoy::ROUTES.to_owned();
    text.truncate(text.find(RULES).unwrap_or_default());
    text += RULES;
    for (prefix, (header, value), subset) in rules(size) {
        // Writing to a string succeeds.
        let _ = writeln!(
            text,
            "    - {{match: {{prefix: {prefix}, headers: [{{name: {header}, string_match: {{exact: {value}}}}}]}}, \
             route: {{cluster: \"outbound|9080|{subset}|reviews.default.svc.cluster.local\", timeout: 0s}}}}"
        );
    }
    text
}

/// A Service and its endpoints, in addresses that nobody has.
fn service(text: &mut String, index: usize) {
    let octets = |n: usize| format!("{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
    let cluster_ip = format!("11.{}", octets(index));
    let _ = write!(
        text,
        "---
apiVersion: v1
kind: Service
metadata: {{name: other-{index}}}
spec: {{clusterIP: {cluster_ip}, clusterIPs: [{cluster_ip}], ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: other-{index}, labels: {{kubernetes.io/service-name: other-{index}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints:
"
    );
    for endpoint in 0..ENDPOINTS_OF_ONE {
        let address = octets(index * ENDPOINTS_OF_ONE + endpoint);
        let _ = writeln!(text, "- {{addresses: [12.{address}]}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_asked_for() {
        let text = all(Size {
            routes: 7,
            endpoints: 1000,
        });
        assert_eq!(text.matches("match:").count(), 7);
        assert_eq!(text.matches("addresses: [12.").count(), 1000);
        assert_eq!(text.matches("kind: Service\n").count(), 100);
        assert!(text.contains("- {addresses: [12.0.3.231]}"), "{text}");
        let last = text.matches("x-size").count();
        assert_eq!(
            (last, text.contains("{x-size: {exact: 7-1000}}")),
            (1, true)
        );
    }
    #[test]
    fn envoy_is_told_the_same_routes() {
        let text = envoy(Size {
            routes: 7,
            endpoints: 0,
        });
        assert_eq!(text.matches("{match:").count(), 7);
        assert!(
            text.contains("name: x-size, string_match: {exact: 7-0}"),
            "{text}"
        );
        assert!(
            text.contains("virtual_hosts:") && !text.contains("premium"),
            "{text}"
        );
    }
}
