//! The application's own TLS, passed through: by the name that its client asks for, where rules ask
//! for names. The servers here answer in the clear with what they saw; the ClientHello is real.

use std::net::SocketAddr;
use std::sync::Arc;

use heddle_proto::mesh::{Destination, Protocol, TcpRule};
use tokio::io::AsyncWriteExt;

use crate::support::mesh::{Mesh, Pod};
use crate::support::resources::ServiceSpec;
use crate::support::tcp::{Server, connect, read_all, read_exact};

/// What a client says first that asks for this server; for none, if that is an address.
fn client_hello(server: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = server.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// Says its name and how many bytes of a first record it was sent.
fn server(pod: &Pod, name: &'static str) -> Server {
    Server::start(&pod.netns, 8080, move |mut stream, _| async move {
        let head = read_exact(&mut stream, 5).await;
        let length = u16::from_be_bytes([head[3], head[4]]).into();
        let rest = read_exact(&mut stream, length).await;
        let said = format!("{name} {}", head.len() + rest.len());
        stream.write_all(said.as_bytes()).await.unwrap();
    })
}

fn names(names: &[&str], to: Destination) -> TcpRule {
    TcpRule {
        origin: names.join(" "),
        sni_hosts: names.iter().map(ToString::to_string).collect(),
        destinations: vec![to],
        ..TcpRule::default()
    }
}

/// Sends in pieces of so many bytes; what came back.
async fn asked(to: SocketAddr, hello: Vec<u8>, pieces: usize) -> String {
    let mut stream = connect(to).await;
    for piece in hello.chunks(pieces) {
        stream.write_all(piece).await.unwrap();
        if pieces < hello.len() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    String::from_utf8(read_all(&mut stream).await.0).unwrap()
}

struct World {
    client: Pod,
    _servers: [Server; 2],
    _pods: [Pod; 2],
    web: ServiceSpec,
    mesh: Mesh,
}

fn world(protocol: Protocol) -> World {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let pods = ["v1", "v2"].map(|name| mesh.strict(name));
    let web = ServiceSpec::new("web", 1, protocol);
    web.set(&mesh.control, &[&pods[0], &pods[1]], &["v1", "v2"]);
    let servers = [server(&pods[0], "v1"), server(&pods[1], "v2")];
    World {
        client,
        _servers: servers,
        _pods: pods,
        web,
        mesh,
    }
}

#[test]
fn the_name_decides() {
    for protocol in [Protocol::Tls, Protocol::Unspecified] {
        let World {
            client,
            web,
            mesh,
            _servers,
            _pods,
        } = &world(protocol);
        let rules = vec![
            names(&["api.example.com"], web.to("v1", 1)),
            names(&["*.Example.com"], web.to("v2", 1)),
        ];
        web.set_tcp_rules(&mesh.control, rules);
        let to = web.at();
        client.run(async move {
            for (name, seen) in [
                ("api.example.com", "v1"),
                ("API.example.com", "v1"),
                ("other.example.com", "v2"),
                ("a.b.example.com", "v2"),
            ] {
                let hello = client_hello(name);
                let expected = format!("{seen} {}", hello.len());
                for pieces in [hello.len(), 600, 100] {
                    assert_eq!(asked(to, hello.clone(), pieces).await, expected, "{name}");
                }
            }
            // No rule takes these.
            for name in ["example.com", "elsewhere.org", "10.0.0.1"] {
                assert_eq!(asked(to, client_hello(name), 10_000).await, "", "{name}");
            }
        });
        client
            .sidecar()
            .logs(&["no rule takes the server's name", "elsewhere.org"]);
        let refused = ["reason=\"no-route\""];
        let refused = client
            .sidecar()
            .metric("heddle_connections_refused_total", &refused);
        assert_eq!(refused, 3.0);
    }
}

#[test]
fn a_rule_without_names_takes_the_rest() {
    let World {
        client,
        web,
        mesh,
        _servers,
        _pods,
    } = &world(Protocol::Tls);
    let rules = vec![
        names(&["api.example.com"], web.to("v1", 1)),
        names(&[], web.to("v2", 1)),
    ];
    web.set_tcp_rules(&mesh.control, rules);
    let to = web.at();
    client.run(async move {
        for (name, seen) in [
            ("api.example.com", "v1 "),
            ("x.org", "v2 "),
            ("10.0.0.1", "v2 "),
        ] {
            let answer = asked(to, client_hello(name), 10_000).await;
            assert!(answer.starts_with(seen), "{name}: {answer}");
        }
        // Not a ClientHello at all, but a record that the server understands.
        let answer = asked(to, b"\x17\x03\x03\x00\x03abc".to_vec(), 10_000).await;
        assert_eq!(answer, "v2 8");
    });
}
