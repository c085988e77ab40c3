//! What routes do beside sending requests on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use heddle_proto::mesh::{
    Cookie, Cors, Destination, DirectResponse, Fault, Header, HeaderChanges, HttpRule, Mirror,
    PathRewrite, Protocol, Redirect, Rewrite, Sticky, StringMatch, fault, header_changes::Changes,
    http_rule, path_rewrite, sticky, string_match,
};
use http::Response;
use http_body_util::BodyExt;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{Answer, Client, empty, full};
use crate::support::mesh::{Mesh, Pair, Pod};
use crate::support::resources::{ServiceSpec, millis, rule};
use crate::support::tcp::{Server, read_all};

const ALL: u32 = 1_000_000;

fn metric(pod: &Pod, name: &str, labels: &[&str]) -> usize {
    pod.sidecar().metric(name, labels) as usize
}

/// A pair whose service has this rule, and an application that echoes.
fn pair(protocol: Protocol, change: impl FnOnce(&mut HttpRule)) -> (Pair, App) {
    let pair = Pair::new(protocol);
    let mut rule = rule("VirtualService/default/web#0", vec![pair.web.to("", 1)]);
    change(&mut rule);
    pair.web.set_rules(&pair.mesh.control, vec![rule]);
    let app = App::echo(&pair.server.netns, 8080, "server");
    (pair, app)
}

fn get(pair: &Pair, path: &'static str, headers: &'static [(&str, &str)]) -> Answer {
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        client.get_with(path, headers).await.unwrap()
    })
}

#[test]
fn a_delay_holds_a_request_up_and_is_told() {
    let (pair, app) = pair(Protocol::Http1, |rule| {
        let delay = fault::Delay {
            fixed: millis(300),
            ppm: ALL,
        };
        rule.fault = Some(Fault {
            delay: Some(delay),
            abort: None,
        });
        // What was held up on purpose has its whole time left.
        rule.timeout = millis(200);
    });
    let begun = Instant::now();
    assert_eq!(get(&pair, "/", &[]).app(), "server");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(app.requests(), 1);
    let labels = ["response_flags=\"DI\"", "response_code=\"200\""];
    assert_eq!(metric(&pair.client, "istio_requests_total", &labels), 1);
}

#[test]
fn an_abort_answers_in_place_of_the_application() {
    let abort = |status| Fault {
        delay: None,
        abort: Some(fault::Abort {
            status: Some(status),
            ppm: ALL,
        }),
    };
    let (pair, app) = pair(Protocol::Http2, |rule| {
        rule.fault = Some(abort(fault::abort::Status::Grpc(14)));
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http2(web).await.unwrap();
        let grpc = [("content-type", "application/grpc")];
        let answer = client.get_with("/", &grpc).await.unwrap();
        assert_eq!((answer.status, answer.header("grpc-status")), (200, "14"));
        let answer = client.get("/").await.unwrap();
        assert_eq!((answer.status, answer.header("x-heddle-flag")), (503, "FI"));
        assert!(answer.text().contains("VirtualService/default/web#0"));
    });
    assert_eq!(app.requests(), 0);
    let labels = ["response_flags=\"FI\"", "destination_service_name=\"web\""];
    assert_eq!(metric(&pair.client, "istio_requests_total", &labels), 2);
}

#[test]
fn redirects_and_fixed_answers_need_no_application() {
    let (pair, app) = pair(Protocol::Http1, |rule| {
        rule.destinations.clear();
        rule.answer = Some(http_rule::Answer::Redirect(Redirect {
            scheme: "https".into(),
            authority: "other.example".into(),
            path: prefix("/old", "/new", false),
            status: 308,
            ..Redirect::default()
        }));
    });
    let answer = get(&pair, "/old/page?a=b", &[]);
    let location = answer.header("location");
    assert_eq!(
        (answer.status, location),
        (308, "https://other.example/new/page?a=b")
    );

    let mut fixed = rule("fixed", vec![]);
    fixed.answer = Some(http_rule::Answer::DirectResponse(DirectResponse {
        status: 418,
        body: b"short and stout".to_vec(),
        headers: vec![header("content-type", "text/teapot")],
    }));
    fixed.headers = Some(HeaderChanges {
        response: Some(Changes {
            add: vec![header("x-by", "the route")],
            ..Changes::default()
        }),
        ..HeaderChanges::default()
    });
    pair.web.set_rules(&pair.mesh.control, vec![fixed]);
    eventually("the routes are there", || {
        pair.client.sidecar().keeps("fixed")
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        // A body that nobody reads does not end the connection.
        let answer = client.post("/", "tea").await.unwrap();
        assert_eq!(
            (answer.status, &*answer.body),
            (418, &b"short and stout"[..])
        );
        assert_eq!(answer.header("content-type"), "text/teapot");
        assert_eq!(answer.header("x-by"), "the route");
        let head = client.request("HEAD", "/").body(empty()).unwrap();
        let answer = client.call(head).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (418, 0));
    });
    assert_eq!(app.requests(), 0);
    let labels = ["response_code=\"418\"", "response_flags=\"-\""];
    assert_eq!(metric(&pair.client, "istio_requests_total", &labels), 2);
}

