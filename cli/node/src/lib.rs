//! The small kubelet: pods as network namespaces on one machine, containers as local processes.
//!
//! Owns what a node owns in a cluster (pod networks, sandboxes, containers, probes, tokens, cluster
//! DNS) and the system components' processes. Refuses to touch the machine's own network: the root
//! namespace gets one veth end and routes to the mesh's own ranges, and never a rule. It knows
//! nothing of Deployments or routes: its caller hands it finished pods, already injected.

pub mod address;
mod atomic;
pub mod container;
mod destroy;
pub mod dns;
mod environment;
pub mod error;
pub mod exec;
mod ip;
pub mod layout;
pub mod lifecycle;
mod lock;
pub mod names;
mod netns;
mod network;
pub mod node;
pub mod objects;
pub mod pod;
pub mod privilege;
pub mod process;
pub mod sockets;
pub mod status;
pub mod token;
mod volumes;

pub use address::{AddressPlan, AddressPool, DualIp};
pub use container::intercept;
pub use destroy::destroy;
pub use error::NodeError;
pub use exec::ExecTarget;
pub use layout::{Layout, MeshName};
pub use lifecycle::PodHandle;
pub use network::create;
pub use node::{Node, NodeOptions};
pub use objects::Objects;
pub use pod::{PodNames, PodSandbox};
pub use process::{ComponentSpec, ComponentStatus, Components, Ready};
pub use sockets::NodeSockets;
pub use status::{ContainerStatus, Phase, PodStatus};
pub use token::{Subject, Token, TokenMinter};
