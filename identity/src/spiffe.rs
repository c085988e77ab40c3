//! SPIFFE ids and trust domains, as the SPIFFE-ID standard defines them.
//!
//! Parsing is the only way in: a value of these types is valid, and equal ids are equal strings.
//! Anything that other software might read differently (upper case in the trust domain, ports,
//! user info, queries, percent escapes, empty or dot segments, control characters) is refused.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest SPIFFE id that the standard obliges implementations to support, in bytes.
pub const MAX_ID_BYTES: usize = 2048;
/// Longest trust domain, in bytes (the standard's limit, which is that of a host name).
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// Why a string is not a SPIFFE id or a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Longer than the standard allows.
    #[error("it is {0} bytes long; at most {1} are allowed")]
    TooLong(usize, usize),
    /// Not a `spiffe://` URI.
    #[error("it does not begin with \"spiffe://\"")]
    Scheme,
    /// No trust domain.
    #[error("its trust domain is empty")]
    EmptyTrustDomain,
    /// A character that a trust domain cannot hold.
    #[error("{0:?} is not allowed in a trust domain (only a-z, 0-9, '.', '-', '_')")]
    TrustDomainCharacter(char),
    /// No path: it names a trust domain and not a workload.
    #[error("it names no workload (its path is empty)")]
    EmptyPath,
    /// `//`, or `/` at the end.
    #[error("its path has an empty segment")]
    EmptySegment,
    /// `.` or `..`.
    #[error("its path has a segment that is \".\" or \"..\"")]
    DotSegment,
    /// A character that a path cannot hold.
    #[error("{0:?} is not allowed in its path (only letters, digits, '.', '-', '_')")]
    PathCharacter(char),
}

/// The name of a trust domain: all identities in it are vouched for by the same roots.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name, for example `cluster.local`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(Arc::from("cluster.local"))
    }
}

fn check_trust_domain(name: &str) -> Result<(), ParseError> {
    if name.is_empty() {
        return Err(ParseError::EmptyTrustDomain);
    }
    if name.len() > MAX_TRUST_DOMAIN_BYTES {
        return Err(ParseError::TooLong(name.len(), MAX_TRUST_DOMAIN_BYTES));
    }
    match name
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_'))
    {
        Some(c) => Err(ParseError::TrustDomainCharacter(c)),
        None => Ok(()),
    }
}

fn check_segment(segment: &str) -> Result<(), ParseError> {
    match segment {
        "" => return Err(ParseError::EmptySegment),
        "." | ".." => return Err(ParseError::DotSegment),
        _ => {}
    }
    match segment
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')))
    {
        Some(c) => Err(ParseError::PathCharacter(c)),
        None => Ok(()),
    }
}

impl FromStr for TrustDomain {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        check_trust_domain(name)?;
        Ok(Self(Arc::from(name)))
    }
}

/// The identity of a workload: `spiffe://TRUST_DOMAIN/PATH`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(Arc<str>);

impl SpiffeId {
    /// The identity of a Kubernetes service account: `spiffe://TD/ns/NAMESPACE/sa/NAME`.
    ///
    /// # Errors
    /// When the namespace or the name cannot be a path segment, or the whole is too long.
    pub fn for_service_account(
        trust_domain: &TrustDomain,
        namespace: &str,
        name: &str,
    ) -> Result<Self, ParseError> {
        check_segment(namespace)?;
        check_segment(name)?;
        format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{name}").parse()
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's name.
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// The trust domain as a value of its own.
    pub fn own_trust_domain(&self) -> TrustDomain {
        TrustDomain(Arc::from(self.trust_domain()))
    }

    /// The path, without the slash that begins it.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    /// Is it an identity of this trust domain?
    pub fn is_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain() == trust_domain.as_str()
    }

    /// Namespace and name, when it is a service account's identity.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let mut segments = self.path().split('/');
        let account = match (
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
        ) {
            ("ns", namespace, "sa", name) => (namespace, name),
            _ => return None,
        };
        segments.next().is_none().then_some(account)
    }

    fn parts(&self) -> (&str, &str) {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        rest.split_once('/').unwrap_or((rest, ""))
    }
}

impl FromStr for SpiffeId {
    type Err = ParseError;

