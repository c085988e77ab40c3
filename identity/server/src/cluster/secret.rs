//! The root, and where its rotation stands, in a Secret that replicas share: its entries are the files
//! of the data directory, which is a copy of it.
//!
//! Who is first to create the Secret has made the root; everybody else takes it. A step that one takes
//! is written with the version that it was taken from, so that of two at once the API server refuses
//! one, which then takes the other's. While the API server is away each goes on with what it has.

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, time::Duration};

use futures_util::{Stream, StreamExt};
use heddle_authority::{
    ca::{
        Authority,
        mirror::{self, Files},
    },
    server,
};
use heddle_identity::{TrustDomain, backoff::Backoff, channel::explain};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::watcher::{self, Event, watcher},
};
use tracing::{info, warn};

use super::{ClusterError, FIELD_MANAGER, followed, within};

/// How often the directory is compared: commands write there, and steps of a rotation.
const LOOK: Duration = Duration::from_secs(1);
/// How often a starting service tries before it says why it cannot.
const ATTEMPTS: usize = 20;

/// Keeps a directory and a Secret the same.
pub struct Keeper {
    api: Api<Secret>,
    namespace: String,
    name: String,
    directory: PathBuf,
    domain: TrustDomain,
    /// As it was when both were the same.
    base: Secret,
    /// Whether the list that goes on names it.
    listed: bool,
}

