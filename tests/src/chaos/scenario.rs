//! The things that go wrong, what each is called, and what it may cost.

use std::fmt;
use std::str::FromStr;

use super::World;
use crate::echo::Behaviour;

/// HTTP/1.1 clients of the load.
pub const CLIENTS: usize = 4;
/// Failures in a row after which the bad endpoint is left out; `world` writes it into the rule.
pub const EJECTED_AFTER: usize = 3;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Every pod of a Deployment is replaced.
    RollingRestart,
    /// From three pods to one, to five, and back.
    Scale,
    /// Two hundred edits of a route.
    RouteEdits,
    /// Every sidecar's certificate is replaced every few seconds.
    Renewal,
    /// The root of all certificates is replaced.
    RootRotation,
    /// The control plane is killed and stays away.
    ControlPlaneKilled,
    /// The identity service is killed and stays away.
    IdentityKilled,
    /// The pod network loses packets and is slow.
    BadNetwork,
    /// One of four endpoints accepts connections and never answers; the route has a timeout.
    EndpointStalls,
    /// The same, and the route tries elsewhere.
    EndpointStallsRetried,
    /// One of four endpoints resets every connection.
    EndpointResets,
    /// The same, and the route tries elsewhere.
    EndpointResetsRetried,
}

/// What clients may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Nothing.
    Nothing,
    /// Requests that met the fault, at most so many: this status, and this flag where it happened.
    Requests {
        /// The status that a client sees.
        status: u16,
        /// The flag that comes with it.
        flag: &'static str,
        /// Whose sidecar has noted the flag.
        noted_by: Side,
        /// More than this is a fault of the mesh.
        at_most: usize,
    },
}

/// One of the two sidecars of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that asks.
    Client,
    /// The one that is asked.
    Server,
}

impl Scenario {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 12] = [
        Self::RollingRestart,
        Self::Scale,
        Self::RouteEdits,
        Self::ControlPlaneKilled,
        Self::IdentityKilled,
        Self::BadNetwork,
        Self::EndpointStalls,
        Self::EndpointStallsRetried,
        Self::EndpointResets,
        Self::EndpointResetsRetried,
        Self::Renewal,
        Self::RootRotation,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::RollingRestart => "rolling-restart",
            Self::Scale => "scale",
            Self::RouteEdits => "route-edits",
            Self::Renewal => "renewal",
            Self::RootRotation => "root-rotation",
            Self::ControlPlaneKilled => "control-plane-killed",
            Self::IdentityKilled => "identity-killed",
            Self::BadNetwork => "bad-network",
            Self::EndpointStalls => "endpoint-stalls",
            Self::EndpointStallsRetried => "endpoint-stalls-retried",
            Self::EndpointResets => "endpoint-resets",
            Self::EndpointResetsRetried => "endpoint-resets-retried",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::RollingRestart => "rolling restart of 3 pods",
            Self::Scale => "scale 3 → 1 → 5 → 3",
            Self::RouteEdits => "200 route edits",
            Self::Renewal => "certificates of 10 s",
            Self::RootRotation => "root rotation",
            Self::ControlPlaneKilled => "control plane killed, away",
            Self::IdentityKilled => "identity killed, away",
            Self::BadNetwork => "5 % loss, 50 ms delay",
            Self::EndpointStalls => "1 of 4 never answers",
            Self::EndpointStallsRetried => "1 of 4 never answers; retries",
            Self::EndpointResets => "1 of 4 resets",
            Self::EndpointResetsRetried => "1 of 4 resets; retries",
        }
    }

    /// Whether it wants certificates that live for seconds, and so a mesh of its own.
    pub fn short_certificates(self) -> bool {
        matches!(self, Self::Renewal | Self::RootRotation)
    }

    /// How the fourth endpoint behaves, where there is one.
    pub fn bad_endpoint(self) -> Option<Behaviour> {
        match self {
            Self::EndpointStalls | Self::EndpointStallsRetried => Some(Behaviour::Stall),
            Self::EndpointResets | Self::EndpointResetsRetried => Some(Behaviour::Reset),
            _ => None,
        }
    }

    /// Whether pods with streams go away: only then may a stream move.
    pub fn pods_go(self) -> bool {
        matches!(self, Self::RollingRestart | Self::Scale)
    }

    /// What clients may see of it.
    pub fn cost(self) -> Cost {
        // It is left out after so many failures; every client can have one more under way.
        let at_most = EJECTED_AFTER + CLIENTS;
        match self {
            Self::EndpointStalls => Cost::Requests {
                status: 504,
                flag: "UT",
                noted_by: Side::Client,
                at_most,
            },
            Self::EndpointResets => Cost::Requests {
                status: 503,
                flag: "UC",
                noted_by: Side::Server,
                at_most,
            },
            _ => Cost::Nothing,
        }
    }

    /// Brings a mesh to where it begins.
    pub(super) fn prepare(self, world: &World) {
        let retried = matches!(
            self,
            Self::EndpointStallsRetried | Self::EndpointResetsRetried
        );
        world.route_mixed(retried);
        world.mesh.settled();
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is {names}")
        })
    }
}
