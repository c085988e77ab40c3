//! What becomes of a request, and why: decided by the same tables and functions that carry traffic,
//! and written down for people and programs. Pure: a snapshot and a question in, a decision out; it
//! draws nothing, sends nothing and learns nothing, so asking changes nothing.
//!
//! A question is parsed once ([`Question`]); what cannot stand in a request is refused by its part.

mod decide;
mod inbound;
mod origin;
mod question;
mod share;
mod words;

use serde::{Deserialize, Serialize};

pub use self::decide::{MAX_RULES, decide, decide_taken};
pub use self::inbound::{Admission, AskedInbound, admit};
pub use self::origin::Origin;
pub use self::question::{Asked, NotARequest, Question};
pub use self::share::{Ejected, MAX_ENDPOINTS};

/// What becomes of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// `NAMESPACE/POD` of the sidecar; empty before its first configuration.
    pub pod: String,
    /// Version of the last push that was accepted.
    pub config_version: String,
    /// The address that is called.
    pub called: String,
    /// What the address stands for.
    pub means: Means,
    /// The service that is there, where a Sidecar hides it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hidden: Option<Hidden>,
    /// How the port's bytes are read.
    pub protocol: Option<Spoken>,
    /// The path that rules look at, where it is not spelled as it was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spelled: Option<String>,
    /// The rules up to the one that takes it, each with the reason.
    pub rules: Vec<Considered>,
    /// Rules before it that are not told, because there are too many.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub rules_left_out: usize,
    /// The rule that takes it.
    pub rule: Option<Origin>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The status, where the sidecar answers it itself.
    pub status: Option<u16>,
    /// Its flag in metrics, logs and traces, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flag: Option<String>,
    /// Where a redirect sends the client.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub location: Option<String>,
    /// What goes wrong on purpose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<Faults>,
    /// Who gets copies.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mirrors: Vec<Copy>,
    /// For the whole request, retries included.
    pub timeout_ms: Option<u64>,
    /// When it is tried again; nothing where it is not sent on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retries: Option<Retries>,
    /// Who is kept at one destination.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sticky: Option<Sticky>,
    /// What CORS makes of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cors: Option<String>,
    /// What is changed in the answer's head by the rule.
    #[serde(skip_serializing_if = "Head::is_empty", default)]
    pub response_headers: Head,
    /// Where it may go.
    pub destinations: Vec<Share>,
}

/// What an address stands for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Means {
    /// A service.
    Service {
        /// `NAMESPACE/NAME`.
        name: String,
        /// The port that is called.
        port: u16,
        /// All that it has.
        ports: Vec<u16>,
        /// The pod whose address is called, where the service is headless.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pod: Option<String>,
    },
    /// A pod, called by its own address: no routes apply.
    Pod {
        /// `NAMESPACE/NAME`.
        name: String,
    },
    /// The mesh does not know it.
    #[default]
    Unknown,
}

/// A service that a Sidecar hides from the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// What its `egress` would have to name: `NAMESPACE/HOST`, or what covers it.
    pub host: String,
    /// The Sidecar.
    pub by: Option<Origin>,
}

impl From<&crate::snapshot::Hidden> for Hidden {
    fn from(hidden: &crate::snapshot::Hidden) -> Self {
        Self {
            service: hidden.service.to_string(),
            host: hidden.host.to_string(),
            by: Origin::parse(&hidden.by),
        }
    }
}

/// How a port's bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spoken {
    /// Declared.
    Http1,
    /// Declared.
    Http2,
    /// Declared.
    Grpc,
    /// Declared: opaque.
    Tcp,
    /// Declared: the application's own TLS.
    Tls,
    /// Undeclared: by the first bytes.
    Detect,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes to one of the destinations.
    Forwarded,
    /// The bytes go to one of the destinations; HTTP rules do not apply.
    Opaque,
    /// The sidecar answers it as the rule says.
    Answered,
    /// The sidecar sends the client elsewhere.
    Redirected,
    /// There are routes and none takes it.
    NoRoute,
    /// The service has no such port: the connection is refused.
    NoSuchPort,
    /// The service is not known any more.
    Gone,
    /// Nothing is known of the address, and the connection passes through untouched.
    #[default]
    PassedThrough,
    /// No name is known like that.
    NoSuchName,
    /// Nothing is known of the address, and this pod may only call what is known.
    RegistryOnly,
}

