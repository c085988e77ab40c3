//! HTTPS as the mesh's own webhooks serve it to the API server: connections bounded in number, time
//! and age, bodies in the bytes that they take together, their values counted before they are read, and
//! a certificate that keeps itself fresh without a restart.

mod bodies;
mod certificate;
mod server;
mod values;

pub use self::{
    bodies::Bodies,
    certificate::{Certificate, CertificateError},
    server::serve,
    values::values,
};

/// The API server sends objects of at most 1.5 MiB, and an update twice that.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// The API server waits 30 s at most, 10 s by default; whoever is slower has given up.
pub const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
