//! Retry policies: conditions by name are what the data path asks for, once.

use heddle_proto::mesh;
use http::StatusCode;

use super::super::{Problem, Refusal};
use super::duration;
use crate::snapshot::{GrpcCode, RetryOn, RetryPolicy};

pub(super) fn policy(policy: mesh::RetryPolicy) -> Result<RetryPolicy, Refusal> {
    Ok(RetryPolicy {
        attempts: policy.attempts,
        per_try_timeout: duration(policy.per_try_timeout)
            .map_err(|refusal| refusal.within("per_try_timeout"))?,
        retry_on: conditions(&policy.retry_on)?,
        backoff: duration(policy.backoff).map_err(|refusal| refusal.within("backoff"))?,
        ignore_previous_hosts: policy.ignore_previous_hosts,
    })
}

fn conditions(names: &[String]) -> Result<RetryOn, Refusal> {
    let mut on = RetryOn::default();
    for (index, name) in names.iter().enumerate() {
        match name.as_str() {
            "5xx" => on.server_errors = true,
            "gateway-error" => on.gateway_errors = true,
            "reset" => on.resets = true,
            "retriable-4xx" => on.conflicts = true,
            // What was not sent or not looked at is tried again anyway; statuses come by number.
            "connect-failure"
            | "refused-stream"
            | "reset-before-request"
            | "retriable-status-codes" => {}
            other => {
                if let Some(code) = grpc_code(other) {
                    on.grpc.push(code);
                } else if let Some(status) = status(other) {
                    on.statuses.push(status);
                } else {
                    let problem = Problem::RetryCondition(other.to_owned());
                    return Err(Refusal::from(problem).within(format!("retry_on[{index}]")));
                }
            }
        }
    }
    Ok(on)
}

fn status(text: &str) -> Option<StatusCode> {
    let code = text.parse().ok().filter(|code| (100..600).contains(code))?;
    StatusCode::from_u16(code).ok()
}

fn grpc_code(name: &str) -> Option<GrpcCode> {
    let code = match name {
        "cancelled" => 1,
        "unknown" => 2,
        "deadline-exceeded" => 4,
        "already-exists" => 6,
        "resource-exhausted" => 8,
        "internal" => 13,
        "unavailable" => 14,
        _ => return None,
    };
    GrpcCode::new(code)
}
