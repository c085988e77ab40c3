//! The daemon of a mesh on one machine: `heddle up`. It owns the node, the pods and the processes of
//! the mesh itself from their start to their end, and leaves nothing behind.

mod collector;
mod control;
mod controller;
pub(crate) mod guard;
pub(crate) mod injection;
mod mesh;
mod names;
pub(crate) mod publish;
mod refusals;
mod run;
mod runner;
pub(crate) mod sidecar;
mod system;
mod view;
mod watch;

pub(crate) use run::{Options, StartError, run};
