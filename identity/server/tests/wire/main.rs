//! The identity service, workloads and gRPC over mesh TLS, over real sockets and files.
#![allow(clippy::unwrap_used)]

mod grpc;
mod lifecycle;
mod process;
mod rate;
mod refusals;
mod support;
