//! Host names, and what the mesh says of them. They are no part of the data path's snapshot: only
//! the sidecar's DNS asks, on the control thread.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::snapshot::Hidden;

/// Longest name as text (RFC 1035 §3.1 less the lengths at both ends).
const LONGEST: usize = 253;
/// Longest label.
const LONGEST_LABEL: usize = 63;

/// A host name in lower case, without its final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Takes a name in lower case; `None` when no host can have it.
    pub fn new(name: &str) -> Option<Self> {
        let fits = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        let label =
            |label: &str| (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(fits);
        (name.len() <= LONGEST && name.split('.').all(label)).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the mesh says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsName {
    /// It stands for these; there may be none.
    Addresses {
        /// The addresses.
        ips: Vec<IpAddr>,
        /// How long that may be kept; zero: as one likes.
        ttl: Duration,
    },
    /// It is none of the mesh's.
    Unknown,
    /// To this pod it is as if it were none of the mesh's.
    Hidden(Arc<Hidden>),
}
