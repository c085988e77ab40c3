//! Kubernetes' quantities (`500m`, `64Mi`), and what a container is told of its own.

use std::{num::NonZero, thread::available_parallelism};

use k8s_openapi::{
    api::core::v1::{Container, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::NodeError;

/// Limits are told as written; a container without them may use the whole machine.
pub(super) fn resource_value(
    selector: &ResourceFieldSelector,
    container: &Container,
) -> Result<String, NodeError> {
    let resources = container.resources.as_ref();
    let (kind, name) = selector
        .resource
        .split_once('.')
        .unwrap_or((&selector.resource, ""));
    let set = match kind {
        "limits" => resources.and_then(|r| r.limits.as_ref().or(r.requests.as_ref())),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => None,
    };
    let divisor = selector
        .divisor
        .as_ref()
        .and_then(amount)
        .filter(|d| *d > 0.0)
        .unwrap_or(1.0);
    let value = match (set.and_then(|set| set.get(name)).and_then(amount), name) {
        (Some(value), _) => value,
        (None, "cpu") => available_parallelism().map_or(1, NonZero::get) as f64,
        (None, "memory") => 0.0,
        _ => {
            let reason = "allowed are limits and requests of cpu and memory";
            return Err(NodeError::spec(
                format!("resource `{}`", selector.resource),
                reason,
            ));
        }
    };
    Ok(format!("{}", (value / divisor).ceil()))
}

/// A Kubernetes quantity as a number.
pub(crate) fn amount(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}
