//! Settings → rules, pure. The order is the meaning: the unit tests below are its specification.
//!
//! Ours on purpose: a connection the sidecar makes to its own pod goes through the whole inbound chain, so that
//! excluded inbound ports stay direct for the pod itself too; and DNS is taken before the loopback rules, because a
//! resolver on loopback (127.0.0.53) would otherwise never be captured.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::ruleset::{Chain, Ruleset, Table};
use crate::settings::{DnsCapture, Settings};

/// Where the sidecar listens for what the app sends.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where the sidecar listens for what comes to the app.
pub const INBOUND_PORT: u16 = 15006;
/// Where the sidecar answers DNS.
pub const DNS_PORT: u16 = 15053;
/// Reserved for HBONE, which carries its own destination.
const TUNNEL_PORT: u16 = 15008;

/// Ports of the pod that are never led through the data path: HBONE, and the sidecar's own metrics and health.
pub(crate) const NEVER_INBOUND: [u16; 4] = [TUNNEL_PORT, 15020, 15021, 15090];

/// What comes to the pod (nat).
pub const CHAIN_INBOUND: &str = "HEDDLE_INBOUND";
/// What the pod sends (nat).
pub const CHAIN_OUTBOUND: &str = "HEDDLE_OUTBOUND";
/// To the sidecar's outbound port (nat).
pub const CHAIN_REDIRECT: &str = "HEDDLE_REDIRECT";
/// To the sidecar's inbound port (nat).
pub const CHAIN_IN_REDIRECT: &str = "HEDDLE_IN_REDIRECT";
/// To the sidecar's DNS port (nat).
pub const CHAIN_DNS: &str = "HEDDLE_DNS";
/// Conntrack zones for what the pod asks of its nameservers (raw).
const CHAIN_DNS_ZONE_OUT: &str = "HEDDLE_DNS_ZONE_OUT";
/// Conntrack zones for what the nameservers answer (raw).
const CHAIN_DNS_ZONE_IN: &str = "HEDDLE_DNS_ZONE_IN";

/// Every chain that is ours; one that a later version gives up stays in this list, so that it is still removed.
pub(crate) const OUR_CHAINS: [&str; 7] = [
    CHAIN_INBOUND,
    CHAIN_OUTBOUND,
    CHAIN_REDIRECT,
    CHAIN_IN_REDIRECT,
    CHAIN_DNS,
    CHAIN_DNS_ZONE_OUT,
    CHAIN_DNS_ZONE_IN,
];

