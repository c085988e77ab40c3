//! Destinations outside the mesh: services whose endpoints are hosts, and pods that may only call
//! what is known.

use std::io::ErrorKind;

use heddle_proto::mesh::MtlsMode;
use heddle_proto::mesh::{
    Address, Endpoint, OutboundPolicy, Protocol, Resolution, Service, address,
};
use heddle_proxy_config::kind::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::app::App;
use crate::support::dns::{Resolver, World, set_name};
use crate::support::eventually;
use crate::support::http::{self, Client};
use crate::support::mesh::{Mesh, Pod, PodSpec};
use crate::support::resources::{ServiceSpec, port, workload};
use crate::support::tcp::connect;

fn plain(mesh: &Mesh, name: &'static str) -> Pod {
    let mut spec = PodSpec::new(name);
    spec.meshed = false;
    mesh.pod(spec)
}

/// The service of an external host, at an allotted address.
fn external(mesh: &Mesh, host: &str) -> ServiceSpec {
    let spec = ServiceSpec::http("api.example.com", 77);
    let endpoint = Endpoint {
        host: host.into(),
        target_ports: vec![8080],
        ..Default::default()
    };
    spec.set_endpoints(&mesh.control, vec![endpoint], &[]);
    let service = Service {
        namespace: "default".into(),
        name: spec.name.into(),
        hosts: vec![spec.name.into()],
        ports: vec![port(80, Protocol::Http1)],
        resolution: Resolution::Dns.into(),
        ..Default::default()
    };
    mesh.control.set(Kind::Service, &spec.full(), &service);
    let address = Address {
        kind: Some(address::Kind::Service(spec.full())),
        ..Default::default()
    };
    mesh.control
        .set(Kind::Address, &spec.ip.to_string(), &address);
    spec
}

fn get(world: &World) -> String {
    let url = "http://api.example.com/";
    world.exec(&["curl", "-s", "--max-time", "20", "-i", url])
}

#[test]
fn an_external_host_is_resolved_and_followed() {
    let mut world = World::new(&[]);
    world.resolver = None;
    let first = plain(&world.mesh, "first");
    let second = plain(&world.mesh, "second");
    let _apps = [
        App::echo(&first.netns, 8080, "first"),
        App::echo(&second.netns, 8080, "second"),
    ];
    let record = |pod: &Pod| format!("--host-record=api.example.com,{},1", pod.ip);
    world.resolver = Some(Resolver::start(&world.mesh.node, &[&record(&first)]));
    let spec = external(&world.mesh, "api.example.com");
    // The name stands for the allotted address in the pod, and never for the sidecar itself.
    set_name(
        &world.mesh.control,
        "api.example.com",
        &[&spec.ip.to_string()],
    );
    let answer = get(&world);
    assert!(answer.contains("x-app: first"), "{answer}");
    assert!(answer.contains("host: api.example.com"), "{answer}");
    // It moves; the name's time is a second, and it is asked for every five at most.
    world.resolver = None;
    let moved = Resolver::start(&world.mesh.node, &[&record(&second)]);
    eventually("the new address is used", || {
        get(&world).contains("x-app: second")
    });
    // Nobody can say: the last answer holds.
    drop(moved);
    eventually("a lookup fails", || {
        let failed = world
            .pod
            .sidecar()
            .metric("heddle_host_lookups_total", &["failed"]);
        failed >= 1.0
    });
    assert!(get(&world).contains("x-app: second"));
}

#[test]
fn a_host_that_nobody_knows_is_said_to_have_no_endpoint() {
    let world = World::new(&["--local=/example.com/"]);
    let spec = external(&world.mesh, "api.example.com");
    let at = spec.at();
    let answer = world
        .pod
        .run(async move { http::get(at, "/").await.unwrap() });
    assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "UH"));
    world.pod.sidecar().logs(&["api.example.com", "no address"]);
}

/// A pod that may only call what is known, and one outside the mesh.
fn kept() -> (Mesh, Pod, Pod) {
    let mesh = Mesh::new();
    let (pod, outside) = (mesh.strict("client"), plain(&mesh, "outside"));
    let mut own = workload(&pod, MtlsMode::Strict, &[]);
    own.outbound = OutboundPolicy::RegistryOnly.into();
    mesh.control.set(Kind::Workload, "default/client", &own);
    (mesh, pod, outside)
}

#[test]
fn where_only_what_is_known_may_be_called_http_is_told_why() {
    let (mesh, pod, outside) = kept();
    let app = App::echo(&outside.netns, 8080, "outside");
    let at = outside.at(8080);
    eventually("the policy holds", || {
        let answer = pod.run(async move { http::get(at, "/").await });
        answer.is_ok_and(|answer| answer.status == 502)
    });
    let before = app.connections();
    let answer = pod.run(async move { http::get(at, "/").await.unwrap() });
    assert_eq!(answer.header("x-heddle-flag"), "NC");
    let text = answer.text();
    assert!(
        text.contains("REGISTRY_ONLY") && text.contains("ServiceEntry"),
        "{text}"
    );
    let answer = pod.run(async move {
        let mut client = Client::http2(at).await.unwrap();
        let request = client.request("GET", "/").body(http::empty()).unwrap();
        client.send(request).await.unwrap().status().as_u16()
    });
    assert_eq!(answer, 502);
    assert_eq!(app.connections(), before, "nothing reached it");
    let sidecar = pod.sidecar();
    assert!(sidecar.metric("heddle_connections_refused_total", &["registry-only"]) >= 2.0);
    let labels = [
        "BlackHoleCluster",
        "response_flags=\"NC\"",
        "response_code=\"502\"",
    ];
    eventually("it is counted", || {
        sidecar.metric("istio_requests_total", &labels) >= 2.0
    });
    drop(mesh);
}

#[test]
fn where_only_what_is_known_may_be_called_other_connections_are_reset() {
    let (mesh, pod, outside) = kept();
    let _app = App::echo(&outside.netns, 8080, "outside");
    let at = outside.at(8080);
    eventually("the policy holds", || {
        let answer = pod.run(async move { http::get(at, "/").await });
        answer.is_ok_and(|answer| answer.status == 502)
    });
    for said in [&b""[..], b"\x16\x03\x01\x00\x05hello", b"EHLO x\r\n"] {
        let end = pod.run(async move {
            let mut stream = connect(at).await;
            stream.write_all(said).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });
        assert_eq!(
            end.unwrap_err().kind(),
            ErrorKind::ConnectionReset,
            "{said:?}"
        );
    }
    let labels = ["BlackHoleCluster", "response_flags=\"NC\""];
    let sidecar = pod.sidecar();
    eventually("they are counted", || {
        sidecar.metric("istio_tcp_connections_closed_total", &labels) == 3.0
    });
    // What is known may be called.
    let server = mesh.strict("server");
    let _web = App::echo(&server.netns, 8080, "web");
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&server], &[]);
    let answer = pod.run(async move { http::get(web.at(), "/").await.unwrap() });
    assert_eq!(answer.status, 200);
}
