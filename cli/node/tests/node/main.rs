//! Real namespaces: every test makes a mesh of its own name and takes it away.
#![allow(clippy::unwrap_used, missing_docs)]

mod network;
mod pods;
mod support;