/// An IP family, each with a ruleset of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The source address of the sidecar's connections to the app, by which they are let through.
    pub fn inbound_source(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(127, 0, 0, 6).into(),
            Self::V6 => Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
        }
    }

    /// 127.0.0.1 or ::1.
    pub fn localhost(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    pub(crate) fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The rules of one family. Nameservers matter only when DNS is captured.
pub fn ruleset(settings: &Settings, nameservers: &[IpAddr], family: Family) -> Ruleset {
    let nameservers: Vec<IpAddr> = if settings.dns_capture != DnsCapture::Off {
        nameservers
            .iter()
            .copied()
            .filter(|address| family.has(address))
            .collect()
    } else {
        vec![]
    };
    let mut nat = Table {
        name: "nat".into(),
        jumps: vec![
            format!("PREROUTING -p tcp -j {CHAIN_INBOUND}"),
            format!("OUTPUT -j {CHAIN_OUTBOUND}"),
        ],
        chains: vec![
            chain(CHAIN_INBOUND, inbound(settings)),
            chain(CHAIN_OUTBOUND, outbound(settings, &nameservers, family)),
            chain(
                CHAIN_REDIRECT,
                vec![format!("-p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}")],
            ),
            chain(
                CHAIN_IN_REDIRECT,
                vec![format!("-p tcp -j REDIRECT --to-ports {INBOUND_PORT}")],
            ),
        ],
    };
    if nameservers.is_empty() {
        return Ruleset { tables: vec![nat] };
    }
    let to_dns =
        ["udp", "tcp"].map(|protocol| format!("-p {protocol} -j REDIRECT --to-ports {DNS_PORT}"));
    nat.chains.push(chain(CHAIN_DNS, to_dns.into()));
    Ruleset {
        tables: vec![dns_zones(settings, &nameservers), nat],
    }
}

fn inbound(settings: &Settings) -> Vec<String> {
    let never = NEVER_INBOUND
        .iter()
        .map(|port| format!("-p tcp --dport {port} -j RETURN"));
    let excluded = settings.exclude_inbound_ports.ranges().iter();
    let excluded = excluded.map(|range| format!("-p tcp --dport {} -j RETURN", range.dport()));
    let mut rules: Vec<String> = never.chain(excluded).collect();
    match &settings.include_inbound_ports {
        crate::PortChoice::All => rules.push(format!("-p tcp -j {CHAIN_IN_REDIRECT}")),
        crate::PortChoice::Only(list) => rules.extend(
            list.ranges()
                .iter()
                .map(|range| format!("-p tcp --dport {} -j {CHAIN_IN_REDIRECT}", range.dport())),
        ),
    }
    rules
}

fn outbound(settings: &Settings, nameservers: &[IpAddr], family: Family) -> Vec<String> {
    let (uid, gid) = (settings.proxy_uid, settings.proxy_gid);
    let localhost = IpNet::from(family.localhost());
    let of_family = |net: &&IpNet| family.has(&net.addr());
    let mut rules = Vec::new();

    for range in settings.exclude_outbound_ports.ranges() {
        for protocol in ["tcp", "udp"] {
            rules.push(format!("-p {protocol} --dport {} -j RETURN", range.dport()));
        }
    }
    // The sidecar's own connections to the app.
    rules.push(format!(
        "-o lo -s {} -j RETURN",
        IpNet::from(family.inbound_source())
    ));
    for nameserver in nameservers {
        for protocol in ["udp", "tcp"] {
            rules.push(format!(
                "-d {} -p {protocol} --dport 53 -m owner ! --uid-owner {uid} ! --gid-owner {gid} -j {CHAIN_DNS}",
                IpNet::from(*nameserver)
            ));
        }
    }
    for owner in [format!("--uid-owner {uid}"), format!("--gid-owner {gid}")] {
        // The app calls its own service: app → sidecar → this pod → sidecar's inbound.
        rules.push(format!(
            "-o lo ! -d {localhost} -p tcp ! --dport {TUNNEL_PORT} -m owner {owner} -j {CHAIN_INBOUND}"
        ));
        // The app talks to itself.
        rules.push(format!("-o lo -m owner ! {owner} -j RETURN"));
        rules.push(format!("-m owner {owner} -j RETURN"));
    }
    rules.push(format!("-d {localhost} -j RETURN"));
    for net in settings
        .exclude_outbound_cidrs
        .networks()
        .iter()
        .filter(of_family)
    {
        rules.push(format!("-d {net} -j RETURN"));
    }
    for range in settings.include_outbound_ports.ranges() {
        rules.push(format!(
            "-p tcp --dport {} -j {CHAIN_REDIRECT}",
            range.dport()
        ));
    }
    match &settings.include_outbound_cidrs {
        crate::CidrChoice::All => rules.push(format!("-p tcp -j {CHAIN_REDIRECT}")),
        crate::CidrChoice::Only(list) => rules.extend(
            list.networks()
                .iter()
                .filter(of_family)
                .map(|net| format!("-d {net} -p tcp -j {CHAIN_REDIRECT}")),
        ),
    }
    rules
}

/// Sidecar and app ask the same nameserver, perhaps from the same port one after the other: in one conntrack zone the
/// sidecar's query would be taken for the app's and led back to the sidecar. So what the sidecar asks is tracked in
/// zone 1, and what the app asks of the sidecar in zone 2.
fn dns_zones(settings: &Settings, nameservers: &[IpAddr]) -> Table {
    let owners = [
        format!("--uid-owner {}", settings.proxy_uid),
        format!("--gid-owner {}", settings.proxy_gid),
    ];
    let nets = || {
        nameservers
            .iter()
            .map(|nameserver| IpNet::from(*nameserver))
    };
    let mut out = Vec::new();
    // The first zone that a packet is given stays.
    for owner in &owners {
        out.push(format!("-p udp --dport 53 -m owner {owner} -j CT --zone 1"));
        out.push(format!(
            "-p udp --sport {DNS_PORT} -m owner {owner} -j CT --zone 2"
        ));
    }
    out.extend(nets().map(|net| format!("-d {net} -p udp --dport 53 -j CT --zone 2")));
    let answers = nets()
        .map(|net| format!("-s {net} -p udp --sport 53 -j CT --zone 1"))
        .collect();
    Table {
        name: "raw".into(),
        jumps: vec![
            format!("PREROUTING -p udp -j {CHAIN_DNS_ZONE_IN}"),
            format!("OUTPUT -p udp -j {CHAIN_DNS_ZONE_OUT}"),
        ],
        chains: vec![
            chain(CHAIN_DNS_ZONE_OUT, out),
            chain(CHAIN_DNS_ZONE_IN, answers),
        ],
    }
}

fn chain(name: &str, rules: Vec<String>) -> Chain {
    Chain {
        name: name.into(),
        rules,
    }
}

#[cfg(test)]
#[path = "rules/specification.rs"]
mod specification;