/// One rule, and whether it takes the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    /// Its place in the table, from 0.
    pub place: usize,
    /// Whose it is.
    pub origin: Origin,
    /// Whether it takes the request.
    pub takes: bool,
    /// Why, for each condition; or why not, for each of its matches.
    pub because: Vec<String>,
}

/// What goes wrong on purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// How long some wait.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delay_ms: Option<u64>,
    /// How many do, of a hundred.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delay_percent: Option<f64>,
    /// Status that some are answered with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub abort_status: Option<u16>,
    /// The same of gRPC.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub abort_grpc_status: Option<u8>,
    /// How many are, of a hundred.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub abort_percent: Option<f64>,
}

/// A mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// A subset of it.
    pub subset: Option<String>,
    /// Its port.
    pub port: u16,
    /// Of a hundred requests.
    pub percent: f64,
}

/// When a request is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retries {
    /// Beyond the first try.
    pub attempts: u32,
    /// Bound of each.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub per_try_timeout_ms: Option<u64>,
    /// What else than a request that was not sent is tried again.
    pub on: Vec<String>,
}

/// A split that keeps whoever shows the same key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sticky {
    /// What the key is.
    pub by: String,
    /// The destination that keeps this request's; `None`: it shows none, and is drawn.
    pub destination: Option<usize>,
}

/// What is changed in a head, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Goes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub remove: Vec<String>,
    /// Replaces what is there.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub set: Vec<(String, String)>,
    /// Comes to what is there.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub add: Vec<(String, String)>,
}

/// One share of the requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// `NAMESPACE/NAME`; `None`: the address that was called.
    pub service: Option<String>,
    /// A subset of it.
    pub subset: Option<String>,
    /// Port of the service.
    pub port: u16,
    /// Of a hundred requests.
    pub percent: f64,
    /// Not empty: its share is answered with 500, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invalid: Option<String>,
    /// The path as the server sees it, where it is rewritten.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// The host as the server sees it, where it is rewritten.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authority: Option<String>,
    /// What is changed in the request's head.
    #[serde(skip_serializing_if = "Head::is_empty", default)]
    pub request_headers: Head,
    /// What is changed in the answer's head, after the rule's.
    #[serde(skip_serializing_if = "Head::is_empty", default)]
    pub response_headers: Head,
    /// How the sidecar connects to it, where anything is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<Policy>,
    /// Who may get it.
    pub endpoints: Vec<Reached>,
    /// Endpoints that are not told, because there are too many.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub endpoints_left_out: usize,
}

/// How a sidecar connects to a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The user's resource.
    pub origin: Option<Origin>,
    /// What it says, each thing in a few words.
    pub says: Vec<String>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// `NAMESPACE/POD`; may be empty outside the mesh.
    pub workload: String,
    /// Address and port.
    pub address: String,
    /// How the connection is protected.
    pub tls: Tls,
    /// Whom the sidecar expects there.
    pub identity: Option<String>,
    /// `region/zone/subzone`, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub locality: Option<String>,
    /// Whether it gets anything now.
    pub state: State,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// The mesh's mutual TLS.
    Mutual,
    /// Not at all.
    Plain,
    /// TLS to a server outside the mesh.
    Origin,
    /// The policy wants mutual TLS and the endpoint has no identity: it is not connected to.
    Impossible,
}

/// Whether an endpoint gets anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Ready,
    /// It is going away: only while no other is left.
    Draining,
    /// It failed too often, and is left out for a while.
    Ejected,
}

impl Head {
    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}
