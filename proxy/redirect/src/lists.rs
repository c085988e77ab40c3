//! Ports and CIDRs as users write them: comma-separated, `*` for all where that has a meaning, empty for none.
//! Parsed once; a refusal names the element that is wrong and what is allowed in its place.

mod cidrs;
mod ports;

use std::fmt;

pub use cidrs::{CidrChoice, CidrList};
pub use ports::{PortChoice, PortList, PortRange};

/// A value that was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{value}\" is not {what}; allowed: {allowed}")]
pub struct Invalid {
    pub(crate) value: String,
    pub(crate) what: &'static str,
    pub(crate) allowed: &'static str,
}

fn elements(text: &str) -> impl Iterator<Item = &str> {
    let empty = text.trim().is_empty();
    text.split(',').map(str::trim).filter(move |_| !empty)
}

fn joined<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(",")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}