fn prefix(prefix: &str, replacement: &str, segments: bool) -> Option<PathRewrite> {
    let prefix = path_rewrite::PrefixRewrite {
        prefix: prefix.into(),
        replacement: replacement.into(),
        segments,
    };
    Some(PathRewrite {
        kind: Some(path_rewrite::Kind::Prefix(prefix)),
    })
}

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.into(),
        value: value.into(),
    }
}

#[test]
fn paths_hosts_and_headers_change_by_rule_then_by_destination() {
    let change = |who: &str| HeaderChanges {
        request: Some(Changes {
            set: vec![header("x-set", who)],
            add: vec![header("x-add", who)],
            remove: vec!["x-gone".into()],
        }),
        response: Some(Changes {
            set: vec![header("x-answer", who)],
            remove: vec!["x-app".into()],
            ..Changes::default()
        }),
    };
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (pair, _app) = pair(protocol, |rule| {
            rule.rewrite = Some(Rewrite {
                path: prefix("/api", "/", false),
                authority: "inner.example".into(),
            });
            rule.headers = Some(change("rule"));
            rule.destinations[0].headers = Some(change("destination"));
            let kind = Some(path_rewrite::Kind::Regex(path_rewrite::RegexRewrite {
                pattern: "^/v([0-9]+)/".into(),
                substitution: r"/version/\1/".into(),
            }));
            rule.destinations[0].rewrite = Some(Rewrite {
                path: Some(PathRewrite { kind }),
                ..Rewrite::default()
            });
        });
        let web = pair.web.at();
        let answer = pair.client.run(async move {
            let mut client = match protocol {
                Protocol::Http1 => Client::http1(web).await.unwrap(),
                _ => Client::http2(web).await.unwrap(),
            };
            let headers = [("x-set", "client"), ("x-gone", "1")];
            client
                .get_with("/api/v7/cart?id=1", &headers)
                .await
                .unwrap()
        });
        let text = answer.text();
        let target = match protocol {
            Protocol::Http1 => "GET /version/7/cart?id=1 ",
            _ => "GET http://inner.example/version/7/cart?id=1 ",
        };
        assert!(text.starts_with(target), "{text}");
        if protocol == Protocol::Http1 {
            assert_eq!(answer.seen("host"), ["inner.example"]);
        }
        assert_eq!(answer.seen("x-set"), ["destination"]);
        assert_eq!(answer.seen("x-add"), ["rule", "destination"]);
        assert_eq!(answer.seen("x-gone"), Vec::<String>::new());
        assert_eq!(
            (answer.header("x-answer"), answer.app()),
            ("destination", "")
        );
    }
}

#[test]
fn browsers_of_allowed_origins_may_read_and_others_learn_nothing() {
    let (pair, app) = pair(Protocol::Http1, |rule| {
        rule.cors = Some(Cors {
            allow_origins: vec![StringMatch {
                kind: Some(string_match::Kind::Exact("https://a.example".into())),
            }],
            allow_methods: vec!["GET".into(), "PUT".into()],
            max_age: millis(3_600_000),
            ..Cors::default()
        });
    });
    let web = pair.web.at();
    pair.client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        let preflight = |client: &Client, origin: &str| {
            let request = client.request("OPTIONS", "/").header("origin", origin);
            let request = request.header("access-control-request-method", "PUT");
            request.body(empty()).unwrap()
        };
        let allowed = "access-control-allow-origin";
        let request = preflight(&client, "https://a.example");
        let answer = client.call(request).await.unwrap();
        assert_eq!(
            (answer.status, answer.header(allowed)),
            (200, "https://a.example")
        );
        assert_eq!(answer.header("access-control-allow-methods"), "GET, PUT");
        assert_eq!(answer.header("access-control-max-age"), "3600");
        let request = preflight(&client, "https://evil.example");
        let answer = client.call(request).await.unwrap();
        assert_eq!((answer.status, answer.header(allowed)), (200, ""));
        for (origin, may) in [
            ("https://a.example", "https://a.example"),
            ("https://b", ""),
        ] {
            let answer = client.get_with("/", &[("origin", origin)]).await.unwrap();
            assert_eq!((answer.app(), answer.header(allowed)), ("server", may));
        }
    });
    assert_eq!(app.requests(), 2);
}

