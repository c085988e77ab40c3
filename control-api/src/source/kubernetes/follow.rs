//! Follows one kind: lists it, watches it from there, and lists it again when the server has forgotten
//! where we were. It never gives up. Whatever goes wrong, nothing is said to be gone, and it is told. No
//! server is asked more often than [`Follower::least_pause`], however soon it ends what it began.

use std::{pin::pin, time::Duration};

use futures_util::TryStreamExt;
use heddle_identity::{backoff::Backoff, channel::explain};
use kube::{
    Api, Client,
    api::{ListParams, WatchParams},
    core::{Status, WatchEvent},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info};

use super::{kinds::Wanted, raw::Raw};

/// Objects in one answer to a list.
const PAGE: u32 = 250;
/// How long the server holds a watch, in seconds. Half-open connections are found after this.
pub(super) const WATCH_SECONDS: u32 = 120;
/// Of an answer, or its head: a page of large objects from a busy server.
const ANSWER: Duration = Duration::from_secs(60);
pub(super) const FORBIDDEN: u16 = 403;
/// A watch that ends sooner is one that something is wrong with.
const SHORT: Duration = Duration::from_secs(5);
/// Refusals in a row to watch from a version after which it is not asked for again.
const REFUSALS: u32 = 3;
/// Before a kind is listed again because the server has forgotten where we were, at most: after a restart of
/// the server that is so of every kind, and nothing is wrong. Again and again, it is more and more.
const AGAIN: Duration = Duration::from_millis(500);

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
    /// It cannot be followed now, and why.
    Failing(String),
    /// It can be again.
    Mended,
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
    /// What was told last of what goes wrong.
    pub(super) failing: Option<String>,
}

/// Where a follower is.
enum State {
    /// It knows nothing, or what it knows is too old. `whole`: in one answer, as one that comes in pages
    /// was too old before its end.
    List { whole: bool },
    /// It knows everything up to this version.
    Watch { from: String, refused: u32 },
}

/// Why it stops for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("nobody reads what it writes")]
    Over,
    #[error("the server has forgotten what happened since")]
    TooOld,
    #[error("{} {}: {}", .0.code, .0.reason, .0.message)]
    Refused(Box<Status>),
    #[error("{}", explain(.0))]
    Failed(kube::Error),
    #[error("no answer in {} s", ANSWER.as_secs())]
    Slow,
    #[error("the list has no resourceVersion to watch from")]
    NoVersion,
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of(status),
            other => Self::Failed(other),
        }
    }
}

impl Trouble {
    fn of(status: Box<Status>) -> Self {
        match status.code {
            410 => Self::TooOld,
            _ => Self::Refused(status),
        }
    }

    /// How long the server wants to be left alone.
    fn wanted_pause(&self) -> Duration {
        let Self::Refused(status) = self else {
            return Duration::ZERO;
        };
        let seconds = status.details.as_ref().map(|of| of.retry_after_seconds);
        // Who sheds load says so in a header alone, which does not come this far.
        let least = u32::from(status.code == 429);
        Duration::from_secs(seconds.unwrap_or_default().max(least).into())
    }
}

impl Follower {
    /// Until nobody reads what it writes.
    pub(super) async fn run(mut self) {
        let resource = self.wanted.resource(self.version);
        let api: Api<Raw> = Api::all_with(self.client.clone(), &resource);
        let mut backoff = Backoff::new(self.least_pause(), self.max_pause);
        let mut forgotten = Backoff::new(AGAIN.min(self.max_pause), self.max_pause);
        let mut remembered = Instant::now();
        let mut state = State::List { whole: false };
        loop {
            let started = Instant::now();
            let is_watch = matches!(state, State::Watch { .. });
            let (next, trouble) = self.step(&api, state).await;
            state = next;
            let pause = match trouble {
                // Who may list it and not watch it must not list it without end.
                None if !is_watch => continue,
                None => {
                    backoff.reset();
                    // Some servers, and what is before them, end a watch as soon as it began.
                    match started.elapsed() < SHORT {
                        true => self.least_pause(),
                        false => continue,
                    }
                }
                Some(Trouble::TooOld) if is_watch => {
                    debug!(resource = self.wanted.full_name(), "watching begins anew");
                    let pause = forgotten.next_after(remembered.elapsed());
                    remembered = Instant::now() + pause;
                    pause
                }
                Some(trouble) => {
                    // A server that was away forgets what happened before: that is no failure of its own.
                    if started.elapsed() > SHORT || matches!(trouble, Trouble::TooOld) {
                        backoff.reset();
                    }
                    let wanted = trouble.wanted_pause().min(self.max_pause);
                    if self.report(trouble).await.is_err() {
                        return;
                    }
                    backoff.next().max(wanted).max(self.least_pause())
                }
            };
            sleep(pause).await;
        }
    }

