//! TokenReview: the API server says who a token is of, and so knows of pods and accounts that are gone.
//!
//! What cannot be good is refused without asking. An answer is remembered for a few seconds, by the
//! token's hash and within bounds, so that a rollout asks once for each pod; no answer is remembered
//! as one. Believed is only who is `authenticated` for our own audience.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use heddle_authority::token::{Authenticator, ClaimsError, TokenError, claimed};
use heddle_identity::{SpiffeId, TrustDomain};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::within;

/// How long an answer holds. A token whose pod is deleted is good for no longer than this.
const REMEMBERED: Duration = Duration::from_secs(10);
/// 48 bytes each and an identity.
const MAX_REMEMBERED: usize = 8192;
/// Requests at once; more wait for their turn, within the request's own time.
const AT_ONCE: usize = 32;

type Hash = [u8; 32];

/// Asks the API server.
pub struct Reviewer {
    api: Api<TokenReview>,
    audience: String,
    trust_domain: TrustDomain,
    turns: Semaphore,
    answers: Mutex<HashMap<Hash, (Instant, Answer)>>,
}

#[derive(Clone)]
enum Answer {
    Is(SpiffeId),
    Rejected(String),
    OtherAudience,
}

impl Reviewer {
    /// Believes tokens for `audience`.
    pub fn new(client: Client, audience: String, trust_domain: TrustDomain) -> Self {
        Self {
            api: Api::all(client),
            audience,
            trust_domain,
            turns: Semaphore::new(AT_ONCE),
            answers: Mutex::default(),
        }
    }

    fn remembered(&self, hash: &Hash) -> Option<Answer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = answers.get(hash)?;
        (at.elapsed() < REMEMBERED).then(|| answer.clone())
    }

    fn remember(&self, hash: Hash, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MAX_REMEMBERED {
            answers.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        }
        if answers.len() < MAX_REMEMBERED {
            answers.insert(hash, (Instant::now(), answer));
        }
    }

    async fn ask(&self, token: &str, claimed: SpiffeId) -> Result<Answer, TokenError> {
        let away = |reason: String| TokenError::Unavailable(reason);
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|error| away(error.to_string()))?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![self.audience.clone()]),
                token: token.to_owned(),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let answer = within(self.api.create(&params, &review)).await;
        let status = answer.map_err(|failed| away(failed.reason))?.status;
        Ok(self.judge(status.unwrap_or_default(), claimed))
    }

    fn judge(&self, status: TokenReviewStatus, claimed: SpiffeId) -> Answer {
        if status.authenticated != Some(true) {
            let reason = status.error.filter(|error| !error.is_empty());
            let reason = reason.unwrap_or_else(|| "it is not authenticated".into());
            return Answer::Rejected(reason.chars().take(256).collect());
        }
        // An API server that does not know audiences leaves them out: then it has not checked.
        if !status
            .audiences
            .unwrap_or_default()
            .contains(&self.audience)
        {
            return Answer::OtherAudience;
        }
        let name = status.user.and_then(|user| user.username);
        let name = name.unwrap_or_default();
        let proven = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
            .and_then(|(namespace, account)| {
                SpiffeId::for_service_account(&self.trust_domain, namespace, account).ok()
            });
        match proven {
            Some(id) if id == claimed => Answer::Is(id),
            _ => Answer::Rejected(format!(
                "it is of {:?}, which is not the service account that it names",
                name.chars().take(256).collect::<String>()
            )),
        }
    }
}

#[tonic::async_trait]
impl Authenticator for Reviewer {
    async fn authenticate(&self, token: &str) -> Result<SpiffeId, TokenError> {
        let claimed = claimed(token, &self.audience, &self.trust_domain)?;
        let hash: Hash = Sha256::digest(token).into();
        let answer = match self.remembered(&hash) {
            Some(answer) => answer,
            None => {
                let answer = self.ask(token, claimed).await?;
                self.remember(hash, answer.clone());
                answer
            }
        };
        match answer {
            Answer::Is(id) => Ok(id),
            Answer::Rejected(reason) => Err(TokenError::Rejected(reason)),
            Answer::OtherAudience => Err(ClaimsError::Audience(self.audience.clone()).into()),
        }
    }
}
