//! Cluster DNS: answers for the cluster's own names, and asks the machine's resolvers for others.

pub mod names;

pub use names::{Entry, Names};
