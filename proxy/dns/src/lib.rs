//! The sidecar's DNS, for its own pod alone: what the mesh knows is answered here, everything else
//! by the pod's own resolvers, whose answers are passed on as they are.
//!
//! Who knows the mesh's names is behind [`Names`]. Every wait is bounded, and so is what is under
//! way, held or cached; a name that is held is answered whatever else is away. No bytes make it
//! panic. The wire format is read and written by [`wire`], as little of it as this needs.

mod answer;
mod cache;
mod names;
mod resolv;
mod resolve;
mod server;
mod upstream;
pub mod wire;

pub use answer::{Answers, Outcome, Transport};
pub use names::{Addresses, Known, Names};
pub use resolve::{LookupError, Resolved, lookup};
pub use server::{ServeError, Sockets, serve};
pub use upstream::Upstream;
