//! SPIFFE identities: the certificate authority, and the client half that proxies use.
//!
//! Server side: [`ca`] signs, [`token`] decides which identity a bearer of a token has, [`server`]
//! joins the two on the wire. Client side: [`workload`] keeps one workload's certificate fresh,
//! [`tls`] turns it into rustls configurations, [`channel`] and [`incoming`] carry gRPC over them.
//! Nothing outside [`ca`] ever holds the root key, and no private key ever leaves its process
//! except to a file of mode 0600.

pub mod backoff;
pub mod ca;
pub mod channel;
pub mod incoming;
pub mod private_file;
pub mod server;
pub mod spiffe;
pub mod tls;
pub mod token;
pub mod workload;

pub use spiffe::{SpiffeId, TrustDomain};
pub use tls::{MeshTls, Refusal};
pub use workload::Workload;
