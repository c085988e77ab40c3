//! That a peer does the work which is to be compared: routes by header and by weight, counts what it
//! routes, accepts nothing in the clear and nobody else's certificate, and puts nothing readable on
//! the network. Whoever does
//! less is not measured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cases::{Setup, Traffic};
use crate::error::{Error, Result};
use crate::http::{self, Connection};
use crate::netns;
use crate::peers::heddle::FIRST_ANSWER;
use crate::peers::{Peer, target};
use crate::visitor::Visitors;
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
        format!(
            "{} of {PREMIUM} with the header and {} of {PLAIN} without to v2; {}, {}; clear text and \
             strangers refused",
            self.premium_v2,
            self.plain_v2,
            self.wire.suite_name(),
            self.wire.group_name()
        )
    }
}

/// Looks at everything; the first thing that is not as it should be is an error.
/// Nothing to look at when there is no sidecar.
pub(crate) fn same_work(
    peer: Peer,
    setup: &Setup,
    round: u32,
    visitors: &Visitors,
) -> Result<Option<Work>> {
    if peer == Peer::Direct || setup.traffic != Traffic::Http1 {
        return Ok(None);
    }
    let ((premium_v2, plain_v2), wire) = wire::watch(|| {
        let premium = versions(peer, PREMIUM, "user-type: premium\r\n")?;
        Ok((premium, versions(peer, PLAIN, "")?))
    })?;
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
    if !peer.routes() {
        // Everything to v1, which `versions` has seen answering.
    } else if premium_v2 != PREMIUM {
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
    let counted = counted(peer);
    if counted.is_some_and(|counted| counted != u64::from(PREMIUM + PLAIN)) {
        return wrong(format!(
            "its metrics count {} requests, not the {} that were sent",
            counted.unwrap_or(0),
            PREMIUM + PLAIN
        ));
    }
    for pod in [Place::V1, Place::V2] {
        if let Some(said) = plain_text(pod)? {
            return wrong(format!("pod {} answers in the clear: {said:?}", pod.name()));
        }
        if !visitors.friend_is_answered(pod) {
            return wrong(format!(
                "pod {} refuses a certificate of the mesh",
                pod.name()
            ));
        }
        if visitors.stranger_is_answered(pod) {
            return wrong(format!(
                "pod {} accepts another authority's certificate",
                pod.name()
            ));
        }
    }
    Ok(Some(work))
}

/// Of so many requests over one connection, how many v2 answered; v1 must have answered the others.
fn versions(peer: Peer, requests: u32, headers: &str) -> Result<u32> {
    let mut connection = Connection::open(Place::Client, target(peer), FIRST_ANSWER)?;
    let mut v2 = 0;
    for _ in 0..requests {
        let answer = connection.get("/reviews/0", "reviews:9080", headers)?;
        match (answer.status, answer.body.get(..3), answer.body.len()) {
            (200, Some("v1 "), 1024) => {}
            (200, Some("v2 "), 1024) => v2 += 1,
            (status, begins, length) => {
                return Err(Error::Check {
                    peer: peer.name(),
                    what: format!("an answer is wrong: {status}, {length} bytes, {begins:?}"),
                });
            }
        }
    }
    Ok(v2)
}

/// How many requests the client's sidecar has counted in its metrics: they are on. None when it has no
/// metrics that tell.
fn counted(peer: Peer) -> Option<u64> {
    let (port, path, counter) = match peer {
        Peer::Direct | Peer::Relay | Peer::Haproxy | Peer::Nginx => return None,
        Peer::Heddle => (15090, "/stats/prometheus", "istio_requests_total{"),
        Peer::Envoy => (
            15000,
            "/stats?filter=%5Ehttp%5C.outbound_0.0.0.0_9080%5C.downstream_rq_2xx$",
            "http.outbound_0.0.0.0_9080.downstream_rq_2xx:",
        ),
    };
    let metrics = http::tell(Place::Client, port, path).unwrap_or_default();
    let series = metrics.lines().filter(|line| line.starts_with(counter));
    let values = series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Some(values.map(|value| value as u64).sum())
}

/// What a server pod says to a client without TLS: nothing is right, closed or not.
fn plain_text(pod: Place) -> Result<Option<String>> {
    let to = pod.app();
    let failed = || Error::io(format!("connect to {to} in the clear"));
    let mut stream = netns::within(&Place::Node.netns(), || {
        TcpStream::connect_timeout(&to, PATIENCE).map_err(failed())
    })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
    // Refused so soon that it cannot be sent: as good.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\n\r\n");
    let mut said = [0; 64];
    let length = stream.read(&mut said).unwrap_or(0);
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    Ok(said.contains("HTTP/").then_some(said))
}
