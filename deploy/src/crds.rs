//! The Istio kinds that are read, as CustomResourceDefinitions of our own: the outline that the API
//! server can hold, everything below kept as it is written, as the validating webhook judges it with
//! line and reason. Served in every version that Istio serves, so that manifests need no change.
//!
//! Istio's own definitions do as well, and better: whoever has them sets `crds=false`.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::labels;

/// A kind: group, versions (the stored one first), names, and the lists and maps in its spec.
struct Definition {
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    /// Fields of the spec and their types.
    spec: &'static [(&'static str, Type)],
    /// Columns of `kubectl get`.
    columns: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy)]
enum Type {
    Text,
    Texts,
    Objects,
    Object,
}

const NETWORKING: &str = "networking.istio.io";
const NETWORKING_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const ALL: &[Definition] = &[
    Definition {
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        kind: "VirtualService",
        plural: "virtualservices",
        short: &["vs"],
        spec: &[
            ("hosts", Type::Texts),
            ("gateways", Type::Texts),
            ("http", Type::Objects),
            ("tls", Type::Objects),
            ("tcp", Type::Objects),
            ("exportTo", Type::Texts),
        ],
        columns: &[("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")],
    },
    Definition {
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        kind: "DestinationRule",
        plural: "destinationrules",
        short: &["dr"],
        spec: &[
            ("host", Type::Text),
            ("trafficPolicy", Type::Object),
            ("subsets", Type::Objects),
            ("exportTo", Type::Texts),
            ("workloadSelector", Type::Object),
        ],
        columns: &[("Host", ".spec.host")],
    },
    Definition {
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        kind: "ServiceEntry",
        plural: "serviceentries",
        short: &["se"],
        spec: &[
            ("hosts", Type::Texts),
            ("addresses", Type::Texts),
            ("ports", Type::Objects),
            ("location", Type::Text),
            ("resolution", Type::Text),
            ("endpoints", Type::Objects),
            ("workloadSelector", Type::Object),
            ("exportTo", Type::Texts),
            ("subjectAltNames", Type::Texts),
        ],
        columns: &[
            ("Hosts", ".spec.hosts"),
            ("Location", ".spec.location"),
            ("Resolution", ".spec.resolution"),
        ],
    },
    Definition {
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        kind: "Sidecar",
        plural: "sidecars",
        short: &[],
        spec: &[
            ("workloadSelector", Type::Object),
            ("ingress", Type::Objects),
            ("egress", Type::Objects),
            ("outboundTrafficPolicy", Type::Object),
            ("inboundConnectionPool", Type::Object),
        ],
        columns: &[],
    },
    Definition {
        group: "security.istio.io",
        versions: &["v1", "v1beta1"],
        kind: "PeerAuthentication",
        plural: "peerauthentications",
        short: &["pa"],
        spec: &[
            ("selector", Type::Object),
            ("mtls", Type::Object),
            ("portLevelMtls", Type::Object),
        ],
        columns: &[("Mode", ".spec.mtls.mode")],
    },
    Definition {
        group: "telemetry.istio.io",
        versions: &["v1", "v1alpha1"],
        kind: "Telemetry",
        plural: "telemetries",
        short: &["telemetry"],
        spec: &[
            ("selector", Type::Object),
            ("targetRefs", Type::Objects),
            ("tracing", Type::Objects),
            ("metrics", Type::Objects),
            ("accessLogging", Type::Objects),
        ],
        columns: &[],
    },
];

pub(crate) fn definitions() -> Vec<CustomResourceDefinition> {
    ALL.iter().map(Definition::typed).collect()
}

impl Definition {
    fn typed(&self) -> CustomResourceDefinition {
        let versions = self.versions.iter().enumerate();
        CustomResourceDefinition {
            metadata: ObjectMeta {
                name: Some(format!("{}.{}", self.plural, self.group)),
                labels: Some(labels::map([("app.kubernetes.io/part-of", "heddle")])),
                ..ObjectMeta::default()
            },
            spec: CustomResourceDefinitionSpec {
                group: self.group.into(),
                names: CustomResourceDefinitionNames {
                    kind: self.kind.into(),
                    list_kind: Some(format!("{}List", self.kind)),
                    plural: self.plural.into(),
                    singular: Some(self.kind.to_lowercase()),
                    short_names: Some(self.short.iter().map(|name| (*name).to_owned()).collect())
                        .filter(|names: &Vec<String>| !names.is_empty()),
                    ..CustomResourceDefinitionNames::default()
                },
                scope: "Namespaced".into(),
                versions: versions
                    .map(|(place, name)| self.version(name, place == 0))
                    .collect(),
                ..CustomResourceDefinitionSpec::default()
            },
            ..CustomResourceDefinition::default()
        }
    }

    fn version(&self, name: &str, is_stored: bool) -> CustomResourceDefinitionVersion {
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .map(|(name, path)| column(name, path))
            .collect();
        columns.push(CustomResourceColumnDefinition {
            type_: "date".into(),
            ..column("Age", ".metadata.creationTimestamp")
        });
        CustomResourceDefinitionVersion {
            name: name.to_owned(),
            served: true,
            storage: is_stored,
            schema: Some(CustomResourceValidation {
                open_api_v3_schema: Some(self.schema()),
            }),
            subresources: Some(CustomResourceSubresources {
                status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
                ..CustomResourceSubresources::default()
            }),
            additional_printer_columns: Some(columns),
            ..CustomResourceDefinitionVersion::default()
        }
    }

    fn schema(&self) -> JSONSchemaProps {
        let fields = self.spec.iter().map(|(name, kind)| (*name, kind.schema()));
        let spec = JSONSchemaProps {
            properties: properties(fields),
            ..anything()
        };
        JSONSchemaProps {
            type_: Some("object".into()),
            properties: properties([("spec", spec), ("status", anything())]),
            ..JSONSchemaProps::default()
        }
    }
}

impl Type {
    fn schema(self) -> JSONSchemaProps {
        let list = |of| JSONSchemaProps {
            type_: Some("array".into()),
            items: Some(JSONSchemaPropsOrArray::Schema(Box::new(of))),
            ..JSONSchemaProps::default()
        };
        match self {
            Self::Text => text(),
            Self::Texts => list(text()),
            Self::Object => anything(),
            Self::Objects => list(anything()),
        }
    }
}

fn text() -> JSONSchemaProps {
    JSONSchemaProps {
        type_: Some("string".into()),
        ..JSONSchemaProps::default()
    }
}

/// An object of which nothing is lost.
fn anything() -> JSONSchemaProps {
    JSONSchemaProps {
        type_: Some("object".into()),
        x_kubernetes_preserve_unknown_fields: Some(true),
        ..JSONSchemaProps::default()
    }
}

fn properties<'a>(
    fields: impl IntoIterator<Item = (&'a str, JSONSchemaProps)>,
) -> Option<BTreeMap<String, JSONSchemaProps>> {
    let fields = fields.into_iter();
    Some(
        fields
            .map(|(name, schema)| (name.to_owned(), schema))
            .collect(),
    )
}

fn column(name: &str, path: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        json_path: path.to_owned(),
        type_: "string".into(),
        ..CustomResourceColumnDefinition::default()
    }
}
