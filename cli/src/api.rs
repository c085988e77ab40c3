//! Between the command line and the daemon of a mesh: JSON over HTTP on a unix socket that only its
//! owner may open. Types are shared by both ends; both ends are the same binary.

mod client;
mod server;
mod types;

pub(crate) use client::{Client, ClientError};
pub(crate) use server::{Daemon, serve};
pub(crate) use types::*;
