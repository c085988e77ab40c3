//! How the configuration is doing: the link to the control plane, and what was refused.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::ResolveError;

/// How the configuration is doing, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigStatus {
    /// Is there a stream to the control plane?
    pub connected: bool,
    /// Since when that is so.
    pub since: SystemTime,
    /// While not connected: what the last attempt failed with.
    pub last_error: Option<String>,
    /// Version of the last push that was accepted; empty before the first.
    pub version: String,
    /// How many resources are kept.
    pub resources: usize,
    /// Resources that stand refused: type, name, reason. The last accepted version of each, if
    /// there was one, is in use.
    pub nacks: Vec<(String, String, String)>,
}

/// The link to the control plane.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) connected: bool,
    pub(super) since: SystemTime,
    pub(super) last_error: Option<String>,
}

impl Link {
    pub(super) fn starting() -> Self {
        Self {
            connected: false,
            since: SystemTime::now(),
            last_error: None,
        }
    }

    pub(super) fn up(&mut self) {
        *self = Self {
            connected: true,
            since: SystemTime::now(),
            last_error: None,
        };
    }

    /// Also called when an attempt fails; the time of the loss stays.
    pub(super) fn down(&mut self, reason: String) {
        let since = if self.connected {
            SystemTime::now()
        } else {
            self.since
        };
        *self = Self {
            connected: false,
            since,
            last_error: Some(reason),
        };
    }

    pub(super) fn unanswered(&self, ip: IpAddr, waited: Duration) -> ResolveError {
        if self.connected {
            ResolveError::NoAnswer { ip, waited }
        } else {
            ResolveError::Unreachable {
                ip,
                since: self.since,
                reason: self.last_error.clone(),
            }
        }
    }
}
