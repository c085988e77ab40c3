//! What a sidecar knows of the mesh: the domain types that the data path reads through one
//! atomic snapshot, the compiled route tables, and the delta-ADS client that keeps both fresh.
//! Wire types end here: nothing past this crate names a prost message. A resource that does not
//! convert is refused alone and the last good one stays.

pub mod ads;
pub mod compile;
pub mod decision;
pub mod key;
pub mod kind;
pub mod names;
pub mod node;
pub mod persist;
pub mod route;
pub mod snapshot;
pub mod store;