    async fn report(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let resource = self.wanted.full_name();
        match trouble {
            Trouble::Over => return Err(trouble),
            // The list that follows is nothing special.
            Trouble::TooOld => debug!(resource, "listing begins anew"),
            trouble => {
                let reason = match &trouble {
                    Trouble::Refused(status) if status.code == FORBIDDEN => self.wanted.forbidden(),
                    trouble => trouble.to_string(),
                };
                if self.failing.as_ref() == Some(&reason) {
                    debug!(resource, reason, "still cannot follow it");
                } else {
                    self.tell(News::Failing(reason.clone())).await?;
                    self.failing = Some(reason);
                }
            }
        }
        Ok(())
    }

    /// The server answers what it is asked for.
    async fn mended(&mut self) -> Result<(), Trouble> {
        if self.failing.take().is_none() {
            return Ok(());
        }
        info!(resource = self.wanted.full_name(), "following it again");
        self.tell(News::Mended).await
    }

    fn least_pause(&self) -> Duration {
        self.max_pause / 64
    }

    /// One list, or one watch to its end.
    async fn step(&mut self, api: &Api<Raw>, state: State) -> (State, Option<Trouble>) {
        match state {
            State::List { whole } => match self.list(api, whole).await {
                Ok(from) => (State::Watch { from, refused: 0 }, None),
                Err(Trouble::TooOld) => (State::List { whole: true }, Some(Trouble::TooOld)),
                Err(trouble) => (State::List { whole }, Some(trouble)),
            },
            State::Watch { mut from, refused } => {
                let before = from.clone();
                let trouble = self.watch(api, &mut from).await.err();
                let refused = match &trouble {
                    Some(Trouble::Refused(_)) if from == before => refused + 1,
                    _ => 0,
                };
                let state = match &trouble {
                    Some(Trouble::TooOld | Trouble::NoVersion) => State::List { whole: false },
                    // A server that was restored may not know the version, and says so in many ways.
                    Some(_) if refused >= REFUSALS => State::List { whole: false },
                    _ => State::Watch { from, refused },
                };
                (state, trouble)
            }
        }
    }

    /// Answers the version that it is of.
    async fn list(&mut self, api: &Api<Raw>, whole: bool) -> Result<String, Trouble> {
        self.tell(News::Relisting).await?;
        let mut params = ListParams {
            limit: (!whole).then_some(PAGE),
            ..ListParams::default()
        };
        loop {
            let page = timeout(ANSWER, api.list(&params)).await;
            let page = page.map_err(|_| Trouble::Slow)??;
            for object in page.items {
                self.tell(News::Here(Box::new(object))).await?;
            }
            let more = page.metadata.continue_.filter(|more| !more.is_empty());
            if more.is_none() {
                let version = page.metadata.resource_version;
                let version = version.filter(|version| !version.is_empty());
                let version = version.ok_or(Trouble::NoVersion)?;
                self.tell(News::Complete).await?;
                self.mended().await?;
                return Ok(version);
            }
            params.continue_token = more;
        }
    }

    /// From a version, which goes on as news come, until the server ends it.
    async fn watch(&mut self, api: &Api<Raw>, from: &mut String) -> Result<(), Trouble> {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let events = timeout(ANSWER, api.watch(&params, from)).await;
        let mut events = pin!(events.map_err(|_| Trouble::Slow)??);
        self.mended().await?;
        // The client's own bound for reading is longer than the watch.
        while let Some(event) = events.try_next().await? {
            let (object, is_here) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, true),
                WatchEvent::Deleted(object) => (object, false),
                WatchEvent::Bookmark(bookmark) => {
                    *from = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(Trouble::of(status)),
            };
            let version = object.meta.resource_version.clone();
            *from = version
                .filter(|version| !version.is_empty())
                .ok_or(Trouble::NoVersion)?;
            let object = Box::new(object);
            self.tell(if is_here {
                News::Here(object)
            } else {
                News::Gone(object)
            })
            .await?;
        }
        Ok(())
    }

    async fn tell(&self, news: News) -> Result<(), Trouble> {
        let letter = Letter {
            wanted: self.wanted,
            epoch: self.epoch,
            news,
        };
        self.letters.send(letter).await.map_err(|_| Trouble::Over)
    }
}
