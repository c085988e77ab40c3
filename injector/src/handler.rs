//! What a probe or hook asks of the app, in the words the sidecar is told it in: one of
//! `httpGet`, `tcpSocket`, `grpc`, every default spelt out, every port a number.

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::{
    GRPCAction, HTTPGetAction, HTTPHeader, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use crate::names;
use crate::view::ContainerView;

/// The three kinds that go over the pod's network, as keys of a probe.
pub(crate) const NETWORK_KINDS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

/// Longer ones cannot be sent.
const MAX_PATH_BYTES: usize = 8 * 1024;

/// What cannot be asked by the sidecar, such as a port that is no number in the container: the
/// handler has to stay as it is.
pub(crate) struct Unresolved(pub(crate) String);

/// `None` when nothing goes over the network (exec, sleep).
pub(crate) fn of_probe(
    probe: &Probe,
    container: &ContainerView,
) -> Result<Option<Map<String, Value>>, Unresolved> {
    if let Some(action) = &probe.http_get {
        return http(action, container).map(Some);
    }
    if let Some(action) = &probe.tcp_socket {
        return tcp(action, container).map(Some);
    }
    probe.grpc.as_ref().map(grpc).transpose()
}

pub(crate) fn of_hook(
    hook: &LifecycleHandler,
    container: &ContainerView,
) -> Result<Option<Map<String, Value>>, Unresolved> {
    if let Some(action) = &hook.http_get {
        return http(action, container).map(Some);
    }
    hook.tcp_socket
        .as_ref()
        .map(|action| tcp(action, container))
        .transpose()
}

fn http(
    action: &HTTPGetAction,
    container: &ContainerView,
) -> Result<Map<String, Value>, Unresolved> {
    let path = text_or(&action.path, "/");
    if !is_sendable_path(path) {
        return Err(Unresolved("its path is too long".into()));
    }
    let scheme = text_or(&action.scheme, "HTTP");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        return Err(Unresolved(format!(
            "scheme {scheme:?} is neither HTTP nor HTTPS"
        )));
    }
    let mut get = Map::new();
    get.insert("path".into(), json!(path));
    get.insert("port".into(), json!(resolve(&action.port, container)?));
    get.insert("scheme".into(), json!(scheme));
    if let Some(headers) = action
        .http_headers
        .as_ref()
        .filter(|headers| !headers.is_empty())
    {
        let headers = headers.iter().map(header).collect::<Result<_, _>>()?;
        get.insert("httpHeaders".into(), Value::Array(headers));
    }
    let host = text_or(&action.host, "");
    if HeaderValue::from_str(host).is_err() {
        return Err(Unresolved(format!("host {host:?} cannot be sent")));
    }
    if !host.is_empty() {
        get.insert("host".into(), json!(host));
    }
    Ok(single("httpGet", Value::Object(get)))
}

fn header(header: &HTTPHeader) -> Result<Value, Unresolved> {
    let HTTPHeader { name, value } = header;
    match (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_str(value),
    ) {
        (Ok(_), Ok(_)) => Ok(json!({"name": name, "value": value})),
        _ => Err(Unresolved(format!("header {name:?} cannot be sent"))),
    }
}

fn text_or<'a>(text: &'a Option<String>, default: &'a str) -> &'a str {
    text.as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or(default)
}

pub(crate) fn is_sendable_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
}

fn tcp(
    action: &TCPSocketAction,
    container: &ContainerView,
) -> Result<Map<String, Value>, Unresolved> {
    let mut socket = Map::new();
    socket.insert("port".into(), json!(resolve(&action.port, container)?));
    if let Some(host) = action.host.as_deref().filter(|host| !host.is_empty()) {
        socket.insert("host".into(), json!(host));
    }
    Ok(single("tcpSocket", Value::Object(socket)))
}

fn grpc(action: &GRPCAction) -> Result<Map<String, Value>, Unresolved> {
    let port = number(action.port)?;
    Ok(single(
        "grpc",
        json!({"port": port, "service": action.service.as_deref().unwrap_or_default()}),
    ))
}

fn single(kind: &str, action: Value) -> Map<String, Value> {
    Map::from_iter([(kind.to_owned(), action)])
}

fn resolve(port: &IntOrString, container: &ContainerView) -> Result<u16, Unresolved> {
    match port {
        IntOrString::Int(port) => number(*port),
        // The kubelet looks among this container's own ports, then tries the text as a number.
        IntOrString::String(name) => {
            let named = container
                .ports()
                .iter()
                .find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => number(port.container_port),
                None => name.parse().map_err(|_| {
                    Unresolved(format!("port {name:?} is none of the container's ports"))
                }),
            }
        }
    }
}

fn number(port: i32) -> Result<u16, Unresolved> {
    let valid = u16::try_from(port).ok().filter(|port| *port > 0);
    valid.ok_or_else(|| Unresolved(format!("port {port} is not between 1 and 65535")))
}

/// The handler that asks the sidecar at `path` instead.
pub(crate) fn through_sidecar(path: &str) -> Value {
    json!({"path": path, "port": names::PROBE_PORT})
}

/// The sidecar's path that a probe or hook asks, if it does.
pub(crate) fn sidecar_path(probe: &Value) -> Option<&str> {
    let get = probe.get("httpGet")?;
    let ours = get.get("port")?.as_u64() == Some(names::PROBE_PORT.into());
    get.get("path")?
        .as_str()
        .filter(|path| ours && path.starts_with("/app-"))
}

/// Puts `action` where the network handler stands in a probe or hook, the other keys and their
/// order unchanged.
pub(crate) fn replace(probe: &mut Value, kind: &str, action: Value) {
    let Value::Object(fields) = probe else { return };
    let replaced = std::mem::take(fields).into_iter().map(|(key, value)| {
        if NETWORK_KINDS.contains(&key.as_str()) {
            (kind.to_owned(), action.clone())
        } else {
            (key, value)
        }
    });
    *fields = replaced.collect();
}
