//! What the redirect is told by its flags, which the injector sets through the environment.
//! Parsed into checked types at the start: a value that is not understood stops the pod with the flag's name, the
//! value and what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

use crate::lists::{CidrChoice, CidrList, Invalid, PortChoice, PortList};
use crate::rules::NEVER_INBOUND;

/// Which traffic is led to the sidecar.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Networks whose traffic goes through the sidecar: `*`, a list, or nothing
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_INCLUDE_OUTBOUND_CIDRS",
        value_name = "CIDRS",
        default_value = "*"
    )]
    pub include_outbound_cidrs: CidrChoice,

    /// Networks that the app reaches directly
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_EXCLUDE_OUTBOUND_CIDRS",
        value_name = "CIDRS",
        default_value = ""
    )]
    pub exclude_outbound_cidrs: CidrList,

    /// Destination ports that go through the sidecar whatever their address
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_INCLUDE_OUTBOUND_PORTS",
        value_name = "PORTS",
        default_value = ""
    )]
    pub include_outbound_ports: PortList,

    /// Destination ports that the app reaches directly
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_EXCLUDE_OUTBOUND_PORTS",
        value_name = "PORTS",
        default_value = ""
    )]
    pub exclude_outbound_ports: PortList,

    /// The app's ports that are reached through the sidecar: `*`, a list, or nothing
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_INCLUDE_INBOUND_PORTS",
        value_name = "PORTS",
        default_value = "*"
    )]
    pub include_inbound_ports: PortChoice,

    /// The app's ports that are reached directly
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_EXCLUDE_INBOUND_PORTS",
        value_name = "PORTS",
        default_value = ""
    )]
    pub exclude_inbound_ports: PortList,

    /// The user that the sidecar runs as, whose own traffic is let through
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_PROXY_UID",
        value_name = "UID",
        default_value = "1337"
    )]
    pub proxy_uid: ProxyId,

    /// The group that the sidecar runs as, whose own traffic is let through
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_PROXY_GID",
        value_name = "GID",
        default_value = "1337"
    )]
    pub proxy_gid: ProxyId,

    /// Lead queries to the nameservers of /etc/resolv.conf to the sidecar too: `auto` (when it names any, and the
    /// kernel can), `true` or `false`
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_DNS_CAPTURE",
        value_name = "WHEN",
        default_value = "false",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub dns_capture: DnsCapture,

    /// Program IPv6 too: `auto` (when there is an address besides loopback's), `true` or `false`
    #[arg(
        long,
        env = "HEDDLE_REDIRECT_IPV6",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub ipv6: Ipv6,
}

impl Settings {
    /// Whether the app's connection to this address, which is not one of the pod's own, is led to the sidecar. The
    /// rules in words: what [`crate::ruleset`] makes must agree.
    pub fn redirects_outbound(&self, to: SocketAddr) -> bool {
        let (address, port) = (to.ip(), to.port());
        !self.exclude_outbound_ports.contains(port)
            && !address.is_loopback()
            && !self.exclude_outbound_cidrs.contains(address)
            && (self.include_outbound_ports.contains(port)
                || self.include_outbound_cidrs.contains(address))
    }

    /// Whether a connection that comes to this port of the pod is led to the sidecar.
    pub fn redirects_inbound(&self, port: u16) -> bool {
        !NEVER_INBOUND.contains(&port)
            && !self.exclude_inbound_ports.contains(port)
            && self.include_inbound_ports.contains(port)
    }
}

/// A user or group id that may be let past the sidecar: not root's, which would let much else past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyId(u32);

impl ProxyId {
    /// The number.
    pub fn value(self) -> u32 {
        self.0
    }
}

