//! Real namespaces: every test makes a mesh of its own name and takes it away.
#![allow(clippy::unwrap_used, missing_docs)]

mod components;
mod dns;
mod network;
mod pods;
mod probes;
mod support;
