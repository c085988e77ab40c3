//! The program itself: certificate from an identity service, a watched directory, mock proxies over
//! mutual TLS, the admin socket, signals; and a large mesh (`large`, ignored).
#![allow(clippy::unwrap_used)]

mod large;
mod lifecycle;
mod support;
