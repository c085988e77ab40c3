//! Lists as annotations write them: ports (with ranges) and address ranges, separated by commas.
//! Kept in a canonical text: no spaces, no empty items, `*` alone for "all".

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::ValueError;

/// Ports and port ranges; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortList(String);

/// The same, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortChoice(String);

/// Address ranges (`10.0.0.0/8`, `::1/128`, a bare address); empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CidrList(String);

/// The same, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CidrChoice(String);

const PORTS: &str = "ports from 1 to 65535 and ranges such as 8000-8010, separated by commas";
const PORTS_OR_ALL: &str =
    "* for all, or ports from 1 to 65535 and ranges such as 8000-8010, separated by commas";
const CIDRS: &str = "address ranges such as 10.0.0.0/8 or fd00::/8, separated by commas";
const CIDRS_OR_ALL: &str =
    "* for all, or address ranges such as 10.0.0.0/8 or fd00::/8, separated by commas";

fn list(text: &str, valid: fn(&str) -> bool) -> Option<String> {
    let items: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect();
    items
        .iter()
        .all(|item| valid(item))
        .then(|| items.join(","))
}

fn choice(text: &str, valid: fn(&str) -> bool) -> Option<String> {
    if text.trim() == "*" {
        return Some("*".into());
    }
    list(text, valid)
}

fn is_port_or_range(item: &str) -> bool {
    match item.split_once('-') {
        Some((first, last)) => {
            matches!((port(first), port(last)), (Some(first), Some(last)) if first <= last)
        }
        None => port(item).is_some(),
    }
}

fn port(text: &str) -> Option<u16> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|port| *port > 0)
}

fn is_cidr(item: &str) -> bool {
    let (address, bits) = match item.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (item, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| {
        bits.bytes().all(|byte| byte.is_ascii_digit()) && bits.parse().is_ok_and(|b: u8| b <= most)
    })
}

macro_rules! list_text {
    ($name:ident, $canonical:ident, $valid:ident, $allowed:ident) => {
        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                $canonical(text, $valid)
                    .map(Self)
                    .ok_or_else(|| ValueError::new(text, $allowed))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(list: $name) -> Self {
                list.0
            }
        }
    };
}

list_text!(PortList, list, is_port_or_range, PORTS);
list_text!(PortChoice, choice, is_port_or_range, PORTS_OR_ALL);
list_text!(CidrList, list, is_cidr, CIDRS);
list_text!(CidrChoice, choice, is_cidr, CIDRS_OR_ALL);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ports() {
        assert_eq!(
            " 80, 443 ,,8000-8010"
                .parse::<PortList>()
                .unwrap()
                .to_string(),
            "80,443,8000-8010"
        );
        assert_eq!("".parse::<PortList>().unwrap().to_string(), "");
        assert_eq!(" * ".parse::<PortChoice>().unwrap().to_string(), "*");
        for bad in [
            "*", "0", "65536", "http", "80;81", "90-80", "80-", "*,80", "-1", "+80",
        ] {
            assert!(bad.parse::<PortList>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cidrs() {
        assert_eq!(
            "10.0.0.0/8, fd00::/8,1.2.3.4"
                .parse::<CidrList>()
                .unwrap()
                .to_string(),
            "10.0.0.0/8,fd00::/8,1.2.3.4"
        );
        for bad in [
            "*",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "example.com",
            "10.0.0.0/",
            "10.0.0.0/+8",
        ] {
            assert!(bad.parse::<CidrList>().is_err(), "{bad}");
        }
    }
}