impl FromStr for ProxyId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.trim().parse::<u32>() {
            Ok(0 | u32::MAX) | Err(_) => Err(Invalid {
                value: text.to_owned(),
                what: "an id that the sidecar can have",
                allowed: "a number from 1 to 4294967294 (root would let everything root does past the sidecar)",
            }),
            Ok(id) => Ok(Self(id)),
        }
    }
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether queries to the nameservers are led to the sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsCapture {
    /// When there are nameservers, and the kernel has what it takes.
    Auto,
    /// Always; a pod where that is not possible does not start.
    On,
    /// Never.
    #[default]
    Off,
}

impl FromStr for DnsCapture {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "auto" => Ok(Self::Auto),
            "true" | "on" => Ok(Self::On),
            "false" | "off" => Ok(Self::Off),
            _ => Err(Invalid {
                value: text.to_owned(),
                what: "a choice",
                allowed: "auto, true, false",
            }),
        }
    }
}

/// Whether IPv6 is programmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// When the namespace has an IPv6 address besides loopback's.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl FromStr for Ipv6 {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "auto" => Ok(Self::Auto),
            "true" | "on" => Ok(Self::On),
            "false" | "off" => Ok(Self::Off),
            _ => Err(Invalid {
                value: text.to_owned(),
                what: "a choice",
                allowed: "auto, true, false",
            }),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    pub(crate) fn settings(flags: &[&str]) -> Settings {
        parse(flags).unwrap()
    }

    fn parse(flags: &[&str]) -> Result<Settings, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"redirect").chain(flags)).map(|cli| cli.settings)
    }

    #[test]
    fn by_default_all_goes_through_the_sidecar() {
        let settings = settings(&[]);
        assert!(settings.redirects_outbound("203.0.113.9:80".parse().unwrap()));
        assert!(settings.redirects_inbound(8080));
        assert_eq!(
            (settings.proxy_uid.value(), settings.proxy_gid.value()),
            (1337, 1337)
        );
        assert_eq!(settings.dns_capture, DnsCapture::Off);
        assert_eq!(settings.ipv6, Ipv6::Auto);
    }

    #[test]
    fn an_empty_value_means_none() {
        let settings = settings(&["--include-outbound-cidrs=", "--include-inbound-ports="]);
        assert!(!settings.redirects_outbound("203.0.113.9:80".parse().unwrap()));
        assert!(!settings.redirects_inbound(8080));
    }

    #[test]
    fn health_and_metrics_are_never_led_through_the_data_path() {
        let settings = settings(&[]);
        for port in [15008, 15020, 15021, 15090] {
            assert!(!settings.redirects_inbound(port));
        }
    }

    #[test]
    fn a_refusal_names_the_key_the_value_and_what_is_allowed() {
        for (flags, key, value, allowed) in [
            (
                ["--exclude-outbound-cidrs", "10.0.0/8"],
                "--exclude-outbound-cidrs",
                "10.0.0/8",
                "IPv4 and IPv6 networks",
            ),
            (
                ["--include-inbound-ports", "80,http"],
                "--include-inbound-ports",
                "http",
                "ports from 1 to 65535",
            ),
            (["--proxy-uid", "0"], "--proxy-uid", "0", "1 to 4294967294"),
            (["--ipv6", "yes"], "--ipv6", "yes", "auto, true, false"),
            (
                ["--dns-capture", "maybe"],
                "--dns-capture",
                "maybe",
                "auto, true, false",
            ),
        ] {
            let message = parse(&flags).err().unwrap().to_string();
            for part in [key, value, allowed] {
                assert!(message.contains(part), "{part} is missing in: {message}");
            }
        }
    }

    #[test]
    fn dns_capture_is_a_switch_too() {
        for (flags, meant) in [
            (&["--dns-capture"][..], DnsCapture::On),
            (&["--dns-capture", "true"], DnsCapture::On),
            (&["--dns-capture", "auto"], DnsCapture::Auto),
            (&["--dns-capture=false"], DnsCapture::Off),
        ] {
            assert_eq!(settings(flags).dns_capture, meant);
        }
    }
}
