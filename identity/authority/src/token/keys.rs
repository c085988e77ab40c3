//! The issuer's public keys, from wherever they are published.
//!
//! A file is read again when it changes, and once more when a token names a key that is not in it.
//! A file that cannot be read or holds no usable key leaves the keys before in place.

use std::{
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use tracing::{debug, info, warn};

use heddle_identity::private_file::{self, FileError};

/// Clusters publish one to three keys.
const MAX_KEYS: usize = 64;
const MAX_BYTES: u64 = 512 * 1024;
/// How often tokens with unknown keys can make us read the file: anybody can send those.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Why there are no keys.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error(transparent)]
    File(Arc<FileError>),
    /// It is not a JWKS.
    #[error("{} is not a JWKS: {}", .0.display(), .1)]
    Malformed(PathBuf, String),
    /// They cannot be had from the cluster.
    #[error("cannot read the cluster's keys: {0}")]
    Cluster(String),
    /// It holds nothing that can be used.
    #[error("{} holds no usable key (P-256, P-384 or RSA, for signatures)", .0.display())]
    NoKeys(PathBuf),
}

/// Where keys come from.
#[tonic::async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The keys of the moment.
    async fn keys(&self) -> Result<Arc<KeySet>, KeysError>;

    /// The keys after looking again, because one was asked for that is not among them.
    async fn refresh(&self) -> Result<Arc<KeySet>, KeysError>;
}

/// Public keys, each for certain algorithms.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

struct Key {
    kid: Option<String>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWKS. Keys of other kinds than we believe in are passed over.
    ///
    /// # Errors
    /// When it is not a JWKS, with the reason.
    pub fn from_jwks(json: &[u8]) -> Result<Self, String> {
        let published: Published =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if published.keys.len() > MAX_KEYS {
            return Err(format!("it holds more than {MAX_KEYS} keys"));
        }
        let keys = published.keys.into_iter().filter_map(|value| {
            let key = serde_json::from_value::<Jwk>(value)
                .ok()
                .and_then(|jwk| usable(&jwk));
            if key.is_none() {
                debug!("passing over a published key that cannot be used for tokens");
            }
            key
        });
        Ok(Self(keys.collect()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key for a token. One without a key id is only served when there is no choice.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid)
        });
        let first = fitting.next()?;
        (kid.is_some() || fitting.next().is_none()).then_some(&first.key)
    }
}

fn usable(jwk: &Jwk) -> Option<Key> {
    if jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|usage| *usage != PublicKeyUse::Signature)
    {
        return None;
    }
    let algorithms: &'static [Algorithm] = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::EllipticCurve(ec), None | Some(KeyAlgorithm::ES256))
            if ec.curve == EllipticCurve::P256 =>
        {
            &[Algorithm::ES256]
        }
        (AlgorithmParameters::EllipticCurve(ec), None | Some(KeyAlgorithm::ES384))
            if ec.curve == EllipticCurve::P384 =>
        {
            &[Algorithm::ES384]
        }
        (AlgorithmParameters::RSA(_), None) => {
            &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512]
        }
        (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS256)) => &[Algorithm::RS256],
        (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS384)) => &[Algorithm::RS384],
        (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS512)) => &[Algorithm::RS512],
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key {
        kid: jwk.common.key_id.clone(),
        algorithms,
        key,
    })
}

/// Keys in a JWKS file.
#[derive(Debug)]
pub struct FileKeys {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    seen: Option<Fingerprint>,
    read_at: Option<Instant>,
}

/// Changes when the file is replaced or written.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Fingerprint {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileKeys {
    /// Keys in this file, which need not be there yet.
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            state: Mutex::default(),
        }
    }

    fn current(&self, look_again: bool) -> Result<Arc<KeySet>, KeysError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = std::fs::metadata(&self.file)
            .ok()
            .map(|metadata| Fingerprint {
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            });
        let may_read_again = state
            .read_at
            .is_none_or(|at| at.elapsed() >= REFRESH_INTERVAL);
        let unchanged = seen.is_some() && seen == state.seen && !(look_again && may_read_again);
        if let (true, Some(keys)) = (unchanged, &state.keys) {
            return Ok(keys.clone());
        }
        state.read_at = Some(Instant::now());
        match (self.read(), state.keys.clone()) {
            (Ok(keys), _) => {
                // Strangers can make us look again; only a change is worth a line.
                if seen != state.seen {
                    info!(file = %self.file.display(), keys = keys.len(), "read the token issuer's keys");
                }
                let keys = Arc::new(keys);
                state.keys = Some(keys.clone());
                state.seen = seen;
                Ok(keys)
            }
            (Err(error), Some(before)) => {
                warn!(reason = %error, "keeping the token issuer's keys of before");
                state.seen = seen;
                Ok(before)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn read(&self) -> Result<KeySet, KeysError> {
        let json = private_file::read(&self.file, MAX_BYTES)
            .map_err(|error| KeysError::File(Arc::new(error)))?;
        let keys = KeySet::from_jwks(&json)
            .map_err(|reason| KeysError::Malformed(self.file.clone(), reason))?;
        if keys.is_empty() {
            return Err(KeysError::NoKeys(self.file.clone()));
        }
        Ok(keys)
    }
}

#[tonic::async_trait]
impl KeySource for FileKeys {
    async fn keys(&self) -> Result<Arc<KeySet>, KeysError> {
        self.current(false)
    }

    async fn refresh(&self) -> Result<Arc<KeySet>, KeysError> {
        self.current(true)
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.kid))
            .finish()
    }
}
