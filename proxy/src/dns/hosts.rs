//! Hosts that services name as endpoints: asked for when they appear and again when their time is
//! over, all by one task, a few at a time. What was known stays in use while nobody can say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use heddle_identity::backoff::Backoff;
use heddle_proxy_config::names::HostName;
use heddle_proxy_config::store::ConfigStore;
use heddle_proxy_dns::{LookupError, Resolved, Upstream, lookup};
use heddle_proxy_telemetry::{Counter, Metrics};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Hosts that are asked for at a time.
const LOOKUPS: usize = 16;
/// However short a host's time is, it is not asked for more often.
const SHORTEST: Duration = Duration::from_secs(5);
/// However long, a change is seen within this (Istio's default refresh).
const LONGEST: Duration = Duration::from_secs(60);
/// The first pause after nobody could say, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// One host.
struct Host {
    /// When it is asked for next; `None`: now it is.
    due: Option<Instant>,
    backoff: Backoff,
    /// It has been answered for.
    known: bool,
    /// That nobody can say, or that there is none, was logged when it began.
    said: bool,
}

/// Keeps the hosts of the configuration resolved, for ever.
pub(super) async fn follow(store: ConfigStore, upstream: Arc<Upstream>, metrics: Metrics) {
    let mut hosts = Hosts {
        all: HashMap::new(),
        failed: counter(&metrics, "failed"),
        answered: counter(&metrics, "answered"),
        store,
    };
    let mut changed = hosts.store.changed();
    let mut lookups = JoinSet::new();
    loop {
        // Marked before looking, so that no change falls between.
        changed.borrow_and_update();
        hosts.list();
        while lookups.len() < LOOKUPS
            && let Some(host) = hosts.take_due()
        {
            let upstream = Arc::clone(&upstream);
            lookups.spawn(async move {
                let found = lookup(&upstream, host.as_str()).await;
                (host, found)
            });
        }
        let next = hosts.next().filter(|_| lookups.len() < LOOKUPS);
        let pause = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changed.changed() => if changed.is_err() {
                return;
            },
            Some(Ok((host, found))) = lookups.join_next() => hosts.take(host, found),
            () = pause => {}
        }
    }
}

fn counter(metrics: &Metrics, result: &str) -> Counter {
    const HELP: &str = "Lookups of hosts that services name as endpoints, by result.";
    metrics.counter("heddle_host_lookups_total", HELP, &[("result", result)])
}

struct Hosts {
    all: HashMap<HostName, Host>,
    failed: Counter,
    answered: Counter,
    store: ConfigStore,
}

impl Hosts {
    /// Takes over which hosts there are; new ones are due.
    fn list(&mut self) {
        let named = self.store.hosts();
        self.all.retain(|host, _| named.contains(host));
        for host in named {
            self.all.entry(host).or_insert_with(|| Host {
                due: Some(Instant::now()),
                backoff: Backoff::new(RETRY.0, RETRY.1),
                known: false,
                said: false,
            });
        }
    }

    fn next(&self) -> Option<Instant> {
        self.all.values().filter_map(|host| host.due).min()
    }

    fn take_due(&mut self) -> Option<HostName> {
        let now = Instant::now();
        let due = |host: &Host| host.due.is_some_and(|due| due <= now);
        let (name, host) = self.all.iter_mut().find(|(_, host)| due(host))?;
        host.due = None;
        Some(name.clone())
    }

    fn take(&mut self, name: HostName, found: Result<Resolved, LookupError>) {
        // It may have gone from the configuration meanwhile.
        let Some(host) = self.all.get_mut(&name) else {
            return;
        };
        match found {
            Ok(found) => {
                self.answered.inc();
                let none = found.ips.is_empty();
                if none && !host.said {
                    tracing::warn!(host = %name, "the pod's resolvers say that this host has no address: its service has no such endpoint");
                }
                (host.known, host.said) = (true, none);
                host.backoff.reset();
                host.due = Some(Instant::now() + found.ttl.clamp(SHORTEST, LONGEST));
                self.store.set_host(&name, found.ips);
            }
            Err(error) => {
                self.failed.inc();
                let pause = host.backoff.next();
                if !std::mem::replace(&mut host.said, true) {
                    tracing::warn!(host = %name, %error, "cannot resolve an endpoint's host; what was known of it stays in use");
                }
                host.due = Some(Instant::now() + pause);
                if !host.known {
                    // Whoever waits for it need not wait longer.
                    self.store.set_host(&name, Vec::new());
                }
            }
        }
    }
}
