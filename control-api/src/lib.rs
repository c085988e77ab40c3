//! The control plane: sources to one model to what each proxy needs, pushed.
//!
//! `source` reads Kubernetes-shaped objects with their provenance; `resources` are the typed kinds;
//! `model` is the one immutable picture made of them; `push` serves it by delta ADS; `status`
//! tells operators about it. Nothing past `source` knows where an object came from, except to
//! name its file and line.

pub mod check;
pub mod cluster;
pub mod config;
pub mod health;
pub mod model;
pub mod name;
pub mod push;
pub mod resources;
pub mod run;
pub mod source;
pub mod status;
pub mod webhook;
