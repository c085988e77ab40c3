//! Who may come in, and who may be called.

use heddle_identity::MeshTls;
use heddle_proto::mesh::{MtlsMode, Protocol};
use heddle_proxy_config::kind::Kind;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{self, Client};
use crate::support::mesh::{Mesh, Pair, Pod, PodSpec, id};
use crate::support::resources::{endpoint, workload};
use crate::support::tcp::{Server, connect, exchange, read_all, read_exact};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Speaks TLS to a pod from outside the mesh, then HTTP; what came back before the end.
fn call_with(mesh: &Mesh, tls: &MeshTls, server: &Pod) -> Result<String, std::io::Error> {
    let config = tls.client_config(&server.id(), &[b"heddle/http1"]);
    let to = server.at(8080);
    mesh.node.run(async move {
        let name = ServerName::IpAddress(to.ip().into());
        let stream = connect(to).await;
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        stream.write_all(REQUEST).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
}

fn refused(pod: &Pod, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    let name = "heddle_connections_refused_total";
    pod.sidecar().metric(name, &[&reason])
}

#[test]
fn strict_refuses_plain_text() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.server.at(8080);
    let answer = pair
        .mesh
        .node
        .run(async move { exchange(to, REQUEST).await });
    assert!(!answer.contains("HTTP"), "{answer:?}");
    let sidecar = pair.server.sidecar();
    sidecar.logs(&["refused", "plain text", "STRICT", "10.78.0.1"]);
    assert_eq!(refused(&pair.server, "plain-text"), 1.0);
    assert_eq!(app.connections(), 0);
}

#[test]
fn strict_refuses_a_foreign_authority() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let foreign = pair.mesh.issuer.foreign_tls(&pair.client.id());
    // It trusts ours, so that it is the server that refuses.
    foreign
        .set_roots(pair.mesh.issuer.tls(&pair.client.id()).roots().to_vec())
        .unwrap();
    call_with(&pair.mesh, &foreign, &pair.server).unwrap_err();
    pair.server.sidecar().logs(&[
        "refused",
        "signed by an authority that is not in our trust bundle",
    ]);
    assert_eq!(refused(&pair.server, "tls"), 1.0);
    assert_eq!(app.connections(), 0);
}

#[test]
fn strict_refuses_a_client_without_a_certificate() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.server.at(8080).to_string();
    pair.mesh.node.exec(
        "sh",
        &[
            "-c",
            &format!("echo | timeout 5 openssl s_client -connect {to} >/dev/null 2>&1 || true"),
        ],
    );
    pair.server
        .sidecar()
        .logs(&["refused", "peer presented no certificate"]);
    assert_eq!(refused(&pair.server, "tls"), 1.0);
    assert_eq!(app.connections(), 0);
}

#[test]
fn strict_takes_any_identity_of_the_trust_domain() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let tls = pair.mesh.issuer.tls(&id("elsewhere", "somebody"));
    let answer = call_with(&pair.mesh, &tls, &pair.server).unwrap();
    assert!(answer.contains("ns/elsewhere/sa/somebody"), "{answer}");
}

#[test]
fn a_client_refuses_a_server_that_is_somebody_else() {
    let pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let mut wrong = endpoint(&pair.server, &[8080]);
    wrong.identity = id("default", "other").to_string();
    pair.web.set_endpoints(&pair.mesh.control, vec![wrong], &[]);
    let web = pair.web.at();
    let answer = pair.client.run(http::get(web, "/")).unwrap();
    assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "UF"));
    let text = answer.text();
    assert!(
        text.contains("expected spiffe://cluster.local/ns/default/sa/other"),
        "{text}"
    );
    pair.client
        .sidecar()
        .logs(&["refused", "sa/other got spiffe", "sa/server"]);
    assert!(refused(&pair.client, "upstream-tls") >= 1.0);
    assert_eq!(app.connections(), 0);
}

fn permissive() -> PodSpec {
    PodSpec {
        mtls: MtlsMode::Permissive,
        ..PodSpec::new("server")
    }
}

#[test]
fn permissive_takes_plain_text_and_mesh_tls() {
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), permissive());
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let (web, to) = (pair.web.at(), pair.server.at(8080));
    let forged = async move {
        let mut client = Client::http1(to).await.unwrap();
        let forged = [
            ("x-forwarded-client-cert", "URI=spiffe://forged"),
            ("x_forwarded_client_cert", "URI=spiffe://forged"),
            ("X-Forwarded_Client-Cert", "URI=spiffe://forged"),
            ("x_forwarded_for", "kept"),
        ];
        client.get_with("/", &forged).await.unwrap()
    };
    let plain = pair.mesh.node.run(forged);
    assert_eq!(plain.status, 200);
    assert_eq!(plain.seen("x-forwarded-client-cert"), [""; 0]);
    assert!(!plain.text().contains("forged"), "{}", plain.text());
    assert_eq!(plain.seen("x_forwarded_for"), ["kept"]);
    let meshed = pair.client.run(http::get(web, "/")).unwrap();
    let identity = &meshed.seen("x-forwarded-client-cert")[0];
    assert!(identity.ends_with("sa/client"), "{identity}");
}

