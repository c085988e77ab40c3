//! NetworkPolicies for our own parts: only the ports that are served, from anywhere, as every pod of
//! the mesh, the kubelet and the API server call them. What our parts call is not restricted: the API
//! server's address is no pod's, and policies cannot name it portably.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::{
    Settings, labels,
    parts::{ALL, ports},
};

const EVERYTHING_ELSE: &str = "heddle-default-deny";

pub(crate) fn policies(settings: &Settings) -> Vec<NetworkPolicy> {
    let nothing = NetworkPolicy {
        metadata: labels::local(settings, EVERYTHING_ELSE, EVERYTHING_ELSE),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".into()]),
            ..NetworkPolicySpec::default()
        }),
    };
    let mut policies = vec![nothing];
    policies.extend(ALL.iter().map(|part| {
        let ports = ports(part).iter().map(|(_, port, _)| NetworkPolicyPort {
            port: Some(IntOrString::Int(*port)),
            protocol: Some("TCP".into()),
            ..NetworkPolicyPort::default()
        });
        NetworkPolicy {
            metadata: labels::local(settings, part, part),
            spec: Some(NetworkPolicySpec {
                pod_selector: Some(labels::selector(part)),
                policy_types: Some(vec!["Ingress".into()]),
                ingress: Some(vec![NetworkPolicyIngressRule {
                    ports: Some(ports.collect()),
                    ..NetworkPolicyIngressRule::default()
                }]),
                ..NetworkPolicySpec::default()
            }),
        }
    }));
    policies
}