    fn from_str(id: &str) -> Result<Self, ParseError> {
        if id.len() > MAX_ID_BYTES {
            return Err(ParseError::TooLong(id.len(), MAX_ID_BYTES));
        }
        let rest = id.strip_prefix(SCHEME).ok_or(ParseError::Scheme)?;
        let (trust_domain, path) = match rest.split_once('/') {
            Some((trust_domain, path)) => (trust_domain, Some(path)),
            None => (rest, None),
        };
        check_trust_domain(trust_domain)?;
        path.ok_or(ParseError::EmptyPath)?
            .split('/')
            .try_for_each(check_segment)?;
        Ok(Self(Arc::from(id)))
    }
}

macro_rules! string_newtype {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl TryFrom<String> for $type {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0.as_ref().to_owned()
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
string_newtype!(TrustDomain);
string_newtype!(SpiffeId);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_service_accounts_identity_reads_back() {
        let td: TrustDomain = "cluster.local".parse().unwrap();
        let id = SpiffeId::for_service_account(&td, "shop", "reviews.v1").unwrap();
        assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/reviews.v1");
        assert_eq!(id.trust_domain(), "cluster.local");
        assert_eq!(id.service_account(), Some(("shop", "reviews.v1")));
        assert!(id.is_of(&td));
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<SpiffeId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<SpiffeId>("\"http://a/b\"").is_err());
    }

    #[test]
    fn other_paths_are_no_service_accounts() {
        for id in [
            "spiffe://a/b",
            "spiffe://a/ns/x/sa",
            "spiffe://a/ns/x/sa/y/z",
            "spiffe://a/sa/x/ns/y",
        ] {
            assert_eq!(
                id.parse::<SpiffeId>().unwrap().service_account(),
                None,
                "{id}"
            );
        }
    }

    #[test]
    fn each_malformation_is_refused_by_its_name() {
        let cases = [
            ("", ParseError::Scheme),
            ("https://a/b", ParseError::Scheme),
            ("SPIFFE://a/b", ParseError::Scheme),
            ("spiffe:///b", ParseError::EmptyTrustDomain),
            ("spiffe://", ParseError::EmptyTrustDomain),
            ("spiffe://A/b", ParseError::TrustDomainCharacter('A')),
            ("spiffe://a:80/b", ParseError::TrustDomainCharacter(':')),
            ("spiffe://u@a/b", ParseError::TrustDomainCharacter('@')),
            ("spiffe://*/b", ParseError::TrustDomainCharacter('*')),
            ("spiffe://a\0/b", ParseError::TrustDomainCharacter('\0')),
            ("spiffe://a?x=/b", ParseError::TrustDomainCharacter('?')),
            ("spiffe://a", ParseError::EmptyPath),
            ("spiffe://a/", ParseError::EmptySegment),
            ("spiffe://a/b/", ParseError::EmptySegment),
            ("spiffe://a//b", ParseError::EmptySegment),
            ("spiffe://a/../b", ParseError::DotSegment),
            ("spiffe://a/b/.", ParseError::DotSegment),
            ("spiffe://a/b\0", ParseError::PathCharacter('\0')),
            ("spiffe://a/*", ParseError::PathCharacter('*')),
            ("spiffe://a/b%2Fc", ParseError::PathCharacter('%')),
            ("spiffe://a/b?c", ParseError::PathCharacter('?')),
            ("spiffe://a/b#c", ParseError::PathCharacter('#')),
            ("spiffe://a/é", ParseError::PathCharacter('é')),
        ];
        for (text, why) in cases {
            assert_eq!(text.parse::<SpiffeId>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let longest = format!("spiffe://a/{}", "b".repeat(MAX_ID_BYTES - 11));
        assert!(longest.parse::<SpiffeId>().is_ok());
        assert_eq!(
            format!("{longest}b").parse::<SpiffeId>(),
            Err(ParseError::TooLong(2049, 2048))
        );
        assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
        assert_eq!(
            "a".repeat(256).parse::<TrustDomain>(),
            Err(ParseError::TooLong(256, 255))
        );
    }

    #[test]
    fn a_namespace_cannot_smuggle_a_segment() {
        let td = TrustDomain::default();
        assert!(SpiffeId::for_service_account(&td, "a/sa/root", "b").is_err());
        assert!(SpiffeId::for_service_account(&td, "a", "").is_err());
    }
}
