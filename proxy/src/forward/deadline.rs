//! Until when a request may take: the route's timeout, and the deadline that a gRPC caller names
//! (`grpc-timeout`), whichever is earlier. What is sent on names what is left.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, Sleep};

/// How long a gRPC caller waits (gRPC over HTTP/2, Timeout).
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The end of a request's time.
pub(crate) struct Deadline {
    timer: Pin<Box<Sleep>>,
    grpc: bool,
}

impl Deadline {
    pub(super) fn new(after: Duration, grpc: bool) -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep(after)),
            grpc,
        }
    }

    /// Ready when it has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx)
    }

    pub(super) fn at(&self) -> Instant {
        self.timer.deadline()
    }

    /// How a gRPC call is told in the midst of an answer; `None`: it is none.
    pub(crate) fn into_trailers(self) -> Option<HeaderMap> {
        self.grpc.then(|| {
            let status = HeaderName::from_static("grpc-status");
            let message = HeaderName::from_static("grpc-message");
            let said = "the deadline passed while the response was on its way";
            [
                (status, HeaderValue::from_static("4")),
                (message, HeaderValue::from_static(said)),
            ]
            .into_iter()
            .collect()
        })
    }
}

/// When the deadline has passed, if there is one.
pub(super) async fn passed(deadline: &mut Option<Deadline>) {
    match deadline {
        Some(deadline) => std::future::poll_fn(|cx| deadline.poll(cx)).await,
        None => std::future::pending().await,
    }
}

/// How long the caller waits, if it says.
pub(crate) fn asked(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(&GRPC_TIMEOUT)?.as_bytes())
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Says how long is left, in the finest unit whose number fits.
pub(super) fn tell(headers: &mut HeaderMap, left: Duration) {
    const MOST: u128 = 99_999_999;
    let units = [
        (left.as_nanos(), 'n'),
        (left.as_micros(), 'u'),
        (left.as_millis(), 'm'),
        (left.as_secs().into(), 'S'),
        (u128::from(left.as_secs() / 60), 'M'),
        (u128::from(left.as_secs() / 3600).min(MOST), 'H'),
    ];
    let fits = units.iter().find(|(number, _)| *number <= MOST);
    let text = fits.map(|(number, unit)| format!("{number}{unit}"));
    if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(&GRPC_TIMEOUT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grpc_says_is_read() {
        for (text, wanted) in [
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("0n", Some(Duration::ZERO)),
            ("5u", Some(Duration::from_micros(5))),
            ("2M", Some(Duration::from_secs(120))),
            ("100000000n", None),
            ("-1S", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("1s", None),
        ] {
            assert_eq!(parse(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_left_is_told_so_that_it_is_read_the_same() {
        for left in [
            Duration::ZERO,
            Duration::from_nanos(99_999_999),
            Duration::from_micros(123_456),
            Duration::from_millis(250),
            Duration::from_secs(10),
            Duration::from_secs(100_000),
            Duration::from_secs(200_000_000),
        ] {
            let mut headers = HeaderMap::new();
            tell(&mut headers, left);
            let read = asked(&headers).unwrap_or_default();
            // Nothing longer, and shorter by less than one part in ten thousand.
            assert!(
                read <= left && left - read <= left / 10_000,
                "{left:?} {read:?}"
            );
        }
    }
}
