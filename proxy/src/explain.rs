//! Answers what becomes of a request, or of a connection to the application, from the snapshot that the
//! workers read at that moment. Decided away from the workers and from the control thread; what is not
//! known yet is asked of the control plane, as for a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use heddle_proxy_admin::{Answer, Asked, NoAnswer, Slot};
use heddle_proxy_config::decision::{
    Asked as AskedRequest, AskedInbound, Decision, Hidden, Means, Outcome, Question, admit, decide,
};
use heddle_proxy_config::names::{DnsName, HostName};
use heddle_proxy_config::store::ConfigStore;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::balance::ejections::Ejections;

/// For a name: as an application's resolver has.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// What the admin endpoint asks.
pub(crate) fn answers(
    store: ConfigStore,
    ejections: Ejections,
) -> Arc<dyn Fn(Asked, Slot) -> Answer + Send + Sync> {
    Arc::new(move |asked, slot| {
        let (store, ejections) = (store.clone(), ejections.clone());
        Box::pin(async move {
            match asked {
                Asked::Request(body) => request(&store, &ejections, parsed(&body)?, slot).await,
                Asked::Connection(body) => connection(&store, parsed(&body)?),
            }
        })
    })
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, NoAnswer> {
    serde_json::from_slice(body).map_err(|error| NoAnswer::NotAsked(error.to_string()))
}

fn connection(store: &ConfigStore, asked: AskedInbound) -> Result<Value, NoAnswer> {
    written(&admit(&store.snapshot().load(), asked))
}

async fn request(
    store: &ConfigStore,
    ejections: &Ejections,
    asked: AskedRequest,
    slot: Slot,
) -> Result<Value, NoAnswer> {
    let question = Question::new(&asked).map_err(|error| NoAnswer::NotAsked(error.to_string()))?;
    let (found, hidden) = address(store, &asked.host, asked.port).await;
    let Some(ip) = found else {
        let called = format!("{}:{}", asked.host, asked.port);
        return written(&Decision {
            called,
            hidden,
            outcome: Outcome::NoSuchName,
            ..Decision::default()
        });
    };
    let called = SocketAddr::new(ip, asked.port);
    let _in_use = store.hold(ip);
    store.resolve(ip).await.map_err(|error| {
        NoAnswer::NotKnown(format!("what {ip} stands for is not known: {error}"))
    })?;
    let (snapshot, ejected) = (store.snapshot().load_full(), ejections.ejected());
    // A table of a hundred thousand matches takes a while, and cannot be stopped: the slot goes with it.
    let decided = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        decide(&snapshot, called, &question, &ejected)
    });
    let mut decided = decided
        .await
        .map_err(|error| NoAnswer::NotKnown(format!("it could not be decided: {error}")))?;
    if decided.means == Means::Unknown {
        decided.hidden = decided.hidden.or(hidden);
    }
    written(&decided)
}

/// What the application would connect to, and the service that its Sidecar hides behind the name.
async fn address(store: &ConfigStore, host: &str, port: u16) -> (Option<IpAddr>, Option<Hidden>) {
    let host = host.trim_matches(['[', ']']);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return (Some(ip.to_canonical()), None);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let known = match HostName::new(&name) {
        Some(name) => store.resolve_name(&name, NAME_PATIENCE).await,
        None => None,
    };
    let hidden = match known.as_deref() {
        Some(DnsName::Addresses { ips, .. }) => return (ips.first().copied(), None),
        Some(DnsName::Hidden(hidden)) => Some(Hidden::from(&**hidden)),
        Some(DnsName::Unknown) | None => None,
    };
    let found = timeout(NAME_PATIENCE, lookup_host((name.as_str(), port))).await;
    let first = match found {
        Ok(Ok(mut found)) => found.next(),
        Ok(Err(_)) | Err(_) => None,
    };
    (first.map(|at| at.ip().to_canonical()), hidden)
}

fn written(answer: &impl serde::Serialize) -> Result<Value, NoAnswer> {
    serde_json::to_value(answer).map_err(|error| NoAnswer::NotKnown(error.to_string()))
}
