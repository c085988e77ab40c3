//! The program itself: certificate from an identity service, a watched directory, mock proxies over
//! mutual TLS, the admin socket, signals; the same of a cluster, with its webhook; and a large mesh (`large`, ignored).
#![allow(clippy::unwrap_used)]

mod away;
mod kubernetes;
mod large;
mod lifecycle;
mod support;
