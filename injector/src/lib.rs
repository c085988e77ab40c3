//! Automatic injection: from a pod template to one with Heddle's sidecar.
//!
//! [`inject`] is the one function; the webhook ([`webhook`]), `heddle inject -f` ([`files`]) and
//! `heddle up` all call it. It is pure: the same pod, context and configuration give the same
//! result, and injecting an injected pod changes nothing. Whatever it does not know in a pod it
//! leaves as it was; whatever it reads it reads strictly, and refuses with the place and the reason.

pub mod config;
mod containers;
pub mod context;
mod decide;
mod error;
pub mod files;
mod handler;
mod hooks;
mod inject;
mod metrics;
mod missing;
mod names;
mod patch;
mod plan;
mod selector;
mod settings;
mod status;
mod strip;
mod traps;
mod view;
mod volumes;
pub mod webhook;

pub use config::{ConfigError, DefaultInject, InjectConfig, Podman};
pub use context::{
    NamespaceLabels, NamespaceMeta, NoNamespaceLabels, Owner, PodContext, StaticNamespaces,
};
pub use decide::SkipReason;
pub use error::InjectError;
pub use inject::{Decision, Injection, inject};
pub use json_patch;
pub use missing::{Missing, may_miss, missing};