#[test]
fn a_share_that_goes_nowhere_valid_is_500_and_the_other_is_served() {
    let (pair, app) = pair(Protocol::Http1, |rule| {
        rule.destinations.push(Destination {
            weight: 1,
            invalid: "no service default/gone".into(),
            ..Destination::default()
        });
    });
    let answers: Vec<_> = (0..10).map(|_| get(&pair, "/", &[])).collect();
    let failed = answers.iter().filter(|answer| answer.status == 500);
    let failed: Vec<_> = failed.collect();
    assert_eq!((failed.len(), app.requests()), (5, 5));
    assert!(
        failed
            .iter()
            .all(|a| a.text().contains("no service default/gone"))
    );
    assert_eq!(failed[0].header("x-heddle-flag"), "NC");
}

/// A mesh with a service whose requests are mirrored to another.
fn mirrored(ppm: u32) -> (Mesh, [Pod; 3], ServiceSpec) {
    let mesh = Mesh::new();
    let pods = ["client", "server", "shadow"].map(|name| mesh.strict(name));
    let (web, copy) = (ServiceSpec::http("web", 1), ServiceSpec::http("copy", 2));
    web.set(&mesh.control, &[&pods[1]], &[]);
    copy.set(&mesh.control, &[&pods[2]], &[]);
    let mut rule = rule("mirrored", vec![web.to("", 1)]);
    rule.mirrors = vec![Mirror {
        destination: Some(copy.to("", 1)),
        ppm,
    }];
    web.set_rules(&mesh.control, vec![rule]);
    (mesh, pods, web)
}

type Seen = Arc<Mutex<Vec<(String, String, usize)>>>;

#[test]
fn a_mirror_gets_a_copy_with_the_body_and_its_answer_is_dropped() {
    let (_mesh, [client, server, shadow], web) = mirrored(ALL);
    let _app = App::echo(&server.netns, 8080, "server");
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let _shadow = App::http(&shadow.netns, 8080, move |request| {
        let noted = Arc::clone(&noted);
        async move {
            let (head, body) = request.into_parts();
            let host = head.headers["host"].to_str()?.to_owned();
            let bytes = body.collect().await?.to_bytes().len();
            let mut noted = noted.lock().unwrap();
            noted.push((head.uri.to_string(), host, bytes));
            Ok(Response::builder()
                .status(500)
                .body(full("nobody reads this"))?)
        }
    });
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        client.authority = "web:80".into();
        assert_eq!(client.get("/a").await.unwrap().app(), "server");
        let answer = client.post("/b", vec![b'b'; 50_000]).await.unwrap();
        assert_eq!((answer.app(), answer.body.len()), ("server", 50_000));
        // Longer than a copy may be.
        let answer = client.post("/c", vec![b'c'; 70_000]).await.unwrap();
        assert_eq!((answer.app(), answer.body.len()), ("server", 70_000));
    });
    let counted = |result: &str| {
        let result = format!("result=\"{result}\"");
        metric(&client, "heddle_mirrored_requests_total", &[&result])
    };
    eventually("the copies are counted", || {
        (counted("answered"), counted("body")) == (2, 1)
    });
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    let shadow = "web-shadow:80".to_owned();
    assert_eq!(
        *seen,
        [
            ("/a".to_owned(), shadow.clone(), 0),
            ("/b".to_owned(), shadow, 50_000)
        ]
    );
    // The client is told of its own requests only, and so are its metrics.
    assert_eq!(metric(&client, "istio_requests_total", &[]), 3);
}

