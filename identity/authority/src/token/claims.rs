//! What a service-account token says, and whether that proves an identity.

use rustls_pki_types::UnixTime;
use serde::Deserialize;

use super::Trusted;
use heddle_identity::{SpiffeId, TrustDomain, spiffe};

/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY: u64 = 10;

/// Why a correctly signed token does not prove an identity here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// A claim is missing or of the wrong type.
    #[error("the token's claims are not a service account's: {0}")]
    Malformed(String),
    /// Another issuer.
    #[error("the token was issued by {got:?}; expected {expected:?}")]
    Issuer {
        /// Who issued it.
        got: String,
        /// Who should have.
        expected: String,
    },
    /// For somebody else.
    #[error(
        "the token is not for the audience {0:?}; mount one that is (projected volume, audience)"
    )]
    Audience(String),
    /// Too late.
    #[error("the token expired {0} s ago; read it again from its file")]
    Expired(u64),
    /// Too early.
    #[error("the token is not valid for another {0} s; compare the clocks of both machines")]
    NotYetValid(u64),
    /// Not a service account.
    #[error("the token's subject {0:?} is not of the form system:serviceaccount:NAMESPACE:NAME")]
    Subject(String),
    /// It contradicts itself.
    #[error(
        "the token's subject {subject:?} does not agree with its claim kubernetes.io ({claim:?})"
    )]
    Inconsistent {
        /// What the subject says.
        subject: String,
        /// What the claim says.
        claim: String,
    },
    /// Names that make no SPIFFE id.
    #[error("the token's service account has no SPIFFE id: {0}")]
    Name(#[from] spiffe::ParseError),
}

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

impl Claims {
    pub(super) fn prove(&self, trusted: &Trusted, now: UnixTime) -> Result<SpiffeId, ClaimsError> {
        if self.iss != trusted.issuer {
            return Err(ClaimsError::Issuer {
                got: brief(&self.iss),
                expected: trusted.issuer.clone(),
            });
        }
        self.name(&trusted.audience, &trusted.trust_domain, now)
    }

    /// Whom they name, if they are for `audience` and hold now.
    pub(super) fn name(
        &self,
        audience: &str,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<SpiffeId, ClaimsError> {
        let meant = match &self.aud {
            Audience::One(one) => one == audience,
            Audience::Many(many) => many.iter().any(|one| one == audience),
        };
        if !meant {
            return Err(ClaimsError::Audience(audience.to_owned()));
        }
        let now = now.as_secs();
        let late = now.saturating_sub(self.exp);
        if late > LEEWAY {
            return Err(ClaimsError::Expired(late));
        }
        let early = self.nbf.unwrap_or(0).saturating_sub(now);
        if early > LEEWAY {
            return Err(ClaimsError::NotYetValid(early));
        }
        let (namespace, name) = self.subject()?;
        Ok(SpiffeId::for_service_account(
            trust_domain,
            namespace,
            name,
        )?)
    }

    fn subject(&self) -> Result<(&str, &str), ClaimsError> {
        let (namespace, name) = self
            .sub
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(|| ClaimsError::Subject(brief(&self.sub)))?;
        let claim = &self.kubernetes;
        if claim.namespace != namespace || claim.serviceaccount.name != name {
            return Err(ClaimsError::Inconsistent {
                subject: brief(&self.sub),
                claim: brief(&format!(
                    "{}:{}",
                    claim.namespace, claim.serviceaccount.name
                )),
            });
        }
        Ok((namespace, name))
    }
}

fn brief(text: &str) -> String {
    text.chars().take(256).collect()
}
