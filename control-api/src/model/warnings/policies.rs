//! Policies that lock everything out, guard nothing, or are for nobody.

use std::sync::Arc;

use heddle_proto::mesh::MtlsMode;

use super::warning;
use crate::{
    check::Code,
    model::{Model, workload::target_number},
    name::NsName,
    resources::{
        at::At,
        destination_rule::DestinationRule,
        labels::Labels,
        peer_authentication::{Mode, PeerAuthentication},
        pod::Pod,
        sidecar::{OutboundMode, Sidecar},
        traffic_policy::TlsMode,
    },
    source::{Object, Refusal, node::Position},
};

/// Where Istio keeps what is for the whole mesh.
const OTHERS_ROOT: &str = "istio-system";

/// Names that are listed; of more only the number is told.
const MAX_NAMED: usize = 3;

impl Model {
    pub(super) fn of_authentication(
        &self,
        object: &Arc<Object>,
        policy: &PeerAuthentication,
        found: &mut Vec<Refusal>,
    ) {
        let own = object.key.name.namespace();
        if !object.stand_in && self.is_others_root(own) {
            found.push(self.for_the_mesh(object));
            return;
        }
        if object.stand_in || !self.has_pods() {
            return;
        }
        let selector = policy.selector();
        let of_mesh = own == self.settings.system_namespace && selector.is_none();
        let guarded = |namespace: &str| namespace == own || (of_mesh && !is_of_cluster(namespace));
        let pods = self
            .pods
            .iter()
            .filter_map(|(name, pod)| Some((name, pod.pod()?)));
        let pods =
            pods.filter(|(name, pod)| guarded(name.namespace()) && !pod.addresses.is_empty());
        let (mut inside, mut outside): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for (name, pod) in pods {
            let selected = selector
                .as_ref()
                .is_none_or(|wanted| pod.labels.has_all(wanted));
            match (selected, pod.meshed) {
                (true, _) => inside.push((name, pod)),
                (false, false) => outside.push(name),
                (false, true) => {}
            }
        }
        if inside.is_empty() && selector.is_some() {
            let reason = format!("spec.selector: no pod of {own} has these labels");
            let instead = "compare them with those of the pods";
            let at = Position::default();
            found.push(warning(Code::PolicyOfNobody, object, at, reason, instead));
            return;
        }
        for (port, mtls) in &policy.port_level_mtls {
            let Ok(number) = port.parse::<u16>() else {
                continue;
            };
            if !inside
                .iter()
                .any(|(name, pod)| self.may_listen(name, pod, number))
            {
                let reason = format!(
                    "spec.portLevelMtls[\"{port}\"]: no selected pod names this port, and no service leads to it"
                );
                let instead = "write the pod's own port, not the Service's";
                found.push(warning(Code::PortOfNoPod, object, mtls.at, reason, instead));
            }
        }
        if policy.mtls.unwrap_or_default().mode != Mode::Strict {
            return;
        }
        let bare: Vec<&NsName> = inside
            .iter()
            .filter(|(_, pod)| !pod.meshed)
            .map(|(name, _)| *name)
            .collect();
        let unguarded: Vec<&NsName> = bare
            .iter()
            .filter(|name| name.namespace() == own || !self.decides_itself(name.namespace()))
            .copied()
            .collect();
        if !unguarded.is_empty() {
            let reason = format!("spec.mtls: {} without a sidecar", several(&unguarded));
            let instead = "inject them (`heddle inject`), or leave them out of the selector";
            let at = Position::default();
            found.push(warning(Code::StrictUnguarded, object, at, reason, instead));
        }
        outside.extend(bare);
        if !outside.is_empty() && inside.iter().any(|(_, pod)| pod.meshed) {
            let reason = format!(
                "spec.mtls: {} without a sidecar, which cannot call what this policy guards",
                several(&outside)
            );
            let instead = "inject them first, or use PERMISSIVE until then";
            let at = Position::default();
            found.push(warning(Code::LockedOut, object, at, reason, instead));
        }
    }

    /// Whether a namespace has a policy of its own for all its pods, so that the mesh's is not theirs.
    fn decides_itself(&self, namespace: &str) -> bool {
        let policies = self.authentications.get(namespace);
        policies.is_some_and(|policies| {
            let mut policies = policies.iter().filter_map(|object| object.authentication());
            policies.any(|policy| policy.selector().is_none() && policy.mtls.is_some())
        })
    }

    /// Whether this is where another mesh keeps what is for all of it, and no pod of ours.
    fn is_others_root(&self, namespace: &str) -> bool {
        let mut pods = self.pods.iter();
        namespace == OTHERS_ROOT
            && namespace != self.settings.system_namespace
            && !pods.any(|(name, pod)| {
                name.namespace() == namespace && pod.pod().is_some_and(|pod| pod.meshed)
            })
    }

    fn for_the_mesh(&self, object: &Arc<Object>) -> Refusal {
        let reason = format!(
            "metadata.namespace: {OTHERS_ROOT} is a namespace like any other here, and has no pod with a sidecar"
        );
        let instead = format!(
            "for the whole mesh, write it in {}",
            self.settings.system_namespace
        );
        warning(
            Code::PolicyOfNobody,
            object,
            Position::default(),
            reason,
            &instead,
        )
    }