#[test]
fn a_mirror_that_never_answers_or_is_not_there_costs_nothing() {
    let (_mesh, [client, server, shadow], web) = mirrored(ALL);
    let app = App::echo(&server.netns, 8080, "server");
    let asked = |count: usize| {
        client.run(async move {
            let mut client = Client::http1(web.at()).await.unwrap();
            for _ in 0..count {
                assert_eq!(client.get("/").await.unwrap().app(), "server");
            }
        });
    };
    let counted = |result: &str| {
        let result = format!("result=\"{result}\"");
        metric(&client, "heddle_mirrored_requests_total", &[&result])
    };
    // Nobody listens there.
    asked(10);
    eventually("the copies have failed or ended", || {
        counted("failed") + counted("answered") == 10
    });
    let _silent = Server::start(&shadow.netns, 8080, |mut stream, _| async move {
        drop(read_all(&mut stream).await);
    });
    // More than may be under way at once.
    asked(200);
    assert!(counted("overflow") >= 200 - 128, "{}", counted("overflow"));
    assert_eq!(app.requests(), 210);
    let labels = ["response_flags=\"-\"", "response_code=\"200\""];
    assert_eq!(metric(&client, "istio_requests_total", &labels), 210);
}

#[test]
fn a_part_of_requests_is_mirrored() {
    let (_mesh, [client, server, shadow], web) = mirrored(ALL / 2);
    let _app = App::echo(&server.netns, 8080, "server");
    let copies = App::echo(&shadow.netns, 8080, "shadow");
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        for _ in 0..200 {
            assert_eq!(client.get("/").await.unwrap().app(), "server");
        }
    });
    let answered = || {
        let answered = ["result=\"answered\""];
        metric(&client, "heddle_mirrored_requests_total", &answered)
    };
    eventually("the copies are answered", || {
        answered() == copies.requests()
    });
    assert!(
        (60..140).contains(&copies.requests()),
        "{}",
        copies.requests()
    );
}

fn split(sticky: sticky::Key) -> (Mesh, Pod, ServiceSpec, [App; 2]) {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let pods = ["one", "two"].map(|name| mesh.strict(name));
    let web = ServiceSpec::http("web", 1);
    web.set(&mesh.control, &[&pods[0], &pods[1]], &["v1", "v2"]);
    let mut rule = rule("split", vec![web.to("v1", 3), web.to("v2", 1)]);
    rule.sticky = Some(Sticky { key: Some(sticky) });
    web.set_rules(&mesh.control, vec![rule]);
    let apps =
        [(&pods[0], "v1"), (&pods[1], "v2")].map(|(p, name)| App::echo(&p.netns, 8080, name));
    std::mem::forget(pods);
    (mesh, client, web, apps)
}

#[test]
fn whoever_shows_the_same_header_stays_at_one_destination() {
    let (_mesh, client, web, _apps) = split(sticky::Key::Header("x-user".into()));
    let shares = client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        let mut kept = BTreeMap::<String, String>::new();
        for round in 0..3 {
            for user in 0..200 {
                let user = format!("user-{user}");
                let answer = client.get_with("/", &[("x-user", &user)]).await.unwrap();
                let app = answer.app().to_owned();
                let before = kept.insert(user, app.clone());
                assert!(round == 0 || before == Some(app));
            }
        }
        // Those who show nothing are drawn: exactly one of four.
        let mut drawn = 0;
        for _ in 0..40 {
            drawn += usize::from(client.get("/").await.unwrap().app() == "v2");
        }
        assert_eq!(drawn, 10);
        kept.values().filter(|app| *app == "v2").count()
    });
    assert!((25..75).contains(&shares), "{shares} of 200");
}

#[test]
fn a_cookie_is_set_once_and_keeps_its_client() {
    let cookie = Cookie {
        name: "shop".into(),
        path: "/".into(),
        ttl: millis(60_000),
    };
    let (_mesh, client, web, _apps) = split(sticky::Key::Cookie(cookie));
    client.run(async move {
        let mut client = Client::http1(web.at()).await.unwrap();
        for _ in 0..20 {
            let first = client.get("/").await.unwrap();
            let cookie = first.header("set-cookie").to_owned();
            assert!(cookie.starts_with("shop="), "{cookie}");
            assert!(cookie.contains("Max-Age=60"), "{cookie}");
            let shown = cookie.split(';').next().unwrap();
            for _ in 0..3 {
                let again = client.get_with("/", &[("cookie", shown)]).await.unwrap();
                assert_eq!((again.app(), again.header("set-cookie")), (first.app(), ""));
            }
        }
    });
}

#[test]
fn one_pod_stays_at_one_destination_by_its_address() {
    let (_mesh, client, web, apps) = split(sticky::Key::SourceIp(true));
    client.run(async move {
        for _ in 0..10 {
            let mut client = Client::http1(web.at()).await.unwrap();
            assert_eq!(client.get("/").await.unwrap().status, 200);
        }
    });
    let mut requests = apps.each_ref().map(App::requests);
    requests.sort_unstable();
    assert_eq!(requests, [0, 10]);
}
