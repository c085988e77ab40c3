//! Paths that are spelled to get past a rule: what decides and what the application sees is the same
//! path, in its one normal spelling (see docs/protocols.md).

use heddle_proto::mesh::{HttpMatch, Protocol, StringMatch, string_match};

use crate::support::app::App;
use crate::support::http::Client;
use crate::support::mesh::Mesh;
use crate::support::resources::{ServiceSpec, rule};

#[test]
fn the_rule_and_the_application_see_the_same_path() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mesh = Mesh::new();
        let (client, open, guarded) = (
            mesh.strict("client"),
            mesh.strict("open"),
            mesh.strict("guarded"),
        );
        let web = ServiceSpec::new("web", 1, protocol);
        web.set(&mesh.control, &[&open, &guarded], &["open", "guarded"]);
        let mut admin = rule("admin", vec![web.to("guarded", 1)]);
        let prefix = string_match::Kind::Prefix("/admin".into());
        admin.matches = vec![HttpMatch {
            path: Some(StringMatch { kind: Some(prefix) }),
            ..HttpMatch::default()
        }];
        let rest = rule("rest", vec![web.to("open", 1)]);
        web.set_rules(&mesh.control, vec![admin, rest]);
        let _apps = [
            App::echo(&open.netns, 8080, "open"),
            App::echo(&guarded.netns, 8080, "guarded"),
        ];
        client.run(async move {
            let mut client = match protocol {
                Protocol::Http1 => Client::http1(web.at()).await.unwrap(),
                _ => Client::http2(web.at()).await.unwrap(),
            };
            for (asked, app, seen) in [
                ("/admin/x", "guarded", "/admin/x"),
                ("/public/../admin/x", "guarded", "/admin/x"),
                ("/public/%2e%2E/admin/x?y=..", "guarded", "/admin/x?y=.."),
                ("/./%61dmin", "guarded", "/admin"),
                ("/public\\..\\admin", "guarded", "/admin"),
                ("/../../admin", "guarded", "/admin"),
                ("/admin/../public", "open", "/public"),
                // Not the same path to every application: left as they came.
                ("//admin", "open", "//admin"),
                ("/%2Fadmin", "open", "/%2Fadmin"),
                ("/;/admin", "open", "/;/admin"),
                ("/%252e%252e/admin", "open", "/%252e%252e/admin"),
            ] {
                let answer = client.get(asked).await.unwrap();
                assert_eq!(answer.app(), app, "{asked}");
                let line = answer.text();
                let line = line.lines().next().unwrap();
                assert!(line.contains(&format!("{seen} HTTP/")), "{asked}: {line}");
            }
        });
    }
}
