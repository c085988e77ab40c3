//! Handshakes over loopback sockets.
#![allow(clippy::unwrap_used)]
