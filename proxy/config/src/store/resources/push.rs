//! A push, free of the wire: from the control plane or from the disk.

use std::net::IpAddr;

use crate::compile::{address_name, host_name};
use crate::kind::Kind;
use crate::names::HostName;

/// Resources of one type that came together.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) kind: Kind,
    /// For people.
    pub(crate) version: String,
    pub(crate) resources: Vec<Raw>,
    pub(crate) removed: Vec<String>,
}

/// A resource as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) value: Vec<u8>,
}

/// A resource that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// What became of a push.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Anything of it was taken.
    pub(crate) accepted: bool,
    pub(crate) refused: Vec<Refused>,
    /// What has its answer, good or bad.
    pub(crate) answered: Vec<Answered>,
}

/// What a sidecar subscribes to one by one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Address(IpAddr),
    Name(HostName),
}

impl Answered {
    /// What a resource answers by its type and name.
    pub(crate) fn of(kind: Kind, name: &str) -> Option<Self> {
        match kind {
            Kind::Address => address_name(name).ok().map(Self::Address),
            Kind::DnsName => host_name(name).ok().map(Self::Name),
            _ => None,
        }
    }
}
