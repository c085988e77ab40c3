//! Istio's PeerAuthentication (security.istio.io): which mutual-TLS mode pods accept.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{at::At, labels::Labels};
use crate::{
    check::Code,
    source::{decode::Problem, node::Position},
};

/// `spec:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthentication {
    /// Pods that it is for; absent: the namespace, or the mesh in the system namespace.
    pub selector: Option<Selector>,
    /// The mode.
    pub mtls: Option<At<Mtls>>,
    /// By port of the pod.
    #[serde(default)]
    pub port_level_mtls: BTreeMap<String, At<Mtls>>,
    /// It is for pods that cannot be told, so for each of the namespace that no other policy names.
    /// Never written: only a stand-in for what cannot be read says so.
    #[serde(skip)]
    pub any_pod: bool,
}

/// `selector:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// All of these.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// `mtls:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Mtls {
    /// The mode.
    #[serde(default)]
    pub mode: Mode,
}

/// `mode:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// As the wider policy says.
    #[default]
    Unset,
    /// Plain text only.
    Disable,
    /// Both.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl PeerAuthentication {
    /// Whether it is for all of its scope: a namespace, or the mesh.
    pub fn is_wide(&self) -> bool {
        self.selector().is_none() && !self.any_pod
    }

    /// Whether somewhere it asks for plain text.
    pub fn disables(&self) -> bool {
        let of_ports = self.port_level_mtls.values().copied();
        let mut all = self.mtls.into_iter().chain(of_ports);
        all.any(|mtls| mtls.mode == Mode::Disable)
    }

    /// Pods that it is for; None: all of its scope.
    pub fn selector(&self) -> Option<Labels> {
        let labels = &self.selector.as_ref()?.match_labels;
        (!labels.is_empty()).then(|| Labels::from(labels))
    }

    /// What is wrong with it, as far as it alone can tell.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if !self.port_level_mtls.is_empty() && self.selector().is_none() {
            let at = self
                .port_level_mtls
                .values()
                .next()
                .map_or(Position::default(), |mtls| mtls.at);
            let reason = "spec.portLevelMtls: it needs a selector";
            let instead = "add `selector.matchLabels` of the pods whose ports these are";
            found.push(Problem::new(Code::PortsOfNobody, at, reason).suggest(instead));
        }
        for (port, mtls) in &self.port_level_mtls {
            if port.parse::<u16>().is_ok_and(|port| port > 0) {
                continue;
            }
            let reason = format!(
                "spec.portLevelMtls: \"{}\" is no port number",
                port.escape_debug()
            );
            let instead = "use the pod's own port number";
            found.push(Problem::new(Code::BadPort, mtls.at, reason).suggest(instead));
        }
        found
    }
}
