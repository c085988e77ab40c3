//! How connections are protected where a DestinationRule says it: not at all, or by TLS to a server
//! outside the mesh.

use std::sync::Arc;

use heddle_proto::mesh::{ClientTls, MtlsMode, Protocol, TrafficPolicy, client_tls};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::balance::unmeshed;
use crate::support::app::App;
use crate::support::http::{self, Answer};
use crate::support::mesh::{Mesh, Pair, Pod, PodSpec};
use crate::support::resources::ServiceSpec;
use crate::support::tcp::{Server, read_head};

fn tls(mode: client_tls::Mode, more: ClientTls) -> TrafficPolicy {
    TrafficPolicy {
        tls: Some(ClientTls {
            mode: mode.into(),
            ..more
        }),
        ..Default::default()
    }
}

fn simple(more: ClientTls) -> TrafficPolicy {
    tls(client_tls::Mode::Simple, more)
}

#[test]
fn plain_text_goes_to_an_endpoint_with_an_identity_where_the_rule_says_so() {
    let permissive = PodSpec {
        mtls: MtlsMode::Permissive,
        ..PodSpec::new("server")
    };
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), permissive);
    let disable = tls(client_tls::Mode::Disable, ClientTls::default());
    pair.web.set_policy(&pair.mesh.control, disable);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let answer = pair.client.run(http::get(pair.web.at(), "/")).unwrap();
    assert_eq!(answer.status, 200);
    let plain = ["connection_security_policy=\"none\""];
    assert_eq!(
        pair.server.sidecar().metric("istio_requests_total", &plain),
        1.0
    );
}

#[test]
fn mutual_tls_that_was_asked_for_is_never_left_out() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let server = mesh.pod(unmeshed("server"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&server], &[]);
    let mutual = tls(client_tls::Mode::Mesh, ClientTls::default());
    web.set_policy(&mesh.control, mutual);
    let app = App::echo(&server.netns, 8080, "server");
    let answer = client.run(http::get(web.at(), "/")).unwrap();
    assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "UF"));
    assert!(answer.text().contains("no identity"), "{}", answer.text());
    assert_eq!(app.connections(), 0);
}

/// A server outside the mesh, and the file of the root that it is trusted by.
struct Outside {
    _server: Server,
    root: String,
    _dir: tempfile::TempDir,
}

/// Answers over TLS with the name that the client asked for.
fn outside(pod: &Pod) -> Outside {
    use std::os::unix::fs::PermissionsExt;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["api.example.com".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let root = dir.path().join("root.pem");
    std::fs::write(&root, certificate.pem()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start(&pod.netns, 8443, move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let name = stream.get_ref().1.server_name().unwrap_or("").to_owned();
            while !read_head(&mut stream).await.is_empty() {
                let length = name.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    });
    Outside {
        _server: server,
        root: root.to_str().unwrap().to_owned(),
        _dir: dir,
    }
}

#[test]
fn tls_to_a_server_outside_the_mesh_is_made_and_verified() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let pod = mesh.pod(unmeshed("outside"));
    let outside = outside(&pod);
    let ask = |last: u8, more: ClientTls| -> Answer {
        let api = ServiceSpec {
            target: 8443,
            ..ServiceSpec::http(NAMES[usize::from(last)], last)
        };
        api.set(&mesh.control, &[&pod], &[]);
        api.set_policy(&mesh.control, simple(more));
        client.run(http::get(api.at(), "/")).unwrap()
    };
    let trusted = ClientTls {
        ca_certificates: outside.root.clone(),
        ..Default::default()
    };
    let named = ClientTls {
        sni: "api.example.com".into(),
        ..trusted.clone()
    };
    let answer = ask(0, named.clone());
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "api.example.com")
    );
    // Its certificate does not bear the service's own name.
    let answer = ask(1, trusted.clone());
    assert_eq!(
        (answer.status, answer.header("x-heddle-flag")),
        (503, "UF"),
        "{answer:?}"
    );
    let by_name = |name: &str, terms: &ClientTls| ClientTls {
        subject_alt_names: vec!["spiffe://else/where".into(), name.into()],
        ..terms.clone()
    };
    assert_eq!(ask(2, by_name("api.example.com", &trusted)).status, 200);
    assert_eq!(ask(3, by_name("other.example.com", &named)).status, 503);
    let unknown = ClientTls {
        ca_certificates: "/nowhere/root.pem".into(),
        ..named.clone()
    };
    let answer = ask(4, unknown);
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .text()
            .contains("cannot read the roots from /nowhere/root.pem"),
        "{answer:?}"
    );
    let careless = ClientTls {
        insecure_skip_verify: true,
        ..Default::default()
    };
    assert_eq!(ask(5, careless).status, 200);
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
