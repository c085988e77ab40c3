//! What the server's sidecar does with a connection: the policies on its side, as it enforces them.

use serde::{Deserialize, Serialize};

use super::{Origin, Spoken};
use crate::snapshot::{MtlsMode, Protocol, Snapshot};

/// A connection to this pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedInbound {
    /// The pod's port.
    pub port: u16,
    /// With the mesh's mutual TLS.
    pub mutual: bool,
}

/// Whether it is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// `NAMESPACE/POD` of the server.
    pub pod: String,
    /// Its port.
    pub port: u16,
    /// How the port's bytes are read.
    pub protocol: Spoken,
    /// `PERMISSIVE`, `STRICT` or `DISABLE`.
    pub mtls: String,
    /// The PeerAuthentication that says so; `None`: it is the default.
    pub policy: Option<Origin>,
    /// Whether it is let in.
    pub allowed: bool,
    /// Why.
    pub because: String,
}

/// Decides about a connection to the own pod.
pub fn admit(snapshot: &Snapshot, asked: AskedInbound) -> Admission {
    let Some(workload) = &snapshot.workload else {
        return Admission {
            pod: String::new(),
            port: asked.port,
            protocol: Spoken::Detect,
            mtls: "STRICT".to_owned(),
            policy: None,
            allowed: asked.mutual,
            because:
                "until its first configuration a sidecar lets nothing in without a certificate"
                    .to_owned(),
        };
    };
    let known = workload.ports.get(&asked.port);
    let mode = known.map_or(workload.mtls, |port| port.mtls);
    let origin = workload.port_mtls_origins.get(&asked.port);
    let origin = origin.unwrap_or(&workload.mtls_origin);
    let (allowed, because) = match (mode, asked.mutual) {
        (MtlsMode::Strict, true) => (true, "mutual TLS is STRICT, and it comes with it"),
        (MtlsMode::Strict, false) => (false, "mutual TLS is STRICT, and it comes in the clear"),
        (MtlsMode::Permissive, true) => (true, "mutual TLS is taken"),
        (MtlsMode::Permissive, false) => (true, "what comes in the clear is taken too"),
        (MtlsMode::Disable, false) => (true, "it comes in the clear, as asked for"),
        (MtlsMode::Disable, true) => (
            false,
            "mutual TLS is DISABLE: its bytes would be the application's own TLS",
        ),
    };
    Admission {
        pod: workload.name.to_string(),
        port: asked.port,
        protocol: known.map_or(Protocol::Detect, |port| port.protocol).into(),
        mtls: match mode {
            MtlsMode::Permissive => "PERMISSIVE",
            MtlsMode::Strict => "STRICT",
            MtlsMode::Disable => "DISABLE",
        }
        .to_owned(),
        policy: Origin::parse(origin),
        allowed,
        because: because.to_owned(),
    }
}

impl From<Protocol> for Spoken {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Detect => Self::Detect,
            Protocol::Http1 => Self::Http1,
            Protocol::Http2 => Self::Http2,
            Protocol::Grpc => Self::Grpc,
            Protocol::Tcp => Self::Tcp,
            Protocol::Tls => Self::Tls,
        }
    }
}