#[test]
fn one_port_in_plain_text_is_called_so() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.server.at(8080);
    let mut open = workload(&pair.server, MtlsMode::Strict, &[(8080, Protocol::Http1)]);
    open.ports[0].mtls = MtlsMode::Disable.into();
    let name = "default/server";
    pair.mesh.control.set(Kind::Workload, name, &open);
    let mut there = endpoint(&pair.server, &[8080]);
    there.plain_ports = vec![8080];
    pair.web.set_endpoints(&pair.mesh.control, vec![there], &[]);
    let in_the_clear = || {
        let answer = pair
            .mesh
            .node
            .run(async move { exchange(to, REQUEST).await });
        answer.contains("200 OK")
    };
    eventually("the port speaks plain text", in_the_clear);
    let web = pair.web.at();
    let answer = pair.client.run(http::get(web, "/")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.seen("x-forwarded-client-cert"), [""; 0]);
}

#[test]
fn a_caller_cannot_pass_http_off_as_bytes() {
    let pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let declared = workload(&pair.server, MtlsMode::Strict, &[(8080, Protocol::Http1)]);
    let control = &pair.mesh.control;
    control.set(Kind::Workload, "default/server", &declared);
    let tls = pair.mesh.issuer.tls(&id("default", "caller"));
    let config = tls.client_config(&pair.server.id(), &[b"heddle/tcp"]);
    let to = pair.server.at(8080);
    let forged = || {
        let connector = TlsConnector::from(std::sync::Arc::clone(&config));
        pair.mesh.node.run(async move {
            let name = ServerName::IpAddress(to.ip().into());
            let mut stream = connector.connect(name, connect(to).await).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                x-forwarded-client-cert: URI=spiffe://forged\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        })
    };
    crate::support::eventually("the caller is who its certificate says", || {
        let answer = forged();
        answer.contains("sa/caller") && !answer.contains("forged")
    });
}

#[test]
fn permissive_waits_for_a_slow_client_hello() {
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), permissive());
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let tls = pair.mesh.issuer.tls(&id("default", "slow"));
    let config = tls.client_config(&pair.server.id(), &[b"heddle/http1"]);
    let to = pair.server.at(8080);
    let answer = pair.mesh.node.run(async move {
        let stream = connect(to).await;
        // Longer than a server that speaks first is waited for.
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        let name = ServerName::IpAddress(to.ip().into());
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let mut stream = stream.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    assert!(answer.contains("sa/slow"), "{answer}");
}

#[test]
fn permissive_lets_the_applications_own_tls_and_a_server_that_speaks_first_pass() {
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), permissive());
    let hello = Server::start(&pair.server.netns, 9443, |mut stream, _| async move {
        // The first bytes of a handshake record, untouched.
        let head = read_exact(&mut stream, 5).await;
        let length = u16::from_be_bytes([head[3], head[4]]);
        read_exact(&mut stream, length.into()).await;
        stream.write_all(&head[..2]).await.unwrap();
    });
    let greeting = Server::start(&pair.server.netns, 2525, |mut stream, _| async move {
        stream.write_all(b"220 hi").await.unwrap();
    });
    let (tls, smtp) = (pair.server.at(9443), pair.server.at(2525));
    pair.mesh.node.run(async move {
        let mut roots = rustls::RootCertStore::empty();
        roots.roots.clear();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("app.example").unwrap();
        let stream = connect(tls).await;
        // The server is no TLS server; it has seen a ClientHello, which is what is asked.
        let handshake = TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream);
        handshake.await.unwrap_err();
        assert_eq!(exchange(smtp, b"").await, "220 hi");
    });
    assert_eq!((hello.connections(), greeting.connections()), (1, 1));
}

#[test]
fn disable_touches_nothing() {
    let server = PodSpec {
        mtls: MtlsMode::Disable,
        ..PodSpec::new("server")
    };
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), server);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let mut plain = endpoint(&pair.server, &[8080]);
    plain.identity.clear();
    pair.web.set_endpoints(&pair.mesh.control, vec![plain], &[]);
    let web = pair.web.at();
    let answer = pair.client.run(http::get(web, "/")).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.seen("x-forwarded-client-cert"), [""; 0]);
}

