//! What a cluster's API server and controllers do, for one machine, as pure functions of objects:
//! defaults and Service IPs, workloads to pods, rollouts. Nothing here starts or stops anything;
//! the daemon carries out what is planned here.

mod desired;
mod names;
mod pod;
mod rollout;
mod services;
mod workload;

pub(crate) use desired::Desired;
pub(crate) use pod::{PodTemplate, rfc3339, with_status};
pub(crate) use rollout::{Plan, Replica, plan};
pub(crate) use services::ServiceIps;
pub(crate) use workload::{Style, Workload};
