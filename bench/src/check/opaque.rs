//! The work of a peer that carries opaque connections: to the server and back, nothing readable
//! between the sidecars, nothing accepted in the clear or from another authority.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::app::{App, MARK};
use crate::check::PATIENCE;
use crate::error::{Error, Result};
use crate::load::{Ground, iperf3};
use crate::netns;
use crate::peers::heddle::FIRST_ANSWER;
use crate::visitor::{Visitors, Whose};
use crate::wire::{self, Wire};
use crate::world::Place;

/// Sent and echoed, one after the other.
const EXCHANGES: u64 = 100;
/// What begins a TLS record of an alert.
const ALERT: u8 = 21;
/// As long as what iperf3's client says first, which its server answers.
const HELLO: &[u8; 37] = b"a-visitor-who-speaks-to-an-opaque-app";

/// Looks at everything; the first thing that is not as it should be is an error.
pub(crate) fn same_work(at: Ground<'_>, app: App, visitors: &Visitors) -> Result<Wire> {
    let (least, wire) = wire::watch(|| match app {
        App::Iperf3 => iperf3::readable(at).map(|_| 2),
        _ => echoes(at).map(|()| 2 * EXCHANGES),
    })?;
    if wire.readable > 0 || wire.records < least || wire.suite.is_none() {
        return Err(at.not(format!(
            "on the pods' network were {} segments: {} TLS records, {} readable",
            wire.segments, wire.records, wire.readable
        )));
    }
    // The one that everything goes to.
    let pod = Place::V1;
    if is_answer(&in_the_clear(pod)?) {
        return Err(at.not(format!("pod {} answers in the clear", pod.name())));
    }
    let hears = |whose| visitors.hears(whose, pod, &[], HELLO).unwrap_or_default();
    if !is_answer(&hears(Whose::Friend)) {
        return Err(at.not(format!(
            "pod {} refuses a certificate of the mesh",
            pod.name()
        )));
    }
    if is_answer(&hears(Whose::Stranger)) {
        let what = "accepts another authority's certificate";
        return Err(at.not(format!("pod {} {what}", pod.name())));
    }
    Ok(wire)
}

fn echoes(at: Ground<'_>) -> Result<()> {
    let to = at.target();
    let failed = || Error::io(format!("exchange bytes with {to}"));
    let mut stream = netns::within(&Place::Client.netns(), || {
        TcpStream::connect_timeout(&to, FIRST_ANSWER).map_err(failed())
    })?;
    stream
        .set_read_timeout(Some(FIRST_ANSWER))
        .map_err(failed())?;
    for _ in 0..EXCHANGES {
        let mut read = [0; MARK.len()];
        stream
            .write_all(MARK.as_bytes())
            .and_then(|()| stream.read_exact(&mut read))
            .map_err(failed())?;
        if read != *MARK.as_bytes() {
            return Err(at.not("what came back is not what was sent".into()));
        }
    }
    Ok(())
}

/// What a server pod says to a client without TLS: nothing is right, closed or not.
fn in_the_clear(pod: Place) -> Result<Vec<u8>> {
    let to = pod.app();
    let failed = || Error::io(format!("connect to {to} in the clear"));
    let mut stream = netns::within(&Place::Node.netns(), || {
        TcpStream::connect_timeout(&to, PATIENCE).map_err(failed())
    })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
    // Refused so soon that it cannot be sent: as good.
    let _ = stream.write_all(HELLO);
    let mut said = [0; 64];
    let length = stream.read(&mut said).unwrap_or(0);
    Ok(said[..length].to_vec())
}

/// Whether an application has spoken, and not only somebody's TLS.
fn is_answer(said: &[u8]) -> bool {
    said.first().is_some_and(|first| *first != ALERT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_no_answer() {
        assert!(is_answer(HELLO) && is_answer(&[9]));
        assert!(!is_answer(&[]) && !is_answer(&[21, 3, 3, 0, 2, 2, 116]));
    }
}
