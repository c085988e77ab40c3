//! The pod's DNS: the mesh's names, as the configuration has them, in front of the pod's own
//! resolvers; and the hosts that services name as their endpoints, kept resolved. All of it is the
//! control thread's; no worker waits for it.

mod hosts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use heddle_proxy_config::names::{DnsName, HostName};
use heddle_proxy_config::store::ConfigStore;
use heddle_proxy_dns::{
    Addresses, Answers, Known, Names, Outcome, ServeError, Sockets, Upstream, serve,
};
use heddle_proxy_redirect::DNS_PORT;
use heddle_proxy_telemetry::{Counter, Metrics};
use tokio::task::JoinSet;

/// How long a query waits to hear what the control plane knows of its name; then the pod's
/// resolvers are asked. The application waits five seconds at most (libc's default).
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps endpoints that are hosts resolved, and answers the pod's queries where the redirect leads
/// them here (`capture`). Dropping the tasks ends both.
///
/// # Errors
/// When the port of the DNS is taken.
pub(crate) fn start(
    store: &ConfigStore,
    metrics: &Metrics,
    resolv_conf: &Path,
    capture: bool,
) -> Result<JoinSet<()>, ServeError> {
    let upstream = Arc::new(Upstream::new(resolv_conf.to_owned()));
    let mut tasks = JoinSet::new();
    if capture {
        let count = counters(metrics);
        let names = Arc::new(MeshNames(store.clone()));
        let answers = Answers::new(names, Arc::clone(&upstream), count);
        tasks.spawn(serve(Sockets::bind(DNS_PORT)?, Arc::new(answers)));
    }
    tasks.spawn(hosts::follow(store.clone(), upstream, metrics.clone()));
    Ok(tasks)
}

/// A counter for each outcome.
fn counters(metrics: &Metrics) -> impl Fn(Outcome) + Send + Sync + 'static {
    const HELP: &str = "DNS queries of the pod, by what became of them.";
    let counter = |outcome: Outcome| {
        let labels = [("outcome", outcome.as_str())];
        (
            outcome,
            metrics.counter("heddle_dns_queries_total", HELP, &labels),
        )
    };
    let counters: [(Outcome, Counter); 7] = Outcome::ALL.map(counter);
    move |outcome| {
        let own = counters.iter().find(|(known, _)| *known == outcome);
        if let Some((_, counter)) = own {
            counter.inc();
        }
    }
}

/// The names in the configuration.
struct MeshNames(ConfigStore);

impl Names for MeshNames {
    fn held(&self, name: &str) -> Option<Known> {
        match HostName::new(name) {
            Some(name) => self.0.name(&name).map(|known| known_as(&known)),
            None => Some(Known::Unknown),
        }
    }

    fn ask<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Known>> {
        Box::pin(async move {
            let name = HostName::new(name)?;
            let known = self.0.resolve_name(&name, PATIENCE).await;
            known.map(|known| known_as(&known))
        })
    }
}

fn known_as(name: &DnsName) -> Known {
    match name {
        DnsName::Unknown | DnsName::Hidden(_) => Known::Unknown,
        DnsName::Addresses { ips, ttl } => Known::Addresses(Addresses {
            ips: ips.clone(),
            ttl: *ttl,
        }),
    }
}
