//! What both languages can say and hardly mean: headers that a route never sees, retries that may do
//! twice what was done, timeouts that leave no room. In words that go after the place of the field.

use super::Code;
use crate::source::{decode::Problem, node::Position};

/// What is to be said of a field.
pub(crate) struct Said {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) suggestion: String,
    /// In place of what follows from the code in general.
    pub(crate) consequence: Option<&'static str>,
}

impl Said {
    /// Of the field that `path` leads to.
    pub(crate) fn at(self, path: &str, at: Position) -> Problem {
        let reason = format!("{path}: {}", self.reason);
        let problem = Problem::new(self.code, at, reason).suggest(self.suggestion);
        match self.consequence {
            Some(consequence) => problem.follows(consequence),
            None => problem,
        }
    }
}

/// Headers that are taken off before routes are looked at (RFC 9110, 7.6.1).
const TAKEN_OFF: [&str; 5] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
];

/// What of them is left: that the protocol changes.
const OF_UPGRADES: [&str; 2] = ["connection", "upgrade"];

/// A header that a match asks for, if a sidecar does not see it as it was sent. `exact`: the value that is asked for.
pub(crate) fn unseen_header(name: &str, exact: Option<&str>) -> Option<Said> {
    let name = name.to_ascii_lowercase();
    let consequence = match name.as_str() {
        "te" if exact.is_some_and(|value| value != "trailers") => {
            "of `te` only `trailers` is left when routes are looked at"
        }
        name if TAKEN_OFF.contains(&name) => "it is taken off before routes are looked at",
        name if OF_UPGRADES.contains(&name) => {
            "it is there only where a request asks for another protocol, as WebSockets do"
        }
        _ => return None,
    };
    Some(Said {
        code: Code::UnseenHeader,
        reason: "it is a header of a connection".to_owned(),
        suggestion: "match a header of the request".to_owned(),
        consequence: Some(consequence),
    })
}

/// A header that a route gives to requests, if the server's sidecar takes it off again.
pub(crate) fn unsent_header(name: &str) -> Option<Said> {
    let name = name.to_ascii_lowercase();
    let consequence = match name.as_str() {
        "x-forwarded-client-cert" => {
            "the server's sidecar writes the caller's own identity in its place"
        }
        "proxy-authenticate" | "proxy-authorization" => "the server's sidecar takes it off again",
        _ => return None,
    };
    Some(Said {
        code: Code::UnsentHeader,
        reason: format!("servers with a sidecar never see what a route puts into `{name}`"),
        suggestion: "use a header of your own".to_owned(),
        consequence: Some(consequence),
    })
}

/// Whether it may be repeated (RFC 9110, 9.2.2).
pub(crate) fn is_idempotent(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&method)
}

/// Whether a condition of retries says nothing of whether the request was handled.
pub(crate) fn is_unsafe(condition: &str) -> bool {
    const UNSAFE: [&str; 9] = [
        "5xx",
        "gateway-error",
        "reset",
        "deadline-exceeded",
        "internal",
        "unknown",
        "500",
        "502",
        "504",
    ];
    UNSAFE.contains(&condition)
}

/// Tries of one request, in milliseconds.
pub(crate) struct Tries {
    /// Beyond the first.
    pub(crate) attempts: u32,
    pub(crate) each: u64,
    pub(crate) whole: u64,
    /// Between two.
    pub(crate) pause: u64,
}

impl Tries {
    /// What of it cannot be meant. `each` and `whole`: what the two fields are called.
    pub(crate) fn judge(&self, each: &str, whole: &str) -> Option<Said> {
        let (time, total) = (self.each, self.whole);
        if time >= total {
            return Some(Said {
                code: Code::LateRetry,
                reason: format!("{each} ({time}ms) is not below {whole} ({total}ms)"),
                suggestion: format!("make `{whole}` longer, or `{each}` shorter"),
                consequence: None,
            });
        }
        let tries = u64::from(self.attempts) + 1;
        let most = time.saturating_mul(tries);
        let most = most.saturating_add(self.pause.saturating_mul(self.attempts.into()));
        (most > total).then(|| Said {
            code: Code::TightTimeout,
            reason: format!(
                "{tries} tries of {time}ms and the pauses between take up to {most}ms, {whole} is {total}ms"
            ),
            suggestion: format!("write `{whole}: {most}ms`, or fewer attempts"),
            consequence: None,
        })
    }
}
