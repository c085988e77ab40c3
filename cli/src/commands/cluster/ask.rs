//! The cluster's API as the checks need it: every request bounded, every failure in words.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Request, header};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::client::Body;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Outcome};

pub(in crate::commands) const WITHIN: Duration = Duration::from_secs(15);
/// Objects in one answer.
const CHUNK: u32 = 500;
/// Objects in all: what is beyond is not looked at.
const MOST: usize = 100_000;

pub(in crate::commands) struct Cluster {
    pub(in crate::commands) client: Client,
    pub(in crate::commands) namespace: String,
}

/// Why a request has no answer that can be used.
#[derive(Debug)]
pub(in crate::commands) struct Refused {
    /// As in HTTP; 0 without an answer.
    pub(in crate::commands) code: u16,
    pub(in crate::commands) reason: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

pub(in crate::commands) async fn within<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Refused> {
    match tokio::time::timeout(WITHIN, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Refused {
            code: status.code,
            reason: status.message.clone(),
        }),
        Ok(Err(error)) => Err(Refused {
            code: 0,
            reason: heddle_identity::channel::explain(&error),
        }),
        Err(_) => Err(Refused {
            code: 0,
            reason: format!("no answer in {} s", WITHIN.as_secs()),
        }),
    }
}

impl Cluster {
    /// The cluster of KUBECONFIG, in its current context or in one that is named.
    pub(in crate::commands) async fn connect(
        context: Option<&str>,
        namespace: &str,
    ) -> Outcome<Self> {
        let advice = "set KUBECONFIG, or run where kubectl works";
        let config = match context {
            None => Config::infer()
                .await
                .map_err(|error| Failure::error(&error).advise(advice).not_asked())?,
            Some(context) => {
                let options = KubeConfigOptions {
                    context: Some(context.to_owned()),
                    ..KubeConfigOptions::default()
                };
                Config::from_kubeconfig(&options)
                    .await
                    .map_err(|error| Failure::error(&error).advise(advice).not_asked())?
            }
        };
        Self::of(config, namespace)
    }

    pub(in crate::commands) fn of(config: Config, namespace: &str) -> Outcome<Self> {
        let client =
            Client::try_from(config).map_err(|error| Failure::error(&error).not_asked())?;
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
        })
    }

    /// What a path answers, and the time of day that the server has, in seconds since 1970.
    pub(in crate::commands) async fn raw<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(T, Option<i64>), String> {
        use http_body_util::{BodyExt, Limited};
        let request = Request::get(path)
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let answer = within(self.client.send(request))
            .await
            .map_err(|r| r.reason)?;
        let date = answer.headers().get(header::DATE);
        let date = date.and_then(|date| date.to_str().ok()).and_then(http_date);
        if !answer.status().is_success() {
            return Err(format!("GET {path}: {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), 1024 * 1024).collect();
        let body = tokio::time::timeout(WITHIN, body).await;
        let body = body.map_err(|_| "no answer in time".to_owned())?;
        let bytes = body.map_err(|error| error.to_string())?.to_bytes();
        let value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        Ok((value, date))
    }

    /// In chunks, bounded.
    pub(in crate::commands) async fn list<K>(
        &self,
        api: &Api<K>,
        params: ListParams,
    ) -> Result<Vec<K>, Refused>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut params = params.limit(CHUNK);
        let mut found = Vec::new();
        loop {
            let page = within(api.list(&params)).await?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) if found.len() < MOST => params = params.continue_token(&more),
                _ => return Ok(found),
            }
        }
    }

    pub(in crate::commands) async fn definitions(&self) -> Result<BTreeSet<String>, Refused> {
        let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(self.client.clone());
        let found = self.list(&api, ListParams::default()).await?;
        Ok(found
            .into_iter()
            .filter_map(|one| one.metadata.name)
            .collect())
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = time::PrimitiveDateTime::parse(text, &format).ok()?;
    Some(date.assume_utc().unix_timestamp())
}
