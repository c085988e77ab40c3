//! The keys of the cluster's token issuer, as the API server publishes them (OpenID discovery). Always
//! asked of the API server itself, whatever `jwks_uri` says: it is the one that we trust already.
//!
//! Read again every few minutes, and once more when a token names a key that is not among them. While
//! the API server is away the keys of before hold.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_authority::token::{KeySet, KeySource, KeysError};
use heddle_identity::backoff::Backoff;
use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{ClusterError, REQUEST};

/// How old keys may be when a token comes.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// How often tokens with unknown keys can make us ask: anybody can send those.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A few keys.
const MAX_BYTES: usize = 512 * 1024;
const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
/// How long a starting service waits for the API server before it says why it cannot.
const ATTEMPTS: usize = 10;

/// What the issuer says of itself.
#[derive(Deserialize)]
struct Issuer {
    issuer: String,
}

struct Known {
    keys: Arc<KeySet>,
    asked: Instant,
}

/// Keys that the API server publishes.
pub struct ClusterKeys {
    client: Client,
    issuer: String,
    known: Mutex<Known>,
}

impl ClusterKeys {
    /// Learns who issues this cluster's tokens, and with which keys.
    ///
    /// # Errors
    /// When the API server does not say, after some attempts.
    pub async fn discover(client: Client) -> Result<Self, ClusterError> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut attempts = 1;
        loop {
            match Self::begin(&client).await {
                Ok(keys) => return Ok(keys),
                Err(reason) if attempts >= ATTEMPTS => return Err(ClusterError::Discovery(reason)),
                Err(reason) => warn!(reason, "the cluster's token issuer is not known yet"),
            }
            attempts += 1;
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn begin(client: &Client) -> Result<Self, String> {
        let configuration = read(client, CONFIGURATION).await?;
        let issuer: Issuer = serde_json::from_slice(&configuration)
            .map_err(|error| format!("{CONFIGURATION} is not what it should be: {error}"))?;
        let keys = keys_of(client).await?;
        info!(keys = keys.len(), "read the cluster's keys");
        Ok(Self {
            client: client.clone(),
            issuer: issuer.issuer,
            known: Mutex::new(Known {
                keys: Arc::new(keys),
                asked: Instant::now(),
            }),
        })
    }

    /// Who must have issued tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// One at a time; who waits finds what the one before has read.
    async fn current(&self, oldest: Duration) -> Arc<KeySet> {
        let mut known = self.known.lock().await;
        if known.asked.elapsed() < oldest {
            return known.keys.clone();
        }
        known.asked = Instant::now();
        match keys_of(&self.client).await {
            Ok(keys) => known.keys = Arc::new(keys),
            Err(reason) => warn!(reason, "keeping the cluster's keys of before"),
        }
        known.keys.clone()
    }
}

async fn keys_of(client: &Client) -> Result<KeySet, String> {
    let keys = KeySet::from_jwks(&read(client, KEYS).await?)?;
    match keys.is_empty() {
        true => Err(format!("{KEYS} holds no usable key")),
        false => Ok(keys),
    }
}

async fn read(client: &Client, path: &str) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("GET {path}: {error}");
    let request = Request::get(path)
        .body(Body::empty())
        .map_err(|error| failed(&error))?;
    let asking = async {
        let answer = client.send(request).await.map_err(|error| failed(&error))?;
        let status = answer.status();
        if !status.is_success() {
            let hint = match status.as_u16() {
                401 | 403 => {
                    "; bind our service account to the ClusterRole \
                     system:service-account-issuer-discovery"
                }
                _ => "",
            };
            return Err(failed(&format!("{status}{hint}")));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        Ok(body.map_err(|error| failed(&error))?.to_bytes().to_vec())
    };
    match tokio::time::timeout(REQUEST, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(failed(&"no answer in time")),
    }
}

#[tonic::async_trait]
impl KeySource for ClusterKeys {
    async fn keys(&self) -> Result<Arc<KeySet>, KeysError> {
        Ok(self.current(FRESH).await)
    }

    async fn refresh(&self) -> Result<Arc<KeySet>, KeysError> {
        Ok(self.current(ASK_AGAIN).await)
    }
}
