//! Typed kinds. What a person writes (routes, rules, policies, Services) is strict: each
//! struct names every field of its API, those that are not supported yet as `Unsupported`, so
//! that nothing is ever ignored. What servers write (Pods, EndpointSlices) holds only what
//! is used, since there are 100,000 of them.

pub mod at;
pub mod destination_rule;
pub mod duration;
pub mod endpoint_slice;
pub mod export;
pub mod gateway;
pub mod header;
pub mod labels;
pub mod metadata;
pub mod network;
pub mod node;
pub mod peer_authentication;
pub mod pod;
pub mod service;
pub mod service_entry;
pub mod sidecar;
pub mod string_match;
pub mod telemetry;
pub mod traffic_policy;
pub mod virtual_service;
