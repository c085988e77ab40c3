//! The data plane: one sidecar. It takes the connections that the redirect leads to it, tells what
//! they are for, and carries them to endpoints over mutual TLS. Traffic is handled by workers that
//! share nothing; configuration, identity, telemetry and the admin endpoints live on the control
//! thread. `run` is the way in; `worker` is where a connection's story begins.

mod balance;
mod bell;
mod body;
mod breaker;
#[cfg(test)]
mod budget;
mod cluster;
mod cork;
mod detect;
mod dns;
mod drain;
mod exchange;
mod explain;
mod forward;
mod head;
mod hello;
mod http2;
mod inbound;
mod io;
mod limits;
mod listener;
mod outbound;
mod readiness;
mod refusals;
mod relay;
mod reply;
pub mod run;
mod scratch;
mod serve;
mod settings;
mod status;
mod tasks;
mod treat;
mod upgrade;
mod upstream;
mod view;
pub mod wait;
mod worker;

pub use settings::{LogFormat, RunArgs};
