//! What a mesh that is up consists of, and what a person can type next, made of its own names.

use std::time::Duration;

use serde_json::Value;

use crate::api::Status;
use crate::commands::status;
use crate::terminal::Style;

/// The mesh's flag, where it is needed.
pub(super) fn flag(mesh: &str) -> String {
    if mesh == "default" {
        String::new()
    } else {
        format!(" --mesh {mesh}")
    }
}

/// The text.
pub(super) fn summary(last: &Status, objects: &[Value], took: Duration, style: Style) -> String {
    let mut out = format!(
        "\n{}  {}  {} pods in {:.1} s\n\n",
        style.bold(&format!("mesh {}", last.mesh)),
        style.green("is up"),
        last.pods.len(),
        took.as_secs_f64()
    );
    out.push_str(&status::pods(&last.pods, style));
    out.push_str(&status::troubles(last, style));
    let mesh = flag(&last.mesh);
    out.push_str(&format!("\n{}\n", style.dim("what to type next")));
    let mut next = vec![format!("heddle status{mesh}")];
    next.extend(
        example_request(last, objects).map(|request| format!("heddle exec{mesh}{request}")),
    );
    next.push(format!("heddle traces{mesh} --last"));
    next.push(format!("heddle down{mesh}"));
    for line in next {
        out.push_str(&format!("  {line}\n"));
    }
    out
}

/// `productpage-v1 -- curl -s http://reviews:9080/`: from the first meshed pod to a Service whose pods
/// are others.
fn example_request(last: &Status, objects: &[Value]) -> Option<String> {
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let routed = |service: &Value| {
        let hosts = of_kind("VirtualService")
            .filter_map(|route| route["spec"]["hosts"].as_array())
            .flatten();
        hosts
            .filter_map(Value::as_str)
            .any(|host| host.split('.').next() == service["metadata"]["name"].as_str())
    };
    let mut services: Vec<&Value> = of_kind("Service")
        .filter(|service| service["spec"]["selector"].is_object())
        .collect();
    // Those with routes are worth a look first.
    services.sort_by_key(|service| !routed(service));
    let pods = || last.pods.iter().filter(|pod| pod.injected && pod.ready);
    let (pod, service) = services.iter().find_map(|service| {
        let metadata = &service["metadata"];
        let name = metadata["name"].as_str()?;
        let client = pods().find(|pod| {
            metadata["namespace"] == pod.namespace.as_str() && !pod.name.starts_with(name)
        })?;
        Some((client, *service))
    })?;
    let owner = pod
        .owner
        .split(' ')
        .next()
        .and_then(|owner| owner.split_once('/'));
    let name = owner.map_or(pod.name.as_str(), |(_, name)| name);
    let namespace = if pod.namespace == "default" {
        String::new()
    } else {
        format!(" -n {}", pod.namespace)
    };
    let port = match service["spec"]["ports"][0]["port"].as_u64()? {
        80 => String::new(),
        port => format!(":{port}"),
    };
    Some(format!(
        "{namespace} {name} -- curl -s http://{}{port}/",
        service["metadata"]["name"].as_str()?
    ))
}
