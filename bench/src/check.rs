//! That a peer does the work which is to be compared: routes by header and by weight, counts what it
//! routes, accepts nothing in the clear and nobody else's certificate, and puts nothing readable on
//! the network. Whoever does less is not measured.

mod http1;
mod http2;
pub(crate) mod knock;
pub(crate) mod opaque;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cases::{Setup, Traffic};
use crate::error::{Error, Result};
use crate::http;
use crate::netns;
use crate::peers::Peer;
use crate::stop;
use crate::visitor::{Visitors, Whose};
use crate::wire::{self, Wire};
use crate::world::Place;

const PREMIUM: u32 = 100;
const PLAIN: u32 = 1000;
/// Of [`PLAIN`] requests, how many may go to v2 when each is drawn for itself: 100 ± 4.2 standard
/// deviations.
const TENTH: std::ops::RangeInclusive<u32> = 60..=140;
/// For a refusal.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a peer was seen to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    /// Of 100 requests with the header, how many v2 answered.
    pub(crate) premium_v2: u32,
    /// Of 1,000 without, how many v2 answered.
    pub(crate) plain_v2: u32,
    pub(crate) wire: Wire,
}

impl Work {
    /// In words.
    pub(crate) fn says(&self) -> String {
        let routes = match self.peer.routes() {
            true => format!(
                "{} of {PREMIUM} with the header and {} of {PLAIN} without to v2",
                self.premium_v2, self.plain_v2
            ),
            false => "every tenth to v2".to_owned(),
        };
        format!(
            "{routes}; {}, {}; clear text and strangers refused",
            self.wire.suite_name(),
            self.wire.group_name()
        )
    }
}

/// Looks at everything; the first thing that is not as it should be is an error. Nothing to look at when
/// there is no sidecar, or when a case has routes of its own: that one checks for itself.
pub(crate) fn same_work(
    peer: Peer,
    setup: &Setup,
    round: u32,
    visitors: &Visitors,
) -> Result<Option<Work>> {
    match setup.traffic {
        _ if peer == Peer::Direct => Ok(None),
        Traffic::Tcp => Ok(None),
        _ if !setup.example() => Ok(None),
        traffic => requests(peer, traffic, round, visitors).map(Some),
    }
}

fn requests(peer: Peer, traffic: Traffic, round: u32, visitors: &Visitors) -> Result<Work> {
    let versions = |requests, premium| match traffic {
        Traffic::Http1 => http1::versions(peer, requests, premium),
        _ => http2::versions(peer, traffic, requests, premium),
    };
    let ((premium_v2, plain_v2), wire) =
        wire::watch(|| Ok((versions(PREMIUM, true)?, versions(PLAIN, false)?)))?;
    let work = Work {
        peer,
        round,
        premium_v2,
        plain_v2,
        wire,
    };
    let wrong = |what: String| {
        Err(Error::Check {
            peer: peer.name(),
            what,
        })
    };
    if peer.routes() && premium_v2 != PREMIUM {
        return wrong(format!(
            "of {PREMIUM} requests with `user-type: premium`, {premium_v2} were answered by v2, not all"
        ));
    } else if !TENTH.contains(&plain_v2) {
        return wrong(format!(
            "of {PLAIN} requests without the header, {plain_v2} were answered by v2, not a tenth"
        ));
    }
    let Wire {
        segments,
        records,
        readable,
        ..
    } = work.wire;
    // A request and an answer each need at least one.
    if readable > 0 || records < u64::from(2 * (PREMIUM + PLAIN)) {
        return wrong(format!(
            "on the pods' network were {segments} segments: {records} TLS records, {readable} readable"
        ));
    }
    let sent = u64::from(PREMIUM + PLAIN);
    // The last answer may be here before it is counted.
    let mut seen = counted(peer);
    for _ in 0..100 {
        if seen.is_none_or(|seen| seen == sent) {
            break;
        }
        stop::sleep(Duration::from_millis(10))?;
        seen = counted(peer);
    }
    if let Some(seen) = seen.filter(|seen| *seen != sent) {
        return wrong(format!(
            "its metrics count {seen} requests, not the {sent} that were sent"
        ));
    }
    for pod in [Place::V1, Place::V2] {
        if plain_text(pod, traffic)? {
            return wrong(format!("pod {} answers in the clear", pod.name()));
        }
        if !visitors.is_answered(Whose::Friend, pod, traffic) {
            return wrong(format!(
                "pod {} refuses a certificate of the mesh",
                pod.name()
            ));
        }
        if visitors.is_answered(Whose::Stranger, pod, traffic) {
            return wrong(format!(
                "pod {} accepts another authority's certificate",
                pod.name()
            ));
        }
    }
    Ok(work)
}

/// How many requests the client's sidecar has counted in its metrics: they are on. None when it has no
/// metrics that tell.
fn counted(peer: Peer) -> Option<u64> {
    let (port, path, counter) = match peer {
        Peer::Direct | Peer::Relay => return None,
        Peer::Heddle => (15090, "/stats/prometheus", "istio_requests_total{"),
        Peer::Envoy => (
            15000,
            "/stats?filter=%5Ehttp%5C.outbound_0.0.0.0_9080%5C.downstream_rq_2xx$",
            "http.outbound_0.0.0.0_9080.downstream_rq_2xx:",
        ),
        Peer::Haproxy => (
            15090,
            "/stats/prometheus",
            "haproxy_frontend_http_responses_total{proxy=\"outbound\",code=\"2xx\"}",
        ),
        // The line of totals, the last of which is of requests.
        Peer::Nginx => (15090, "/status", " "),
    };
    let metrics = http::tell(Place::Client, port, path).unwrap_or_default();
    let series = metrics.lines().filter(|line| line.starts_with(counter));
    let values = series.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    let all: u64 = values.map(|value| value as u64).sum();
    // nginx counts the request that asks it.
    Some(all.saturating_sub((peer == Peer::Nginx).into()))
}

/// Whether a server pod answers a client without TLS.
fn plain_text(pod: Place, traffic: Traffic) -> Result<bool> {
    let to = pod.app();
    let failed = || Error::io(format!("connect to {to} in the clear"));
    let mut stream = netns::within(&Place::Node.netns(), || {
        TcpStream::connect_timeout(&to, PATIENCE).map_err(failed())
    })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
    // Refused so soon that it cannot be sent: as good.
    let _ = stream.write_all(&knock::request(traffic));
    Ok(knock::succeeds(traffic, &mut stream))
}
