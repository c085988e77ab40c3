//! HTTP/1.1 through two sidecars.

use heddle_proto::mesh::Protocol;

use crate::support::app::App;
use crate::support::http::Client;
use crate::support::mesh::Mesh;
use crate::support::resources::{ServiceSpec, header_is, rule};

#[test]
fn keep_alive_with_both_identities_verified() {
    let mesh = Mesh::new();
    let (client, server) = (mesh.strict("client"), mesh.strict("server"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&server], &[]);
    let app = App::echo(&server.netns, 8080, "server");
    let (calls, own) = (100, (client.id(), server.id()));
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        for n in 0..calls {
            let forged = [("x-forwarded-client-cert", "By=me;URI=spiffe://forged")];
            let answer = client.get_with(&format!("/{n}"), &forged).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let expected = format!("By={};URI={}", own.1, own.0);
            assert_eq!(answer.seen("x-forwarded-client-cert"), [expected]);
            assert_eq!(answer.seen("host"), [web.at().to_string()]);
            assert!(answer.text().starts_with(&format!("GET /{n} HTTP/1.1\n")));
        }
    });
    assert_eq!((app.requests(), app.connections()), (calls, 1));
    let requests = |pod: &crate::support::mesh::Pod, reporter: &str| {
        let labels = [reporter, "response_code=\"200\"", "response_flags=\"-\""];
        pod.sidecar().metric("istio_requests_total", &labels)
    };
    assert_eq!(requests(&client, "reporter=\"source\""), calls as f64);
    assert_eq!(requests(&server, "reporter=\"destination\""), calls as f64);
}

#[test]
fn a_header_decides_and_the_rest_is_split_exactly() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let (v1, v2) = (mesh.strict("v1"), mesh.strict("v2"));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&v1, &v2], &["v1", "v2"]);
    let mut premium = rule("premium", vec![web.to("v2", 100)]);
    premium.matches = vec![header_is("user-type", "premium")];
    let rest = rule("rest", vec![web.to("v1", 90), web.to("v2", 10)]);
    web.set_rules(&mesh.control, vec![premium, rest]);
    let _apps = [
        App::echo(&v1.netns, 8080, "v1"),
        App::echo(&v2.netns, 8080, "v2"),
    ];
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        for block in 0..30 {
            let mut v2 = 0;
            for _ in 0..10 {
                let answer = client.get("/").await.unwrap();
                v2 += usize::from(answer.app() == "v2");
                let premium = [("User-Type", "premium")];
                let answer = client.get_with("/", &premium).await.unwrap();
                assert_eq!(answer.app(), "v2");
            }
            assert_eq!(v2, 1, "block {block}");
        }
    });
    assert_eq!(mesh.control.nacks(), [""; 0]);
    let _ = Protocol::Http1;
}
