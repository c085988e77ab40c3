//! SPIFFE identities, and the half of them that every part of the mesh uses.
//!
//! [`workload`] keeps one workload's certificate fresh, [`tls`] turns it into rustls configurations,
//! [`channel`] and [`incoming`] carry gRPC over them. Who signs is another crate. No private key ever
//! leaves its process except to a file of mode 0600.

pub mod backoff;
pub mod channel;
pub mod incoming;
pub mod private_file;
pub mod spiffe;
pub mod tls;
pub mod workload;

pub use spiffe::{SpiffeId, TrustDomain};
pub use tls::{MeshTls, Refusal};
pub use workload::Workload;
