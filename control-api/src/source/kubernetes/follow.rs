//! Follows one kind: lists it, watches it, and begins anew when the server has forgotten where we were.
//! It never gives up. Whatever goes wrong, nothing is said to be gone.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use heddle_identity::backoff::Backoff;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{sync::mpsc, time::sleep};
use tracing::{debug, info, warn};

use super::{kinds::Wanted, raw::Raw};

/// Objects in one answer to a list.
const PAGE: u32 = 250;
/// How long the server holds a watch, in seconds. Half-open connections are found after this.
pub(super) const WATCH_SECONDS: u32 = 120;

/// What happened to a kind.
#[derive(Debug)]
pub(super) enum News {
    /// A list begins: what it does not name by its end is gone.
    Relisting,
    /// It is there.
    Here(Box<Raw>),
    /// It is gone.
    Gone(Box<Raw>),
    /// The list is complete.
    Complete,
}

/// What happened, to which kind, as told by which of those that follow it.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) wanted: &'static Wanted,
    pub(super) epoch: u64,
    pub(super) news: News,
}

pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) wanted: &'static Wanted,
    pub(super) version: &'static str,
    pub(super) epoch: u64,
    pub(super) letters: mpsc::Sender<Letter>,
    /// Longest pause between attempts.
    pub(super) max_pause: Duration,
}

impl Follower {
    /// Until nobody reads what it writes.
    pub(super) async fn run(self) {
        let resource = self.wanted.resource(self.version);
        let api: Api<Raw> = Api::all_with(self.client.clone(), &resource);
        let config = watcher::Config::default()
            .timeout(WATCH_SECONDS)
            .page_size(PAGE);
        let mut backoff = Backoff::new(self.max_pause / 64, self.max_pause);
        let mut failing = false;
        let name = self.wanted.full_name();
        loop {
            let mut events = pin!(watcher(api.clone(), config.clone()));
            while let Some(event) = events.next().await {
                let news = match event {
                    Ok(Event::Init) => News::Relisting,
                    Ok(Event::InitApply(object) | Event::Apply(object)) => {
                        News::Here(Box::new(object))
                    }
                    Ok(Event::Delete(object)) => News::Gone(Box::new(object)),
                    Ok(Event::InitDone) => News::Complete,
                    Err(error) => {
                        let first = !std::mem::replace(&mut failing, true);
                        report(&name, &error, first);
                        let pause = backoff.next();
                        sleep(pause).await;
                        if starts_too_late(&error) {
                            break;
                        }
                        continue;
                    }
                };
                if !matches!(news, News::Relisting) {
                    backoff.reset();
                    if std::mem::take(&mut failing) {
                        info!(resource = name, "following it again");
                    }
                }
                let letter = Letter {
                    wanted: self.wanted,
                    epoch: self.epoch,
                    news,
                };
                if self.letters.send(letter).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The watcher would ask again for the same version for ever when this comes as an HTTP status.
fn starts_too_late(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410
    )
}

fn report(resource: &str, error: &watcher::Error, first: bool) {
    let cause = match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => cause,
        // Too old, mostly: the list that follows is nothing special.
        other => return debug!(resource, error = %other, "watching begins anew"),
    };
    match cause {
        kube::Error::Api(status) if status.code == 403 => warn!(
            resource,
            "not allowed to list and watch it: grant both to heddle-control's service account, in a ClusterRole"
        ),
        cause if first => {
            warn!(resource, error = %cause, "cannot follow it; the mesh goes on with what it has");
        }
        cause => debug!(resource, error = %cause, "still cannot follow it"),
    }
}
