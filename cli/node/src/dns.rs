//! Cluster DNS: answers for the cluster's own names, and asks the machine's resolvers for others.
//!
//! Bound at the DNS Service IP in the node namespace, UDP and TCP; the questions for others leave
//! from the root namespace. Every query is bounded in time, and so is the number under way; what
//! exceeds that is refused with SERVFAIL, never queued.

mod answer;
mod forward;
pub mod names;
mod server;

pub use names::{Entry, Member, Names, ServiceNames, add_service};
pub use server::{ClusterDns, DnsOptions};
