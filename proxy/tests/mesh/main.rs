//! Two real sidecars, real redirects, real sockets in network namespaces: each test is a mesh of
//! its own, and a sentence about what traffic through it does. Needs root.
#![allow(clippy::unwrap_used)]

mod applications_tls;
mod balance;
mod breaker;
mod change;
mod dns;
mod ending;
mod expect;
mod explain;
mod external;
mod faults;
mod forms;
mod headless;
mod hostile;
mod http1;
mod http2;
mod instructions;
mod many;
mod mtls;
mod origin;
mod rest;
mod retries;
mod routes;
mod servers;
mod support;
mod tcp;
mod trace;
mod tunnels;
