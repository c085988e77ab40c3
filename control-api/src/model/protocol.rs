//! What is spoken at a port: appProtocol first, then the port name's prefix, then well-known ports
//! where the server speaks first and detection would stall; else undeclared.

use heddle_proto::mesh::Protocol;

/// Ports whose servers speak first, or whose clients never speak HTTP: smtp, mysql, postgres,
/// redis, memcached, mongodb.
const OPAQUE_PORTS: [u16; 8] = [25, 587, 3306, 5432, 6379, 11_211, 27_017, 4444];

pub(super) fn declared(app_protocol: Option<&str>, name: &str) -> Option<Protocol> {
    if let Some(declared) = app_protocol.and_then(|text| of_word(&text.to_ascii_lowercase())) {
        return Some(declared);
    }
    let name = name.to_ascii_lowercase();
    // `grpc-web` is HTTP; every other prefix ends at the first `-`.
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return Some(Protocol::Http1);
    }
    of_word(name.split('-').next().unwrap_or_default())
}

/// `numbers`: the service's port and the pod's.
pub(super) fn of_port(app_protocol: Option<&str>, name: &str, numbers: &[u16]) -> Protocol {
    declared(app_protocol, name).unwrap_or_else(|| {
        let opaque = numbers.iter().any(|number| OPAQUE_PORTS.contains(number));
        if opaque {
            Protocol::Tcp
        } else {
            Protocol::Unspecified
        }
    })
}

fn of_word(word: &str) -> Option<Protocol> {
    Some(match word {
        "http" | "kubernetes.io/ws" | "ws" | "grpc-web" => Protocol::Http1,
        "http2" | "h2c" | "kubernetes.io/h2c" => Protocol::Http2,
        "grpc" => Protocol::Grpc,
        "tcp" | "mysql" | "mongo" | "redis" | "postgres" | "postgresql" | "linkerd.io/opaque" => {
            Protocol::Tcp
        }
        "tls" | "https" | "wss" | "kubernetes.io/wss" => Protocol::Tls,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_ranked() {
        for (app_protocol, name, numbers, protocol) in [
            (None, "http-web", [80, 8080], Protocol::Http1),
            (None, "HTTP", [80, 80], Protocol::Http1),
            (None, "grpc-web", [80, 80], Protocol::Http1),
            (None, "grpc-api", [80, 80], Protocol::Grpc),
            (
                Some("kubernetes.io/h2c"),
                "tcp-x",
                [80, 80],
                Protocol::Http2,
            ),
            (Some("example.com/own"), "tcp-x", [80, 80], Protocol::Tcp),
            (None, "", [80, 6379], Protocol::Tcp),
            (None, "http", [6379, 6379], Protocol::Http1),
            (None, "httpx", [80, 80], Protocol::Unspecified),
            (None, "", [80, 9080], Protocol::Unspecified),
        ] {
            assert_eq!(
                of_port(app_protocol, name, &numbers),
                protocol,
                "{app_protocol:?} {name}"
            );
        }
    }
}
