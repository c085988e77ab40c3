//! The pods of our own parts: one container each, as restricted as the Pod Security Standard knows,
//! spread over nodes, with probes; and what they mount.

use std::collections::BTreeMap;

use heddle_identity::workload::trust_config_map;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort,
            EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
            PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecretVolumeSource,
            SecurityContext, ServiceAccountTokenProjection, TopologySpreadConstraint, Volume,
            VolumeMount, VolumeProjection, WeightedPodAffinityTerm,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString,
    },
};

use crate::{Settings, labels};

/// The user of our images, which is nobody's else.
const USER: i64 = 65532;
/// The kubelet renews at 80 % of it.
const TOKEN_SECONDS: i64 = 12 * 3600;

/// A part of the mesh.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Of the image.
    pub(crate) image: &'static str,
    pub(crate) args: Vec<String>,
    /// Name and number.
    pub(crate) ports: Vec<(&'static str, i32)>,
    /// Scheme and port that `/healthz` and `/readyz` are asked at.
    pub(crate) probes: (&'static str, i32),
    /// It presents a token of the mesh's audience, and reads the trust bundle.
    pub(crate) has_identity: bool,
    /// More volumes: what, and where.
    pub(crate) volumes: Vec<(Volume, &'static str)>,
    pub(crate) memory: (&'static str, &'static str),
    /// Changes when its pods have to.
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

impl Part {
    pub(crate) fn deployment(self, settings: &Settings) -> Deployment {
        let replicas = settings.replica_count();
        Deployment {
            metadata: labels::local(settings, self.name, self.name),
            spec: Some(DeploymentSpec {
                replicas: Some(replicas),
                revision_history_limit: Some(3),
                selector: labels::selector(self.name),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_surge: Some(IntOrString::Int(1)),
                        max_unavailable: Some(IntOrString::Int(0)),
                    }),
                }),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels::chosen(self.name)),
                        annotations: self.annotations.clone(),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod(settings)),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }
    }

    fn pod(self, settings: &Settings) -> PodSpec {
        let name = self.name;
        let mut volumes = Vec::new();
        if self.has_identity {
            volumes.push((token(), "/var/run/secrets/heddle/token"));
            volumes.push((
                config_map("trust", &trust_config_map(&settings.namespace)),
                "/var/run/secrets/heddle/trust",
            ));
        }
        volumes.extend(self.volumes);
        let mounts = volumes.iter().map(|(volume, path)| VolumeMount {
            name: volume.name.clone(),
            mount_path: (*path).to_owned(),
            read_only: volume.empty_dir.is_none().then_some(true),
            ..VolumeMount::default()
        });
        let (scheme, port) = self.probes;
        let probe = |path: &str, seconds, failures| {
            Some(Probe {
                http_get: Some(HTTPGetAction {
                    path: Some(path.to_owned()),
                    port: IntOrString::Int(port),
                    scheme: Some(scheme.to_owned()),
                    ..HTTPGetAction::default()
                }),
                period_seconds: Some(seconds),
                failure_threshold: Some(failures),
                timeout_seconds: Some(3),
                ..Probe::default()
            })
        };
        let container = Container {
            name: name.to_owned(),
            image: Some(settings.image(self.image)),
            image_pull_policy: Some(settings.image_pull_policy.as_str().into()),
            args: Some(self.args),
            env: Some(vec![pod_name()]),
            ports: Some(
                self.ports
                    .iter()
                    .map(|(name, port)| port_of(name, *port))
                    .collect(),
            ),
            readiness_probe: probe("/readyz", 5, 3),
            liveness_probe: probe("/healthz", 10, 6),
            resources: Some(resources(self.memory)),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".into()]),
                    ..Capabilities::default()
                }),
                ..SecurityContext::default()
            }),
            volume_mounts: Some(mounts.collect()),
            ..Container::default()
        };
        PodSpec {
            service_account_name: Some(name.to_owned()),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            priority_class_name: Some("system-cluster-critical".into()),
            termination_grace_period_seconds: Some(30),
            topology_spread_constraints: Some(spread(settings, name)),
            affinity: Some(apart(name)),
            containers: vec![container],
            volumes: Some(volumes.into_iter().map(|(volume, _)| volume).collect()),
            ..PodSpec::default()
        }
    }
}

/// The host's name need not be the pod's own, and nobody else may be called so.
fn pod_name() -> EnvVar {
    EnvVar {
        name: "HEDDLE_POD_NAME".into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "metadata.name".into(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port_of(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// No CPU limit: what is throttled is late for everybody.
fn resources((request, limit): (&str, &str)) -> ResourceRequirements {
    let quantities = |entries: &[(&str, &str)]| {
        let quantities = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Quantity((*value).to_owned())));
        Some(quantities.collect())
    };
    ResourceRequirements {
        requests: quantities(&[("cpu", "100m"), ("memory", request)]),
        limits: quantities(&[("memory", limit)]),
        ..ResourceRequirements::default()
    }
}

/// Over zones as far as it goes; with `ha` never two more on one node than on another.
fn spread(settings: &Settings, part: &str) -> Vec<TopologySpreadConstraint> {
    let over = |key: &str, otherwise: &str| TopologySpreadConstraint {
        topology_key: key.to_owned(),
        max_skew: 1,
        when_unsatisfiable: otherwise.to_owned(),
        label_selector: Some(labels::selector(part)),
        ..TopologySpreadConstraint::default()
    };
    let node = match settings.ha {
        true => "DoNotSchedule",
        false => "ScheduleAnyway",
    };
    vec![
        over("topology.kubernetes.io/zone", "ScheduleAnyway"),
        over("kubernetes.io/hostname", node),
    ]
}

fn apart(part: &str) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: PodAffinityTerm {
                        topology_key: "kubernetes.io/hostname".into(),
                        label_selector: Some(labels::selector(part)),
                        ..PodAffinityTerm::default()
                    },
                },
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn token() -> Volume {
    Volume {
        name: "token".into(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    audience: Some("heddle".into()),
                    expiration_seconds: Some(TOKEN_SECONDS),
                    path: "token".into(),
                }),
                ..VolumeProjection::default()
            }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(crate) fn config_map(volume: &str, name: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.to_owned(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Keys in it are not for others of the pod's node.
pub(crate) fn secret(volume: &str, name: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Keys are in it, so it never reaches a disk.
pub(crate) fn memory(volume: &str, size: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".into()),
            size_limit: Some(Quantity(size.to_owned())),
        }),
        ..Volume::default()
    }
}