impl Keeper {
    /// Takes the root from the Secret `name`; makes both when there is none.
    ///
    /// # Errors
    /// When neither can be done, after some attempts.
    pub async fn begin(
        client: Client,
        name: &str,
        args: &server::Args,
    ) -> Result<Self, ClusterError> {
        let namespace = args.system_namespace.clone();
        let mut keeper = Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            name: name.to_owned(),
            directory: args.data_dir.clone(),
            domain: args.policy().trust_domain,
            base: Secret::default(),
            listed: false,
        };
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut attempts = 1;
        loop {
            match keeper.settle(args).await? {
                Ok(()) => return Ok(keeper),
                Err(reason) if attempts >= ATTEMPTS => return Err(keeper.failed(reason)),
                Err(reason) => warn!(secret = keeper.name, reason, "there is no root yet"),
            }
            attempts += 1;
            tokio::time::sleep(backoff.next()).await;
        }
    }

    fn failed(&self, reason: String) -> ClusterError {
        ClusterError::Secret {
            name: format!("{}/{}", self.namespace, self.name),
            reason,
        }
    }

    /// One attempt. What may be better the next time is in the inner result.
    async fn settle(&mut self, args: &server::Args) -> Result<Result<(), String>, ClusterError> {
        match within(self.api.get_opt(&self.name)).await {
            Err(failed) => return Ok(Err(failed.reason)),
            Ok(Some(secret)) => {
                let files = files_of(&secret);
                if !mirror::has_root(&files) {
                    return Err(self.failed(
                        "it holds no root-key.pem and root-cert.pem; delete it if no certificate was \
                         ever issued, or restore it from a backup"
                            .into(),
                    ));
                }
                // What an earlier container of this pod holds may be the last good copy.
                mirror::check(&files, &self.domain)
                    .map_err(|error| self.failed(explain(&error)))?;
                mirror::put(&self.directory, &files)?;
                self.base = secret;
                info!(secret = self.name, "using the root in the Secret");
                return Ok(Ok(()));
            }
            Ok(None) => {}
        }
        // A root that an earlier container of this pod made is as good as a new one.
        let (directory, policy, brought) =
            (args.data_dir.clone(), args.policy(), args.ca_dir.clone());
        let made = tokio::task::spawn_blocking(move || {
            Authority::open(&directory, policy, brought.as_deref()).map(drop)
        });
        match made.await {
            Ok(made) => made?,
            Err(error) => return Ok(Err(error.to_string())),
        }
        let secret = self.secret(&mirror::take(&self.directory)?);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        match within(self.api.create(&params, &secret)).await {
            Ok(secret) => {
                info!(secret = self.name, "the root is kept in a new Secret");
                self.base = secret;
                Ok(Ok(()))
            }
            Err(failed) if failed.code == 409 => {
                info!(
                    secret = self.name,
                    "another replica was first to make a root"
                );
                mirror::put(&self.directory, &Files::new())?;
                Ok(Err("another replica has just made it".into()))
            }
            Err(failed) => Ok(Err(failed.reason)),
        }
    }

    fn secret(&self, files: &Files) -> Secret {
        let labels = [
            ("app.kubernetes.io/part-of", "heddle"),
            ("app.kubernetes.io/managed-by", FIELD_MANAGER),
        ];
        let data = files
            .iter()
            .map(|(name, content)| (name.clone(), ByteString(content.clone())));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(
                    labels
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                ),
                resource_version: self.base.metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".into()),
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    fn news(&self) -> impl Stream<Item = watcher::Result<Event<Secret>>> + Send + use<> {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        followed(watcher(self.api.clone(), only))
    }

    /// Goes on for as long as the service does.
    pub async fn follow(mut self) -> Infallible {
        let news = self.news();
        tokio::pin!(news);
        let mut backoff = Backoff::new(LOOK, Duration::from_secs(30));
        let mut problem = None;
        loop {
            let wait = match problem {
                None => LOOK,
                Some(_) => LOOK.max(backoff.next()),
            };
            let done = tokio::select! {
                Some(event) = news.next() => self.heard(event).await,
                () = tokio::time::sleep(wait) => self.look().await,
            };
            match done {
                Ok(()) => {
                    problem = None;
                    backoff.reset();
                }
                Err(reason) => {
                    if problem.as_ref() != Some(&reason) {
                        warn!(
                            secret = self.name,
                            reason, "the root's Secret is not up to date"
                        );
                    }
                    problem = Some(reason);
                }
            }
        }
    }

    async fn heard(&mut self, event: watcher::Result<Event<Secret>>) -> Result<(), String> {
        match event {
            Ok(Event::Init) => {
                self.listed = false;
                Ok(())
            }
            // What a watch tells may be older than what we wrote ourselves: it only says to look.
            Ok(Event::Apply(secret) | Event::InitApply(secret)) => {
                self.listed = true;
                match self.is_known(&secret) {
                    true => Ok(()),
                    false => self.read_again().await,
                }
            }
            // Deleted while nobody watched: a list begins anew after that.
            Ok(Event::InitDone) if self.listed => Ok(()),
            Ok(Event::InitDone | Event::Delete(_)) => {
                warn!(
                    secret = self.name,
                    "the root's Secret was deleted; making it anew"
                );
                self.base = Secret::default();
                self.look().await
            }
            Err(error) => Err(explain(&error)),
        }
    }

    fn is_known(&self, secret: &Secret) -> bool {
        secret.metadata.resource_version == self.base.metadata.resource_version
    }

    async fn read_again(&mut self) -> Result<(), String> {
        match within(self.api.get_opt(&self.name)).await {
            Ok(Some(secret)) => self.take_up(secret),
            Ok(None) => {
                self.base = Secret::default();
                Ok(())
            }
            Err(failed) => Err(failed.reason),
        }
    }

    /// What others have done goes before what is only here.
    fn take_up(&mut self, secret: Secret) -> Result<(), String> {
        if self.is_known(&secret) {
            return Ok(());
        }
        let files = files_of(&secret);
        if files == files_of(&self.base) {
            self.base = secret;
            return Ok(());
        }
        if !mirror::has_root(&files) {
            // Its version is known from here on, so that the next look writes ours over it.
            self.base = secret;
            return Err("somebody took the root out of it; putting it back".into());
        }
        if let Err(error) = mirror::check(&files, &self.domain) {
            // It would be the loss of the root, in every replica.
            self.base = secret;
            return Err(format!(
                "somebody put a root into it that cannot be used; putting ours back: {}",
                explain(&error)
            ));
        }
        info!(
            secret = self.name,
            "the roots were changed by another replica"
        );
        mirror::put(&self.directory, &files).map_err(|error| explain(&error))?;
        self.base = secret;
        Ok(())
    }

    /// What was done here is written there.
    async fn look(&mut self) -> Result<(), String> {
        let files = mirror::take(&self.directory).map_err(|error| explain(&error))?;
        if files == files_of(&self.base) || !mirror::has_root(&files) {
            return Ok(());
        }
        let secret = self.secret(&files);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let written = match &self.base.metadata.resource_version {
            Some(_) => within(self.api.replace(&self.name, &params, &secret)).await,
            None => within(self.api.create(&params, &secret)).await,
        };
        match written {
            Ok(secret) => {
                info!(secret = self.name, "wrote the roots to the Secret");
                self.base = secret;
                Ok(())
            }
            // Somebody else was first, or it is gone: take what is there.
            Err(failed) if failed.code == 409 || failed.code == 404 => self.read_again().await,
            Err(failed) => Err(failed.reason),
        }
    }
}

fn files_of(secret: &Secret) -> Files {
    let data: Option<&BTreeMap<String, ByteString>> = secret.data.as_ref();
    data.into_iter()
        .flatten()
        .map(|(name, content)| (name.clone(), content.0.clone()))
        .collect()
}
