//! Which kinds are watched, and in which version: the first of ours that the cluster serves.

use std::collections::BTreeMap;

use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource};
use kube::{Client, core::ApiResource};

use crate::name::Kind;

/// A kind as the API server knows it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    /// The best first.
    pub(super) versions: &'static [&'static str],
}

/// The version in which each kind is served.
pub(super) type Served = BTreeMap<Kind, &'static str>;

/// Of a kind: what it takes to follow it.
pub(super) const VERBS: [&str; 2] = ["list", "watch"];

const fn wanted(
    kind: Kind,
    group: &'static str,
    plural: &'static str,
    versions: &'static [&'static str],
) -> Wanted {
    Wanted {
        kind,
        group,
        plural,
        versions,
    }
}

const NETWORKING: &str = "networking.istio.io";
const NETWORKING_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// All of them.
pub(super) const WANTED: &[Wanted] = &[
    wanted(Kind::Namespace, "", "namespaces", &["v1"]),
    wanted(Kind::ServiceAccount, "", "serviceaccounts", &["v1"]),
    wanted(Kind::Service, "", "services", &["v1"]),
    wanted(Kind::Node, "", "nodes", &["v1"]),
    wanted(Kind::Pod, "", "pods", &["v1"]),
    wanted(
        Kind::EndpointSlice,
        "discovery.k8s.io",
        "endpointslices",
        &["v1", "v1beta1"],
    ),
    wanted(
        Kind::NetworkPolicy,
        "networking.k8s.io",
        "networkpolicies",
        &["v1"],
    ),
    wanted(
        Kind::ServiceEntry,
        NETWORKING,
        "serviceentries",
        NETWORKING_VERSIONS,
    ),
    wanted(
        Kind::DestinationRule,
        NETWORKING,
        "destinationrules",
        NETWORKING_VERSIONS,
    ),
    wanted(
        Kind::VirtualService,
        NETWORKING,
        "virtualservices",
        NETWORKING_VERSIONS,
    ),
    wanted(Kind::Sidecar, NETWORKING, "sidecars", NETWORKING_VERSIONS),
    wanted(
        Kind::PeerAuthentication,
        "security.istio.io",
        "peerauthentications",
        &["v1", "v1beta1"],
    ),
    wanted(
        Kind::Telemetry,
        "telemetry.istio.io",
        "telemetries",
        &["v1", "v1alpha1"],
    ),
    wanted(
        Kind::HttpRoute,
        "gateway.networking.k8s.io",
        "httproutes",
        &["v1", "v1beta1"],
    ),
    wanted(
        Kind::GrpcRoute,
        "gateway.networking.k8s.io",
        "grpcroutes",
        &["v1"],
    ),
];

impl Wanted {
    /// As the client names it.
    pub(super) fn resource(&self, version: &str) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: version.to_owned(),
            api_version: if self.group.is_empty() {
                version.to_owned()
            } else {
                format!("{}/{version}", self.group)
            },
            kind: self.kind.as_str().to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// As people name it.
    pub(super) fn full_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

impl Wanted {
    /// The rule of a ClusterRole that allows it to be followed.
    pub(super) fn rule(&self) -> String {
        let verbs = VERBS.join(", ");
        format!(
            "{{apiGroups: [\"{}\"], resources: [{}], verbs: [{verbs}]}}",
            self.group, self.plural
        )
    }

    /// What to do for one that may not be followed.
    pub(super) fn forbidden(&self) -> String {
        format!(
            "not allowed to {} it: add the rule {} to a ClusterRole of heddle-control's service account",
            VERBS.join(" and "),
            self.rule()
        )
    }
}

/// The same of a server that says that it is ready, or that will not say.
pub(super) async fn discover_ready(client: &Client) -> Result<Served, kube::Error> {
    let asked = Request::get("/readyz").body(Vec::new());
    let asked = asked.map_err(kube::Error::HttpError)?;
    match client.request_text(asked).await {
        Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {}
        answer => _ = answer?,
    }
    discover(client).await
}

/// What the cluster serves of it now. An error says nothing of what is served.
pub(super) async fn discover(client: &Client) -> Result<Served, kube::Error> {
    let groups = client.list_api_groups().await?.groups;
    let mut served = Served::new();
    let mut asked: Vec<(&str, &str)> = Vec::new();
    for wanted in WANTED {
        for version in wanted.versions {
            if served.contains_key(&wanted.kind) || asked.contains(&(wanted.group, version)) {
                continue;
            }
            if !wanted.group.is_empty() && !serves(&groups, wanted.group, version) {
                continue;
            }
            asked.push((wanted.group, version));
            let resources = match wanted.group {
                "" => client.list_core_api_resources(version).await,
                group => {
                    client
                        .list_api_group_resources(&format!("{group}/{version}"))
                        .await
                }
            };
            let resources = match resources {
                Ok(list) => list.resources,
                // Gone since the groups were listed.
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            let here = WANTED
                .iter()
                .filter(|other| other.group == wanted.group && other.versions.contains(version));
            for other in here.filter(|other| is_followed(&resources, other.plural)) {
                served.entry(other.kind).or_insert(version);
            }
        }
    }
    Ok(served)
}

fn serves(groups: &[APIGroup], name: &str, version: &str) -> bool {
    let group = groups.iter().find(|group| group.name == name);
    group.is_some_and(|group| {
        group
            .versions
            .iter()
            .any(|served| served.version == version)
    })
}

/// Whether it can be listed and watched.
fn is_followed(resources: &[APIResource], plural: &str) -> bool {
    let can = |resource: &APIResource, verb: &str| resource.verbs.iter().any(|can| can == verb);
    resources
        .iter()
        .any(|resource| resource.name == plural && can(resource, "list") && can(resource, "watch"))
}
