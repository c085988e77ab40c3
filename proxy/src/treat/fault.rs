//! What goes wrong on purpose.

use std::time::Duration;

use heddle_proxy_config::snapshot::{AbortStatus, Fault};
use heddle_proxy_telemetry::ResponseFlag;
use http::StatusCode;
use rand::RngExt;

use crate::reply::Failure;

/// A whole, in parts.
const MILLION: u32 = 1_000_000;

/// Whether this request is one of so many in a million.
pub(super) fn falls_on(ppm: u32) -> bool {
    ppm >= MILLION || (ppm > 0 && rand::rng().random_range(0..MILLION) < ppm)
}

/// How long this request is held up, if it is.
pub(super) fn delay(fault: &Fault) -> Option<Duration> {
    let delay = fault.delay.as_ref().filter(|delay| falls_on(delay.ppm))?;
    Some(delay.fixed)
}

/// What this request is answered with, if it fails.
pub(super) fn abort(fault: &Fault, origin: &str) -> Option<Failure> {
    let abort = fault.abort.as_ref().filter(|abort| falls_on(abort.ppm))?;
    let text = format!("a fault that {origin} injects");
    let failure = |status| Failure::new(ResponseFlag::FaultInjected, status, text);
    Some(match abort.status {
        AbortStatus::Http(status) => failure(status),
        AbortStatus::Grpc(code) => failure(http_status(code.number())).with_grpc(code.number()),
    })
}

/// What a caller that does not speak gRPC is told (google.rpc.Code).
fn http_status(code: u8) -> StatusCode {
    match code {
        0 => StatusCode::OK,
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_million_are_drawn() {
        let hits = |ppm| (0..20_000).filter(|_| falls_on(ppm)).count();
        assert_eq!((hits(0), hits(MILLION)), (0, 20_000));
        let tenth = hits(100_000);
        assert!((1_700..2_300).contains(&tenth), "{tenth}");
    }
}
