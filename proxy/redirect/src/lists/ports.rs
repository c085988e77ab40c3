//! Ports, ranges of them, and all of them.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, elements, joined};

const PORTS_ALLOWED: &str =
    "ports from 1 to 65535 and ranges of them, separated by commas (\"80,8000-8999\"), or nothing";
const OR_ALL: &str = "\"*\" for all, or ports from 1 to 65535 and ranges of them, separated by commas (\"80,8000-8999\"), or nothing";

/// One port, or the ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Whether the port is one of these.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    pub(crate) fn first(self) -> u16 {
        self.first
    }

    /// As `iptables --dport` wants it.
    pub(crate) fn dport(self) -> String {
        if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}:{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid {
            value: text.to_owned(),
            what: "a port",
            allowed: PORTS_ALLOWED,
        };
        let port = |text: &str| match text.trim().parse::<u16>() {
            Ok(0) | Err(_) => Err(invalid()),
            Ok(port) => Ok(port),
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            Err(invalid())
        } else {
            Ok(Self { first, last })
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A list of ports; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortList(Vec<PortRange>);

impl PortList {
    /// Whether the port is in the list.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(port))
    }

    pub(crate) fn ranges(&self) -> &[PortRange] {
        &self.0
    }
}

impl FromStr for PortList {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        elements(text)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for PortList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, &self.0)
    }
}

/// Every port, or those of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// `*`
    All,
    /// Those listed, perhaps none.
    Only(PortList),
}

impl PortChoice {
    /// Whether the port is chosen.
    pub fn contains(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.contains(port),
        }
    }
}

impl FromStr for PortChoice {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ports_are_numbers_and_ranges() {
        let list: PortList = "80, 8000-8002".parse().unwrap();
        assert!(list.contains(80) && list.contains(8001) && !list.contains(8003));
        assert_eq!(list.to_string(), "80,8000-8002");
        assert_eq!("".parse::<PortList>().unwrap(), PortList::default());
    }

    #[test]
    fn bad_ports_are_refused_by_name() {
        for bad in ["0", "65536", "http", "9-8", "80,,81", "80,", "-", "*"] {
            let refused = bad.parse::<PortList>().unwrap_err();
            assert!(
                refused
                    .to_string()
                    .contains("is not a port; allowed: ports from 1 to 65535"),
                "{refused}"
            );
        }
        let refused = "80,x1".parse::<PortChoice>().unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("\"x1\" is not a port; allowed: \"*\" for all, or ports"),
            "{refused}"
        );
    }
}
