//! What a probe or hook asks, parsed once: a request, a connection, a gRPC call or a command.
//!
//! Named ports are looked up in the container's own; addresses default to the pod's.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::{
    api::core::v1::{
        Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::NodeError;

/// A question with the answer yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// `GET`, answered by 200 to 399.
    Http(HttpCheck),
    /// A connection that is accepted.
    Tcp(SocketAddr),
    /// `grpc.health.v1.Health/Check`, answered by SERVING.
    Grpc {
        address: SocketAddr,
        service: String,
    },
    /// A command that exits with 0.
    Exec(Vec<String>),
    /// Always yes, after a while.
    Sleep(u64),
}

/// An HTTP GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpCheck {
    pub(crate) tls: bool,
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Check {
    pub(crate) fn of_probe(
        probe: &Probe,
        container: &Container,
        pod: IpAddr,
    ) -> Result<Self, NodeError> {
        one_of(
            probe.exec.as_ref(),
            probe.http_get.as_ref(),
            probe.tcp_socket.as_ref(),
            probe.grpc.as_ref(),
            Target { container, pod },
        )
        .unwrap_or_else(|| {
            refuse(
                container,
                "a probe has none of httpGet, tcpSocket, grpc, exec",
            )
        })
    }

    pub(crate) fn of_hook(
        hook: &LifecycleHandler,
        container: &Container,
        pod: IpAddr,
    ) -> Result<Self, NodeError> {
        if let Some(sleep) = &hook.sleep {
            return Ok(Self::Sleep(sleep.seconds.unsigned_abs()));
        }
        let target = Target { container, pod };
        one_of(
            hook.exec.as_ref(),
            hook.http_get.as_ref(),
            hook.tcp_socket.as_ref(),
            None,
            target,
        )
        .unwrap_or_else(|| {
            refuse(
                container,
                "a lifecycle hook has none of exec, httpGet, sleep",
            )
        })
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(http) => {
                let scheme = if http.tls { "https" } else { "http" };
                write!(f, "GET {scheme}://{}{}", http.address, http.path)
            }
            Self::Tcp(address) => write!(f, "connecting to {address}"),
            Self::Grpc { address, service } if service.is_empty() => {
                write!(f, "gRPC health of {address}")
            }
            Self::Grpc { address, service } => write!(f, "gRPC health of {service} at {address}"),
            Self::Exec(argv) => write!(f, "`{}`", argv.join(" ")),
            Self::Sleep(seconds) => write!(f, "sleep {seconds} s"),
        }
    }
}

#[derive(Clone, Copy)]
struct Target<'a> {
    container: &'a Container,
    pod: IpAddr,
}

fn one_of(
    exec: Option<&ExecAction>,
    http: Option<&HTTPGetAction>,
    tcp: Option<&TCPSocketAction>,
    grpc: Option<&GRPCAction>,
    target: Target<'_>,
) -> Option<Result<Check, NodeError>> {
    if let Some(exec) = exec {
        let argv = exec.command.clone().unwrap_or_default();
        if argv.is_empty() {
            return Some(refuse(target.container, "an exec action has no command"));
        }
        return Some(Ok(Check::Exec(argv)));
    }
    if let Some(http) = http {
        return Some(target.http(http).map(Check::Http));
    }
    if let Some(tcp) = tcp {
        return Some(
            target
                .address(tcp.host.as_deref(), &tcp.port)
                .map(Check::Tcp),
        );
    }
    let grpc = grpc?;
    let service = grpc.service.clone().unwrap_or_default();
    let address = target.address(None, &IntOrString::Int(grpc.port));
    Some(address.map(|address| Check::Grpc { address, service }))
}

impl Target<'_> {
    fn http(self, http: &HTTPGetAction) -> Result<HttpCheck, NodeError> {
        let path = http
            .path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let headers = http.http_headers.iter().flatten();
        Ok(HttpCheck {
            tls: http.scheme.as_deref() == Some("HTTPS"),
            address: self.address(http.host.as_deref(), &http.port)?,
            path: format!("{slash}{path}"),
            headers: headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
        })
    }

    fn address(self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, NodeError> {
        let ip = match host.filter(|host| !host.is_empty()) {
            None => self.pod,
            Some(host) => host.parse().map_err(|_| {
                let what = format!("container {}", self.container.name);
                NodeError::spec(
                    what,
                    format!("the probe's host `{host}` is not an IP address"),
                )
            })?,
        };
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => self
                .container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name))
                .map(|port| port.container_port)
                .or_else(|| name.parse().ok()),
        };
        match number
            .and_then(|number| u16::try_from(number).ok())
            .filter(|port| *port > 0)
        {
            Some(port) => Ok(SocketAddr::new(ip, port)),
            None => refuse(
                self.container,
                &format!("the probe's port {port:?} is not one of its"),
            ),
        }
    }
}

fn refuse<T>(container: &Container, reason: &str) -> Result<T, NodeError> {
    Err(NodeError::spec(
        format!("container {}", container.name),
        reason,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn probes_are_parsed_with_named_ports() {
        let container: Container = serde_json::from_value(json!({
            "name": "web", "ports": [{"name": "http", "containerPort": 8080}],
        }))
        .unwrap();
        let check = |probe: serde_json::Value| {
            let probe: Probe = serde_json::from_value(probe).unwrap();
            let pod = "10.64.0.2".parse().unwrap();
            Check::of_probe(&probe, &container, pod).map(|check| check.to_string())
        };
        let http = json!({"httpGet": {"port": "http", "path": "ready"}});
        assert_eq!(check(http).unwrap(), "GET http://10.64.0.2:8080/ready");
        let tcp = json!({"tcpSocket": {"port": 5, "host": "127.0.0.1"}});
        assert_eq!(check(tcp).unwrap(), "connecting to 127.0.0.1:5");
        let grpc = json!({"grpc": {"port": 9, "service": "s"}});
        assert_eq!(check(grpc).unwrap(), "gRPC health of s at 10.64.0.2:9");
        for wrong in [
            json!({"httpGet": {"port": "grpc"}}),
            json!({"tcpSocket": {"port": 70_000}}),
            json!({"exec": {"command": []}}),
            json!({}),
        ] {
            assert!(
                check(wrong.clone())
                    .unwrap_err()
                    .to_string()
                    .contains("web"),
                "{wrong}"
            );
        }
    }
}
