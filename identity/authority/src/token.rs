//! Who a bearer of a token is.
//!
//! Service-account tokens are JWTs signed by the cluster; [`Verifier`] checks them against the
//! issuer's published keys without asking the cluster. Whatever else may prove an identity later
//! (the API server's TokenReview) is another [`Authenticator`]. A token is never logged, and never
//! part of an error.

mod claims;
mod keys;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header, errors::ErrorKind,
};
use rustls_pki_types::UnixTime;

use self::claims::Claims;
pub use self::{
    claims::ClaimsError,
    keys::{FileKeys, KeySet, KeySource, KeysError},
};
use heddle_identity::{SpiffeId, TrustDomain};

/// Longest token that is looked at. Kubernetes' are 1 to 2 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Tells who somebody is by a token.
#[tonic::async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The identity that the token proves.
    async fn authenticate(&self, token: &str) -> Result<SpiffeId, TokenError>;
}

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Too long.
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not a JWT.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// `none`, HMAC, or another algorithm that is not allowed.
    #[error("the token's signature algorithm is not allowed; allowed are {ALLOWED:?}")]
    Algorithm,
    /// No such key.
    #[error("the token is signed with a key that the issuer does not publish (kid {0:?})")]
    UnknownKey(String),
    /// Wrong signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// The claims are not right.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// Whoever issued it says that it is not good.
    #[error("the cluster does not accept the token: {0}")]
    Rejected(String),
    /// It is our fault: whoever could confirm it cannot be asked.
    #[error("tokens cannot be verified at the moment ({0}); try again")]
    Unavailable(String),
    /// It is our fault: the keys are not there.
    #[error("tokens cannot be verified at the moment")]
    Keys(#[from] KeysError),
}

impl TokenError {
    /// Is the fault on our side, so that the same token may do later?
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::Unavailable(_))
    }
}

/// Signatures that are believed: asymmetric ones that clusters use.
const ALLOWED: [Algorithm; 5] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
];

/// Which tokens are believed.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// Who must have issued them.
    pub issuer: String,
    /// Whom they must be for.
    pub audience: String,
    /// The trust domain of the identities they prove.
    pub trust_domain: TrustDomain,
}

/// Verifies service-account tokens by their signature.
#[derive(Debug)]
pub struct Verifier<K> {
    trusted: Trusted,
    keys: K,
}

impl<K: KeySource> Verifier<K> {
    /// Believes what `trusted` says and `keys` have signed.
    pub fn new(trusted: Trusted, keys: K) -> Self {
        Self { trusted, keys }
    }

    /// The same as [`Authenticator::authenticate`], at a given time.
    async fn verify(&self, token: &str, now: UnixTime) -> Result<SpiffeId, TokenError> {
        let header = allowed_header(token)?;
        let kid = header.kid.as_deref();
        let mut keys = self.keys.keys().await?;
        if keys.find(kid, header.alg).is_none() {
            keys = self.keys.refresh().await?;
        }
        let key = keys.find(kid, header.alg).ok_or_else(|| {
            TokenError::UnknownKey(kid.unwrap_or_default().chars().take(128).collect())
        })?;
        let claims = verified_claims(token, key, header.alg)?;
        Ok(claims.prove(&self.trusted, now)?)
    }
}

/// Whom a token names, for `audience` and now, before anybody has confirmed it: what cannot be good
/// is refused without asking.
///
/// # Errors
/// When nobody will confirm it.
pub fn claimed(
    token: &str,
    audience: &str,
    trust_domain: &TrustDomain,
) -> Result<SpiffeId, TokenError> {
    allowed_header(token)?;
    let claims = jsonwebtoken::dangerous::insecure_decode::<Claims>(token)
        .map_err(|error| not_a_service_accounts(&error))?
        .claims;
    Ok(claims.name(audience, trust_domain, UnixTime::now())?)
}

/// The header of a token of a kind that can be believed.
fn allowed_header(token: &str) -> Result<Header, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    // A header that names an unknown algorithm ("none") does not even parse.
    let header = decode_header(token).map_err(|error| match error.kind() {
        ErrorKind::Json(_) => TokenError::Algorithm,
        _ => TokenError::Malformed,
    })?;
    if !ALLOWED.contains(&header.alg) {
        return Err(TokenError::Algorithm);
    }
    if header.crit.is_some() {
        return Err(TokenError::Malformed);
    }
    Ok(header)
}

/// The signature only; what the claims say is judged by [`Claims::prove`].
fn verified_claims(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
) -> Result<Claims, TokenError> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    match decode::<Claims>(token, key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(error) => Err(not_a_service_accounts(&error)),
    }
}

fn not_a_service_accounts(error: &jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::Json(error) => ClaimsError::Malformed(error.to_string()).into(),
        ErrorKind::InvalidSignature => TokenError::Signature,
        _ => TokenError::Malformed,
    }
}

#[tonic::async_trait]
impl<K: KeySource> Authenticator for Verifier<K> {
    async fn authenticate(&self, token: &str) -> Result<SpiffeId, TokenError> {
        self.verify(token, UnixTime::now()).await
    }
}

#[tonic::async_trait]
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    async fn authenticate(&self, token: &str) -> Result<SpiffeId, TokenError> {
        (**self).authenticate(token).await
    }
}