#[test]
fn a_policy_that_becomes_strict_is_live() {
    let pair = Pair::with(Protocol::Http1, PodSpec::new("client"), permissive());
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let to = pair.server.at(8080);
    let plain = |mesh: &Mesh| mesh.node.run(async move { exchange(to, REQUEST).await });
    assert!(plain(&pair.mesh).contains("200 OK"));
    let strict = workload(&pair.server, MtlsMode::Strict, &[]);
    pair.mesh
        .control
        .set(Kind::Workload, "default/server", &strict);
    crate::support::eventually("plain text is refused", || {
        !plain(&pair.mesh).contains("200 OK")
    });
}

#[test]
fn a_policy_that_becomes_strict_ends_plain_text_and_nothing_else() {
    let pair = Pair::with(Protocol::Tcp, PodSpec::new("client"), permissive());
    let echo = |mut stream: tokio::net::TcpStream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    };
    let chat = Server::start(&pair.server.netns, 8080, echo);
    let _web = App::echo(&pair.server.netns, 8090, "server");
    // Opaque and HTTP in plain text, and one over the mesh; each has been of use.
    async fn say(stream: &mut tokio::net::TcpStream) {
        stream.write_all(b"word").await.unwrap();
        assert_eq!(read_exact(stream, 4).await, b"word");
    }
    let (opaque, web, meshed) = (pair.server.at(8080), pair.server.at(8090), pair.web.at());
    let (mut opaque, mut web) = pair.mesh.node.run(async move {
        let mut opaque = connect(opaque).await;
        say(&mut opaque).await;
        let mut web = Client::http1(web).await.unwrap();
        assert_eq!(web.get("/").await.unwrap().status, 200);
        (opaque, web)
    });
    let mut meshed = pair.client.run(async move {
        let mut meshed = connect(meshed).await;
        say(&mut meshed).await;
        meshed
    });
    let set = |mode, ports: &[_]| {
        let resource = workload(&pair.server, mode, ports);
        let name = "default/server";
        pair.mesh.control.set(Kind::Workload, name, &resource);
    };
    // A change that denies nothing closes nothing.
    set(MtlsMode::Disable, &[]);
    opaque = pair.mesh.node.run(async move {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        say(&mut opaque).await;
        opaque
    });
    set(MtlsMode::Strict, &[]);
    pair.mesh.node.run(async move {
        let (left, _) = read_all(&mut opaque).await;
        assert_eq!(left, b"");
        let closed = async { while web.get("/").await.is_ok() {} };
        tokio::time::timeout(crate::support::PATIENCE, closed)
            .await
            .unwrap();
    });
    pair.client.run(async move { say(&mut meshed).await });
    assert_eq!(chat.connections(), 2);
    assert_eq!(refused(&pair.server, "policy-changed"), 2.0);
    pair.server
        .sidecar()
        .logs(&["closed", "plain text", "STRICT"]);
}

#[test]
fn a_pod_reaches_itself_by_its_service_and_on_loopback() {
    let mesh = Mesh::new();
    let pod = mesh.strict("alone");
    let web = crate::support::resources::ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&pod], &[]);
    let _app = App::echo(&pod.netns, 8080, "alone");
    let answer = pod.run(http::get(web.at(), "/")).unwrap();
    assert!(answer.seen("x-forwarded-client-cert")[0].ends_with("sa/alone"));
    let answer = pod.run(http::get(([127, 0, 0, 1], 8080).into(), "/"));
    assert_eq!(answer.unwrap().seen("x-forwarded-client-cert"), [""; 0]);
}

#[test]
fn the_sidecars_own_ports_lead_nowhere() {
    let pair = Pair::new(Protocol::Http1);
    for port in [15001, 15006] {
        let to = pair.server.at(port);
        let answer = pair
            .mesh
            .node
            .run(async move { exchange(to, REQUEST).await });
        assert_eq!(answer, "");
    }
    assert_eq!(
        refused(&pair.server, "loop") + refused(&pair.server, "not-redirected"),
        2.0
    );
}

#[test]
fn another_process_of_the_sidecars_user_cannot_look_into_it() {
    let mesh = Mesh::new();
    let pod = mesh.strict("server");
    let root = format!("/proc/{}/root/", pod.sidecar().pid());
    let looked = std::process::Command::new("setpriv")
        .args(["--reuid", "1337", "--regid", "1337", "--clear-groups"])
        .args(["ls", &root])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&looked.stderr);
    assert!(said.contains("Permission denied"), "{said}");
}
