//! What the redirect must know of the network namespace of the calling thread: whether IPv6 is used, which nameservers
//! are asked, and which networks have a route.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::rules::Family;
use crate::settings::{DnsCapture, Ipv6, Settings};

// `/proc/net` is that of the process's first thread.
const IF_INET6: &str = "/proc/thread-self/net/if_inet6";
const ROUTES_V4: &str = "/proc/thread-self/net/route";
const ROUTES_V6: &str = "/proc/thread-self/net/ipv6_route";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why the namespace's facts are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}, which tells {what}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// What is in it.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// DNS capture without nameservers.
    #[error(
        "DNS capture is asked for (HEDDLE_REDIRECT_DNS_CAPTURE) but {RESOLV_CONF} names no nameserver to capture; \
         set the pod's dnsPolicy or dnsConfig, or turn the capture off"
    )]
    NoNameserver,
}

/// The families to program: IPv4 always.
pub(crate) fn families(settings: &Settings) -> Result<Vec<Family>, Error> {
    let v6 = match settings.ipv6 {
        Ipv6::On => true,
        Ipv6::Off => false,
        Ipv6::Auto => match fs::read_to_string(IF_INET6) {
            Ok(text) => has_ipv6(&text),
            // The kernel has no IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => {
                return Err(Error::Unreadable {
                    path: IF_INET6,
                    what: "the IPv6 addresses",
                    source,
                });
            }
        },
    };
    Ok(if v6 {
        vec![Family::V4, Family::V6]
    } else {
        vec![Family::V4]
    })
}

/// The nameservers whose queries are captured, none when that is not asked for.
pub(crate) fn nameservers(settings: &Settings) -> Result<Vec<IpAddr>, Error> {
    if settings.dns_capture == DnsCapture::Off {
        return Ok(vec![]);
    }
    let text = match fs::read_to_string(RESOLV_CONF) {
        Err(source) if settings.dns_capture == DnsCapture::On => {
            return Err(Error::Unreadable {
                path: RESOLV_CONF,
                what: "the nameservers",
                source,
            });
        }
        text => text.unwrap_or_default(),
    };
    let found = nameservers_in(&text);
    if found.is_empty() && settings.dns_capture == DnsCapture::On {
        Err(Error::NoNameserver)
    } else {
        Ok(found)
    }
}

/// Networks that this namespace has a route to other than the default; best effort.
pub(crate) fn routed(family: Family) -> Vec<IpNet> {
    match family {
        Family::V4 => routes_v4(&fs::read_to_string(ROUTES_V4).unwrap_or_default()),
        Family::V6 => routes_v6(&fs::read_to_string(ROUTES_V6).unwrap_or_default()),
    }
}

/// Each line: address, index, prefix length, scope, flags, interface.
fn has_ipv6(if_inet6: &str) -> bool {
    if_inet6
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .any(|interface| interface != "lo")
}

fn nameservers_in(resolv_conf: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A link-local nameserver may have a zone, which iptables cannot match.
        let address = words
            .next()
            .and_then(|word| word.split('%').next()?.parse().ok());
        if let Some(address) = address.filter(|address| !found.contains(address)) {
            found.push(address);
        }
    }
    found
}

/// After a heading: interface, destination, gateway, flags, 3 others, mask; the addresses as the machine holds them.
fn routes_v4(text: &str) -> Vec<IpNet> {
    let address = |word: &str| {
        Some(Ipv4Addr::from(
            u32::from_str_radix(word, 16).ok()?.to_ne_bytes(),
        ))
    };
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let net = Ipv4Net::with_netmask(address(words.get(1)?)?, address(words.get(7)?)?).ok()?;
        (words.first() != Some(&"lo") && net.prefix_len() > 0).then_some(IpNet::V4(net))
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// Destination, its prefix length, source, its prefix length, next hop, 4 others, interface.
fn routes_v6(text: &str) -> Vec<IpNet> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = Ipv6Addr::from(u128::from_str_radix(words.first()?, 16).ok()?);
        let length = u8::from_str_radix(words.get(1)?, 16).ok()?;
        let net = Ipv6Net::new(address, length).ok()?;
        let usable = *words.last()? != "lo"
            && length > 0
            && !address.is_multicast()
            && !address.is_unicast_link_local();
        usable.then_some(IpNet::V6(net))
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn loopback_alone_is_not_ipv6() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(!has_ipv6(lo));
        assert!(has_ipv6(&format!(
            "fe80000000000000e0123456789abcde 02 40 20 80     eth0\n{lo}"
        )));
        assert!(!has_ipv6(""));
    }

    #[test]
    fn nameservers_are_read_once_each() {
        let text = "# made by hand\nsearch a.svc\nnameserver 10.96.0.10\nnameserver fe80::1%eth0\nnameserver 10.96.0.10\nnameserver x\nnameserver\n";
        let expected: [IpAddr; 2] = ["10.96.0.10".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(nameservers_in(text), expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_besides_the_default() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0
eth0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0
";
        assert_eq!(routes_v4(v4), ["10.0.0.0/24".parse::<IpNet>().unwrap()]);
        let zero = "00000000000000000000000000000000";
        let v6 = format!(
            "fd000000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 eth0
fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 eth0
{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo
"
        );
        assert_eq!(routes_v6(&v6), ["fd00::/64".parse::<IpNet>().unwrap()]);
    }

    #[test]
    fn nonsense_is_no_route() {
        assert!(routes_v4("heading\nx\neth0 zz yy\n").is_empty());
        assert!(routes_v6("x y z\n").is_empty());
    }
}
