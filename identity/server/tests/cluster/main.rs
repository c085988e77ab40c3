//! The identity service in a cluster: the program itself, against the double of the API server, with
//! the permissions that an installation gives it.
#![allow(clippy::unwrap_used)]

mod root;
mod support;
mod tokens;
mod trust;
