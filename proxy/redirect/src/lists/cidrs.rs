//! Networks, and all of them. An address alone is a network of one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Invalid, elements, joined};

const CIDRS_ALLOWED: &str = "IPv4 and IPv6 networks or addresses, separated by commas (\"10.0.0.0/8,2001:db8::/32\"), or nothing";
const OR_ALL: &str = "\"*\" for all, or IPv4 and IPv6 networks or addresses, separated by commas (\"10.0.0.0/8,2001:db8::/32\"), or nothing";

/// A list of networks; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrList(Vec<IpNet>);

impl CidrList {
    /// Whether the address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }

    pub(crate) fn networks(&self) -> &[IpNet] {
        &self.0
    }
}

impl FromStr for CidrList {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        elements(text)
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for CidrList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, &self.0)
    }
}

/// Every address, or those of some networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CidrChoice {
    /// `*`
    All,
    /// Those listed, perhaps none.
    Only(CidrList),
}

impl CidrChoice {
    /// Whether the address is chosen.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.contains(address),
        }
    }
}

impl FromStr for CidrChoice {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.trim() == "*" {
            Ok(Self::All)
        } else {
            text.parse()
                .map(Self::Only)
                .map_err(|refused: Invalid| Invalid {
                    allowed: OR_ALL,
                    ..refused
                })
        }
    }
}

/// A network, its host bits cleared as iptables would; an address alone is a network of one.
fn network(text: &str) -> Result<IpNet, Invalid> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match net {
        Ok(net) => Ok(net.trunc()),
        Err(_) => Err(Invalid {
            value: text.to_owned(),
            what: "a network",
            allowed: CIDRS_ALLOWED,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn networks_are_cut_to_their_prefix() {
        let list: CidrList = "10.1.2.3/8,192.0.2.7,2001:db8::1/32".parse().unwrap();
        assert_eq!(list.to_string(), "10.0.0.0/8,192.0.2.7/32,2001:db8::/32");
        assert!(list.contains("10.255.0.1".parse().unwrap()));
        assert!(!list.contains("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn bad_networks_are_refused_by_name() {
        for bad in [
            "10.0.0/8",
            "10.0.0.0/33",
            "reviews",
            "10.0.0.0/8;::/0",
            "10.0.0.0/8,",
        ] {
            let refused = bad.parse::<CidrChoice>().unwrap_err();
            assert!(
                refused
                    .to_string()
                    .contains("is not a network; allowed: \"*\" for all, or IPv4"),
                "{refused}"
            );
        }
    }
}