    /// Whether a container names the port, or a service leads to it; who names none may listen anywhere.
    fn may_listen(&self, name: &NsName, pod: &Pod, number: u16) -> bool {
        pod.ports.is_empty()
            || pod.ports.iter().any(|port| port.number == number)
            || self
                .inbound_ports(name, pod)
                .iter()
                .any(|port| port.number == u32::from(number))
    }

    pub(super) fn of_tls(
        &self,
        object: &Arc<Object>,
        rule: &DestinationRule,
        service: &NsName,
        found: &mut Vec<Refusal>,
    ) {
        let Some(tls) = rule
            .traffic_policy
            .as_ref()
            .and_then(|policy| policy.tls.as_ref())
        else {
            return;
        };
        let Some(known) = self.service(service) else {
            return;
        };
        let candidates = self.candidates(service, known);
        let pods = candidates.iter().filter_map(|candidate| {
            let name = candidate.pod?;
            Some((name, self.pod(name)?))
        });
        let pods: Vec<(&NsName, &Pod)> = pods.collect();
        let is_strict = |(name, pod): &&(&NsName, &Pod)| {
            let modes = self.modes(name.namespace(), pod);
            let mut targets = known
                .ports
                .iter()
                .filter_map(|port| target_number(port, pod));
            pod.meshed && targets.all(|port| modes.of(port).mode == MtlsMode::Strict)
        };
        let (fails, of_pods, instead) = match tls.mode.value {
            TlsMode::IstioMutual => (
                pods.iter().filter(|(_, pod)| !pod.meshed).count(),
                "have no sidecar, so nobody there speaks the mesh's TLS",
                "take `tls` out: sidecars speak mutual TLS with those that can",
            ),
            TlsMode::Disable | TlsMode::Simple | TlsMode::Mutual => (
                pods.iter().filter(is_strict).count(),
                "accept only the mesh's mutual TLS (STRICT)",
                "take `tls` out, or make them PERMISSIVE",
            ),
        };
        if fails > 0 && fails == pods.len() {
            let reason = format!("spec.trafficPolicy.tls.mode: the pods of {service} {of_pods}");
            let at = tls.mode.at;
            found.push(warning(Code::TlsMismatch, object, at, reason, instead));
        }
    }

    pub(super) fn of_sidecar(
        &self,
        object: &Arc<Object>,
        sidecar: &Sidecar,
        found: &mut Vec<Refusal>,
    ) {
        let own = object.key.name.namespace();
        if self.is_others_root(own) {
            found.push(self.for_the_mesh(object));
            return;
        }
        let selector = sidecar.selector();
        let fits = |wanted: &Labels| {
            let mut pods = self.pods.iter().filter(|(name, _)| name.namespace() == own);
            pods.any(|(_, pod)| pod.pod().is_some_and(|pod| pod.labels.has_all(wanted)))
        };
        if let Some(selector) = selector.filter(|wanted| self.has_pods() && !fits(wanted)) {
            drop(selector);
            let at = sidecar
                .workload_selector
                .as_ref()
                .map(|s| s.at)
                .unwrap_or_default();
            let reason = format!("spec.workloadSelector: no pod of {own} has these labels");
            let instead = "compare them with those of the pods";
            found.push(warning(Code::PolicyOfNobody, object, at, reason, instead));
        }
        let named = sidecar.egress.iter().enumerate();
        let named = named.flat_map(|(i, egress)| {
            egress
                .hosts
                .iter()
                .enumerate()
                .map(move |(j, host)| (i, j, host))
        });
        let (mut all, mut empty) = (0, Vec::new());
        for (i, j, host) in named {
            all += 1;
            if !self.egress_names(own, host) {
                empty.push((i, j, host));
            }
        }
        let policy = sidecar.outbound_traffic_policy.as_ref();
        let is_closed = policy.is_some_and(|policy| policy.mode == OutboundMode::RegistryOnly);
        let nothing = is_closed && !empty.is_empty() && empty.len() == all;
        for (i, j, host) in empty
            .into_iter()
            .filter(|(_, _, host)| !host.starts_with('~'))
        {
            let reason = format!(
                "spec.egress[{i}].hosts[{j}]: `{}` names no service",
                host.escape_debug()
            );
            let mut one = warning(
                Code::SeesNobody,
                object,
                host.at,
                reason,
                "write `NAMESPACE/HOST` with the service's full name",
            );
            if nothing {
                one.consequence = "with REGISTRY_ONLY its pods can call nothing at all".into();
            }
            found.push(one);
        }
    }

    /// Whether an item of an egress list names a service, for pods in a namespace.
    fn egress_names(&self, own: &str, host: &At<String>) -> bool {
        let (namespace, name) = host.split_once('/').unwrap_or(("*", host));
        let name = name.to_ascii_lowercase();
        self.services.iter().any(|(service, _)| {
            let there = match namespace {
                "*" => true,
                "." => service.namespace() == own,
                named => service.namespace() == named,
            };
            let full = || self.hosts().full_name(service);
            there
                && match name.strip_prefix('*') {
                    Some("") => true,
                    Some(rest) => full().ends_with(rest),
                    None => full() == name,
                }
        })
    }
}

/// Namespaces of the cluster's own, which nobody injects.
fn is_of_cluster(namespace: &str) -> bool {
    namespace.starts_with("kube-") || namespace.starts_with("local-path")
}

fn several(names: &[&NsName]) -> String {
    let mut names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let listed = names.join(", ");
    match more {
        0 => format!("there are pods ({listed})"),
        more => format!("there are pods ({listed} and {more} more)"),
    }
}
