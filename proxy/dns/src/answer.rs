//! What becomes of one query: the mesh's own names first, then the pod's resolvers.
//!
//! A name that the control plane has not told yet is asked for, bounded; an application's search
//! domain behind a name of the mesh is seen through, so that such a name costs nobody a query.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use tokio::sync::Semaphore;

use crate::cache::Cache;
use crate::names::{Addresses, Known, Names};
use crate::upstream::Upstream;
use crate::wire::{self, Code, IN, Query, Reject, kind};

/// Queries that wait for the control plane at a time.
const ASKING: usize = 256;
/// Queries that wait for the pod's resolvers at a time: each holds a socket.
pub(crate) const FORWARDS: usize = 256;
/// A name whose time is not said.
const TTL: Duration = Duration::from_secs(30);
/// Largest answer over TCP.
const LARGEST: usize = u16::MAX as usize;

/// By what a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// An answer must fit what the client takes.
    Udp,
    /// Any answer fits.
    Tcp,
}

/// How a query was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By what the mesh knows.
    Mesh,
    /// By the pod's resolvers.
    Forwarded,
    /// By what they said before.
    Cached,
    /// Not: they did not answer.
    Failed,
    /// Not: too many were under way.
    Overload,
    /// Not a query that is served.
    Refused,
    /// Not a query; dropped.
    Malformed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Mesh,
        Self::Forwarded,
        Self::Cached,
        Self::Failed,
        Self::Overload,
        Self::Refused,
        Self::Malformed,
    ];

    /// The word that metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Forwarded => "forwarded",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Overload => "overload",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}

/// Answers queries.
pub struct Answers {
    names: Arc<dyn Names>,
    upstream: Arc<Upstream>,
    count: Box<dyn Fn(Outcome) + Send + Sync>,
    cache: Mutex<Cache>,
    asking: Semaphore,
    forwards: Semaphore,
}

/// What the mesh makes of a question.
enum Found {
    Own(Addresses),
    /// The question's name less a search domain.
    Alias(String, Addresses),
    No,
    /// Too many queries wait for the control plane.
    Busy,
}

impl Answers {
    /// By these names and resolvers; every outcome is told to `count`.
    pub fn new(
        names: Arc<dyn Names>,
        upstream: Arc<Upstream>,
        count: impl Fn(Outcome) + Send + Sync + 'static,
    ) -> Self {
        Self {
            names,
            upstream,
            count: Box::new(count),
            cache: Mutex::default(),
            asking: Semaphore::new(ASKING),
            forwards: Semaphore::new(FORWARDS),
        }
    }

    /// The answer to a message; none for what deserves no answer.
    pub async fn answer(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let (outcome, answer) = match Query::parse(bytes) {
            Err(Reject::Drop) => (Outcome::Malformed, None),
            Err(Reject::Tell(code)) => {
                let told = wire::failure(bytes, &[], false, code);
                (Outcome::Refused, Some(told))
            }
            Ok(query) if matches!(query.kind, kind::AXFR | kind::IXFR) => {
                (Outcome::Refused, Some(fail(&query, Code::Refused)))
            }
            Ok(query) => {
                let (outcome, answer) = self.resolve(&query, transport).await;
                (outcome, Some(answer))
            }
        };
        (self.count)(outcome);
        answer
    }

    async fn resolve(&self, query: &Query<'_>, transport: Transport) -> (Outcome, Vec<u8>) {
        let limit = match transport {
            Transport::Udp => query.udp_limit(),
            Transport::Tcp => LARGEST,
        };
        let found = match query.name() {
            Some(name) if query.class == IN && may_be_ours(name) => self.find(name).await,
            _ => Found::No,
        };
        let address = matches!(query.kind, kind::A | kind::AAAA | kind::ANY);
        match found {
            Found::Busy => (Outcome::Overload, fail(query, Code::ServerFailure)),
            Found::Own(found) if address => (Outcome::Mesh, reply(query, None, found, limit)),
            Found::Alias(name, found) if address => {
                (Outcome::Mesh, reply(query, Some(&name), found, limit))
            }
            Found::Own(_) => {
                let (outcome, mut answer) = self.forward(query, transport, limit).await;
                // Who caches it must not take the name's addresses for absent too.
                wire::deny_only_the_type(&mut answer);
                (outcome, answer)
            }
            Found::Alias(..) | Found::No => self.forward(query, transport, limit).await,
        }
    }

    async fn find(&self, name: &str) -> Found {
        match self.known(name).await {
            Ok(Some(found)) => return Found::Own(found),
            Ok(None) => {}
            Err(Busy) => return Found::Busy,
        }
        let conf = self.upstream.conf();
        for domain in &conf.search {
            let Some(rest) = before(name, domain) else {
                continue;
            };
            match self.known(rest).await {
                Ok(Some(found)) => return Found::Alias(rest.to_owned(), found),
                Ok(None) => {}
                Err(Busy) => return Found::Busy,
            }
        }
        Found::No
    }

    async fn known(&self, name: &str) -> Result<Option<Addresses>, Busy> {
        let known = match self.names.held(name) {
            Some(known) => Some(known),
            None => {
                let _permit = self.asking.try_acquire().map_err(|_| Busy)?;
                self.names.ask(name).await
            }
        };
        Ok(match known {
            Some(Known::Addresses(found)) => Some(found),
            Some(Known::Unknown) | None => None,
        })
    }

    async fn forward(
        &self,
        query: &Query<'_>,
        transport: Transport,
        limit: usize,
    ) -> (Outcome, Vec<u8>) {
        if let Some(answer) = self.cache().get(query, Instant::now()) {
            return (Outcome::Cached, fit(query, answer, limit));
        }
        let Ok(_permit) = self.forwards.try_acquire() else {
            return (Outcome::Overload, fail(query, Code::ServerFailure));
        };
        match self.upstream.ask(query, transport == Transport::Tcp).await {
            Some(answer) => {
                self.cache().put(query, &answer, Instant::now());
                (Outcome::Forwarded, fit(query, answer, limit))
            }
            None => (Outcome::Failed, fail(query, Code::ServerFailure)),
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Too many queries wait for the control plane.
struct Busy;

/// Neither an address's name nor a service's, of which the mesh says nothing.
fn may_be_ours(name: &str) -> bool {
    !name.ends_with(".arpa") && !name.starts_with('_')
}

/// A name before a search domain, when it could be one that somebody wrote whole.
fn before<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(domain)?.strip_suffix('.')?;
    rest.contains('.').then_some(rest)
}

fn fail(query: &Query<'_>, code: Code) -> Vec<u8> {
    let edns = query.edns.is_some();
    wire::failure(query.bytes(), query.question_bytes(), edns, code)
}

fn fit(query: &Query<'_>, answer: Vec<u8>, limit: usize) -> Vec<u8> {
    if answer.len() <= limit {
        return answer;
    }
    wire::truncated(query, Code::NoError)
}

fn reply(query: &Query<'_>, alias: Option<&str>, found: Addresses, limit: usize) -> Vec<u8> {
    let ttl = if found.ttl.is_zero() { TTL } else { found.ttl };
    let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX >> 1);
    let mut ips: Vec<IpAddr> = found.ips;
    // A different first address each time spreads clients that take the first.
    if !ips.is_empty() {
        let by = rand::rng().random_range(0..ips.len());
        ips.rotate_left(by);
    }
    wire::addresses(query, alias, &ips, ttl, limit)
}
