//! The iptables rules that lead a pod's traffic through its sidecar: `heddle-proxy redirect apply|clean|check`.
//!
//! Owns the chains whose names begin with `HEDDLE_`, the jumps to them, and the address `::6` on `lo`; touches nothing
//! else. The pure part (settings → rules → the text that turns one state into another) knows no system; the rest runs
//! `iptables-save` and `iptables-restore` in the network namespace of the calling thread. A failed apply leaves what
//! was there before; a check that fails leaves the rules, so that nothing leaves the pod unmeshed.

mod apply;
mod backend;
mod check;
mod command;
mod lists;
mod loopback;
mod namespace;
mod process;
mod rules;
mod ruleset;
mod saved;
mod settings;

pub use apply::{Error, apply, clean};
pub use backend::Error as BackendError;
pub use check::{Error as CheckError, check};
pub use command::{RedirectArgs, run};
pub use lists::{CidrChoice, CidrList, Invalid, PortChoice, PortList, PortRange};
pub use namespace::Error as NamespaceError;
pub use rules::{
    CHAIN_DNS, CHAIN_IN_REDIRECT, CHAIN_INBOUND, CHAIN_OUTBOUND, CHAIN_REDIRECT, DNS_PORT, Family,
    INBOUND_PORT, OUTBOUND_PORT, ruleset,
};
pub use ruleset::{Chain, Ruleset, Table};
pub use settings::{DnsCapture, Ipv6, ProxyId, Settings};
