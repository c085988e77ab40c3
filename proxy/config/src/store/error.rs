//! Why an address could not be resolved, said so that a person knows where to look.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// Why an address could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no connection to the control plane. Trying again may help.
    #[error(
        "no configuration for {ip}: the control plane has not been reached for {} s ({}); \
         known destinations keep working",
        elapsed(*.since), .reason.as_deref().unwrap_or("no connection yet")
    )]
    Unreachable {
        /// The address.
        ip: IpAddr,
        /// When the connection was lost, or the sidecar was started.
        since: SystemTime,
        /// What the last attempt failed with.
        reason: Option<String>,
    },
    /// The control plane is connected but did not answer. Trying again may help.
    #[error(
        "no configuration for {ip}: the control plane is connected but did not answer within {waited:?}"
    )]
    NoAnswer {
        /// The address.
        ip: IpAddr,
        /// How long it was given.
        waited: Duration,
    },
    /// The control plane's answer did not convert. Only a new answer helps.
    #[error("no configuration for {ip}: the control plane's answer was refused: {reason}")]
    Refused {
        /// The address.
        ip: IpAddr,
        /// Why.
        reason: String,
    },
    /// Every address that may be subscribed to is in use.
    #[error("no configuration for {ip}: {limit} addresses are in use at once, the limit")]
    TooManyAddresses {
        /// The address.
        ip: IpAddr,
        /// The limit.
        limit: usize,
    },
}

fn elapsed(since: SystemTime) -> u64 {
    since.elapsed().unwrap_or_default().as_secs()
}
