//! What a request leaves behind for whoever looks for it later.

use heddle_proto::mesh::{Protocol, Telemetry};
use heddle_proxy_config::kind::Kind;

use crate::support::app::App;
use crate::support::collector::{Collector, attribute};
use crate::support::eventually;
use crate::support::http::Client;
use crate::support::mesh::{Mesh, Pair};
use crate::support::resources::{ServiceSpec, rule};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sample(mesh: &Mesh, sampling_ppm: u32, endpoint: &str) {
    let telemetry = Telemetry {
        sampling_ppm,
        otlp_endpoint: endpoint.into(),
        otlp_identity: String::new(),
    };
    mesh.control.set(Kind::Telemetry, "default", &telemetry);
}

#[test]
fn a_sampled_request_leaves_a_client_and_a_server_span() {
    let mesh = Mesh::new();
    let (collector, address) = Collector::start(&mesh);
    sample(&mesh, 0, &format!("http://{address}"));
    let (client, server) = (mesh.strict("client"), mesh.strict("server"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&server], &["v1"]);
    web.set_rules(
        &mesh.control,
        vec![rule("VirtualService/default/web#0", vec![web.to("v1", 1)])],
    );
    let _app = App::echo(&server.netns, 8080, "server");
    let seen = client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let sampled = [("traceparent", parent.as_str())];
        let answer = client.get_with("/cart?id=1", &sampled).await.unwrap();
        answer.seen("traceparent")
    });
    eventually("both spans have arrived", || collector.spans().len() >= 2);
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let of_kind = |kind: i32| spans.iter().find(|span| span.kind == kind).unwrap();
    let (out, inn) = (of_kind(3), of_kind(2));
    assert_eq!(
        (hex(&out.trace_id), hex(&inn.trace_id)),
        (TRACE.into(), TRACE.into())
    );
    assert_eq!(hex(&out.parent_span_id), PARENT);
    assert_eq!(inn.parent_span_id, out.span_id);
    assert_eq!(seen, [format!("00-{TRACE}-{}-01", hex(&inn.span_id))]);
    let said = |key: &str| attribute(out, key);
    let all = format!("{:#?}", out.attributes);
    assert!(all.contains("VirtualService/default/web#0"), "{all}");
    assert!(
        all.contains("\"v1\"") && all.contains("default/server"),
        "{all}"
    );
    assert_eq!(said("http.request.method"), "GET");
    assert_eq!(said("http.response.status_code"), "200");
    for (span, own, peer) in [(out, "client", "server"), (inn, "server", "client")] {
        let identity = |name: &str| format!("spiffe://cluster.local/ns/default/sa/{name}");
        assert_eq!(attribute(span, "heddle.identity.local"), identity(own));
        assert_eq!(attribute(span, "heddle.identity.peer"), identity(peer));
    }
}

#[test]
fn an_unsampled_request_says_so_and_leaves_nothing() {
    let pair = Pair::new(Protocol::Http1);
    let (collector, address) = Collector::start(&pair.mesh);
    sample(&pair.mesh, 0, &format!("http://{address}"));
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    eventually("the decision travels", || {
        let answer = pair.client.run(async move {
            let mut client = Client::http1(web).await.unwrap();
            client.get("/").await.unwrap()
        });
        assert_eq!(answer.seen("traceparent"), [""; 0]);
        answer.seen("b3") == ["0"]
    });
    assert_eq!(collector.spans().len(), 0);
}

#[test]
fn an_unreachable_collector_costs_no_request() {
    let pair = Pair::new(Protocol::Http1);
    sample(&pair.mesh, 1_000_000, "http://10.78.0.1:1");
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        for _ in 0..100 {
            assert_eq!(client.get("/").await.unwrap().status, 200);
        }
    });
}
