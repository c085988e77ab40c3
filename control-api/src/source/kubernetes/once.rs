//! A cluster read once, for those who look and go: every kind that we read and the cluster serves, listed
//! in chunks. What one may not list is an error by name, except for nodes: all that they tell is where a
//! pod is.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kube::{Api, Client, api::ListParams};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::timeout;

use super::{
    follow::FORBIDDEN,
    index::Index,
    kinds::{WANTED, Wanted, discover},
    raw::Raw,
};
use crate::{
    name::{Kind, ObjectKey},
    source::Batch,
};

/// Objects in one answer.
const CHUNK: u32 = 500;
/// For one answer.
const WITHIN: Duration = Duration::from_secs(30);

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It did not say what it serves.
    #[error("cannot ask the API server what it serves")]
    Discover(#[source] kube::Error),
    /// A kind cannot be listed by whoever asks.
    #[error("{resource} may not be listed in all namespaces: {reason}")]
    Forbidden {
        /// As people name it.
        resource: String,
        /// In the server's words.
        reason: String,
    },
    /// A kind cannot be listed.
    #[error("cannot list {resource}")]
    List {
        /// As people name it.
        resource: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The server takes too long.
    #[error("the API server did not answer within {} s", WITHIN.as_secs())]
    Late,
}

/// A cluster as it is now.
#[derive(Debug)]
pub struct Once {
    /// All that we read.
    pub batch: Batch,
    /// When routes were written last, as far as the server tells.
    pub written: HashMap<ObjectKey, SystemTime>,
}

/// Everything of a cluster that decides about requests.
///
/// # Errors
/// When a part of it cannot be had.
pub async fn read_once(client: &Client) -> Result<Once, ReadError> {
    let served = timeout(WITHIN, discover(client)).await;
    let served = served
        .map_err(|_| ReadError::Late)?
        .map_err(ReadError::Discover)?;
    let mut index = Index::new(Vec::new(), Arc::default());
    let mut written = HashMap::new();
    for wanted in WANTED {
        let Some(version) = served.get(&wanted.kind) else {
            continue;
        };
        match list(client, wanted, version, &mut index, &mut written).await {
            Err(ReadError::Forbidden { .. }) if wanted.kind == Kind::Node => {}
            listed => listed?,
        }
    }
    let batch = index.batch().unwrap_or_else(|| Batch {
        changes: Vec::new(),
        refusals: Arc::default(),
        kept: Arc::default(),
    });
    Ok(Once { batch, written })
}

async fn list(
    client: &Client,
    wanted: &Wanted,
    version: &str,
    index: &mut Index,
    written: &mut HashMap<ObjectKey, SystemTime>,
) -> Result<(), ReadError> {
    let resource = wanted.resource(version);
    let api: Api<Raw> = Api::all_with(client.clone(), &resource);
    let mut params = ListParams::default().limit(CHUNK);
    index.begin(wanted.kind);
    loop {
        let page = timeout(WITHIN, api.list(&params)).await;
        let page = page
            .map_err(|_| ReadError::Late)?
            .map_err(|error| failed(wanted, error))?;
        for raw in page.items {
            if let (true, Some(name)) = (is_route(wanted.kind), raw.name())
                && let Some(time) = last_written(&raw)
            {
                let kind = wanted.kind;
                written.insert(ObjectKey { kind, name }, time);
            }
            index.here(wanted.kind, &resource, raw);
        }
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => params = params.continue_token(&more),
            None => break,
        }
    }
    index.complete(wanted.kind);
    Ok(())
}

fn is_route(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::VirtualService | Kind::HttpRoute | Kind::GrpcRoute
    )
}

/// When anybody wrote anything but its status; to the second, and never too early.
fn last_written(raw: &Raw) -> Option<SystemTime> {
    let entries = raw.list("metadata", "managedFields");
    let own = entries
        .iter()
        .filter(|entry| entry["subresource"] != "status");
    let mut last = None;
    for entry in own {
        let time = OffsetDateTime::parse(entry["time"].as_str()?, &Rfc3339).ok()?;
        last = last.max(Some(time));
    }
    Some((last? + Duration::from_secs(1)).into())
}

fn failed(wanted: &Wanted, error: kube::Error) -> ReadError {
    let resource = wanted.full_name();
    match error {
        kube::Error::Api(status) if status.code == FORBIDDEN => ReadError::Forbidden {
            resource,
            reason: status.message.clone(),
        },
        source => ReadError::List { resource, source },
    }
}
