//! The service between programs that we did not write: `dig` asks it, and dnsmasq is the pod's
//! resolver.
#![allow(clippy::unwrap_used)]

mod answers;
mod faults;
mod hosts;
mod world;
