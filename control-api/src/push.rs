//! The push: delta ADS. `hub` holds the published model and knows who is interested in what;
//! `state` is one stream's state machine, without sockets or clocks; `wire` is the only place
//! that names protobuf types of discovery; `service` drives a state machine for each stream.

pub mod hub;
pub mod service;
pub mod state;
mod wire;

pub use hub::Hub;
pub use service::{Ads, Limits};
