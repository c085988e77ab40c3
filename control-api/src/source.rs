//! Where objects come from. A source turns documents into typed objects that know their file,
//! line and column, keeps the last good version of what has become bad, and reports refusals.
//! It emits `Batch`es; nothing past it knows which kind of source it was.

pub mod decode;
pub mod directory;
pub mod document;
mod fail_safe;
pub mod kubernetes;
pub mod last_good;
pub mod node;
pub mod object;
pub mod read;
pub mod scalar;
pub mod suggest;

pub use object::{Batch, Change, Object, Origin, Refusal, Resource, Written};
