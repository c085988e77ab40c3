//! The endpoints over real sockets on loopback, with apps that speak HTTP, HTTPS, gRPC, or nothing.
#![allow(clippy::unwrap_used)]

mod app;
mod grpc;
mod metrics;
mod own;
mod probes;
mod world;
