//! Requests over HTTP/1.1 for the checks: who answered them, and that every answer is right.

use crate::error::{Error, Result};
use crate::http::Connection;
use crate::peers::heddle::FIRST_ANSWER;
use crate::peers::{Peer, target};
use crate::world::Place;

/// Of so many requests over one connection, how many v2 answered; v1 must have answered the others.
pub(crate) fn versions(peer: Peer, requests: u32, premium: bool) -> Result<u32> {
    let mut connection = Connection::open(Place::Client, target(peer), FIRST_ANSWER)?;
    let headers = match premium {
        true => "user-type: premium\r\n",
        false => "",
    };
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
