//! What can be wrong with what people write, found before it hurts. Every finding has a code that
//! stays the same for good, and with it a severity, a meaning and a consequence.

mod admission;
mod code;
pub(crate) mod likely;
pub(crate) mod rules;

pub use self::{
    admission::admission,
    code::{Code, Severity},
};
