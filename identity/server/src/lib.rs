//! The identity service as a process: on one machine from files alone, in a cluster with what the
//! Kubernetes API knows ([`cluster`]). What it does with that is `heddle-authority`'s.

pub mod cluster;
mod health;
mod run;

pub use run::{Args, RunError, run};
