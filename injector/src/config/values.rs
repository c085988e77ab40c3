//! Values of the configuration and of annotations, valid once they exist.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A value that is not one of the allowed ones.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{value:?} is not allowed here; allowed: {allowed}")]
pub struct ValueError {
    /// As written.
    pub value: String,
    /// What may stand there.
    pub allowed: &'static str,
}

impl ValueError {
    pub(crate) fn new(value: &str, allowed: &'static str) -> Self {
        Self {
            value: value.to_owned(),
            allowed,
        }
    }
}

/// Gives a newtype around a string its `Display`, `TryFrom<String>` and `Into<String>`.
macro_rules! text_value {
    ($name:ident) => {
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
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

/// `host:port`, `1.2.3.4:port` or `[::1]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort(String);

text_value!(HostPort);

impl FromStr for HostPort {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new(text, "host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(wrong());
        }
        let valid = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.split('.').all(is_dns_label),
        };
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(wrong())
        }
    }
}

/// An image reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef(String);

text_value!(ImageRef);

impl Default for ImageRef {
    fn default() -> Self {
        Self(concat!("heddle/proxy:", env!("CARGO_PKG_VERSION")).to_owned())
    }
}

impl FromStr for ImageRef {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte);
        let starts = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts && text.len() <= 1024 && text.bytes().all(fits) && !text.contains("//") {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::new(
                text,
                "an image reference such as registry/name:tag",
            ))
        }
    }
}

/// Worker threads of a sidecar, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Workers(u16);

impl Workers {
    const ALLOWED: &'static str = "a whole number from 1 to 64";
}

impl Default for Workers {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u16> for Workers {
    type Error = ValueError;

    fn try_from(number: u16) -> Result<Self, ValueError> {
        match number {
            1..=64 => Ok(Self(number)),
            _ => Err(ValueError::new(&number.to_string(), Self::ALLOWED)),
        }
    }
}

impl FromStr for Workers {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = text
            .parse::<u16>()
            .map_err(|_| ValueError::new(text, Self::ALLOWED))?;
        number.try_into()
    }
}

impl From<Workers> for u16 {
    fn from(workers: Workers) -> Self {
        workers.0
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

pub(crate) fn is_dns_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn is_env_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.bytes().all(fits) && !text.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "a:1",
            "heddle-control.heddle-system.svc:15012",
            "10.0.0.1:80",
            "[::1]:15013",
        ] {
            assert!(good.parse::<HostPort>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            ":1",
            "a:0",
            "a:65536",
            "a b:1",
            "::1:80",
            "[x]:1",
            "https://a:1",
            "a:",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn images() {
        for good in ["proxy", "a.example:5000/b/c:1.2", "x@sha256:00ff"] {
            assert!(good.parse::<ImageRef>().is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "https://x/y", "-x", "$(X)"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }
}
