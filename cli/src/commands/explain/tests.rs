#![allow(clippy::unwrap_used)]
use std::path::Path;

use super::*;
use crate::args::{Explain, Format, Output, Place};

fn explain(url: &str, headers: &[&str]) -> Story {
    asked("default/productpage-v1", url, headers).unwrap()
}

fn asked(from: &str, url: &str, headers: &[&str]) -> Outcome<Story> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let picture = picture::of(&[sample])?;
    offline(&picture.model, &request(from, url, headers)?)
}

fn request(from: &str, url: &str, headers: &[&str]) -> Outcome<Asked> {
    Asked::new(&Explain {
        from: from.to_owned(),
        method: "GET".to_owned(),
        headers: headers.iter().map(|h| (*h).to_owned()).collect(),
        url: url.to_owned(),
        files: Vec::new(),
        place: Place::default(),
        output: Output {
            format: Format::Table,
        },
    })
}

fn shares(story: &Story) -> Vec<(Option<&str>, f64, usize)> {
    let shares = story.destinations.iter();
    shares
        .map(|to| (to.subset.as_deref(), to.percent, to.endpoints.len()))
        .collect()
}

#[test]
fn a_header_decides_and_the_line_behind_it_is_told() {
    let story = explain("http://reviews:9080/reviews/0", &["user-type: premium"]);
    assert_eq!(shares(&story), [(Some("v2"), 100.0, 1)]);
    let rule = story.rule.clone().unwrap();
    assert!(
        rule.contains("VirtualService/default/reviews-route#0 ("),
        "{rule}"
    );
    let told = story.render(Style::PLAIN);
    for part in [
        "header user-type is \"premium\"",
        "reviews.yaml:",
        "mutual TLS, expecting spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
        "from default/productpage-v1-0, as the files say",
        "|   - match:",
        "let in at default/reviews-v2-0  PeerAuthentication/",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

#[test]
fn why_a_rule_before_does_not_take_it_is_told() {
    let story = explain("http://reviews.default.svc:9080/", &["user-type: basic"]);
    assert_eq!(
        shares(&story),
        [(Some("v1"), 90.0, 1), (Some("v2"), 10.0, 1)]
    );
    let told = story.render(Style::PLAIN);
    assert!(
        told.contains("header user-type \"basic\" is not \"premium\""),
        "{told}"
    );
    let absent = explain("reviews:9080", &[]).render(Style::PLAIN);
    assert!(absent.contains("header user-type is not there"), "{absent}");
}

#[test]
fn without_routes_every_endpoint_has_its_share() {
    let story = explain("http://ratings:9080/", &[]);
    assert_eq!(shares(&story), [(None, 100.0, 1)]);
    assert_eq!((story.rule, story.status), (None, None));
}

#[test]
fn what_is_not_there_is_said() {
    for (url, part) in [
        ("http://nowhere:9080/", "the mesh knows no service nowhere"),
        (
            "http://reviews:81/",
            "service default/reviews has no port 81",
        ),
        (
            "http://192.0.2.7/",
            "it is passed through to 192.0.2.7:80 untouched",
        ),
    ] {
        let told = explain(url, &[]).render(Style::PLAIN);
        assert!(told.contains(part), "{told}");
    }
    assert!(asked("default/nobody", "http://reviews:9080/", &[]).is_err());
    assert!(
        asked(
            "default/productpage-v1",
            "http://reviews:9080/",
            &["no colon"]
        )
        .is_err()
    );
    assert!(asked("default/productpage-v1", "http://", &[]).is_err());
}

#[test]
fn a_policy_and_a_fault_are_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let more = dir.path().join("ratings.yaml");
    let written = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
  - fault: {abort: {httpStatus: 503, percentage: {value: 10}}}
    route: [{destination: {host: ratings}}]
";
    std::fs::write(&more, written).unwrap();
    let picture = picture::of(&[sample, more]).unwrap();
    let asked = request("default/productpage-v1", "http://ratings:9080/", &[]).unwrap();
    let told = offline(&picture.model, &asked)
        .unwrap()
        .render(Style::PLAIN);
    for part in [
        "fault: 10% are answered with 503 Service Unavailable",
        "the same endpoint for the same header x-user",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

#[test]
fn a_service_that_a_sidecar_hides_is_named_with_what_would_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let more = dir.path().join("more.yaml");
    let ask = |mode: &str, url: &str| {
        let written = format!(
            "\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: narrow}}
spec:
  outboundTrafficPolicy: {{mode: {mode}}}
  egress:
  - hosts: [./ratings.default.svc.cluster.local]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: out}}
spec:
  hosts: [api.example.com]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 10.9.9.9}}]
---
apiVersion: v1
kind: Service
metadata: {{name: all-reviews}}
spec: {{clusterIP: None, selector: {{app: reviews}}, ports: [{{name: http, port: 9080}}]}}
"
        );
        std::fs::write(&more, written).unwrap();
        let picture = picture::of(&[sample.clone(), more.clone()]).unwrap();
        let asked = request("default/productpage-v1", url, &[]).unwrap();
        let story = offline(&picture.model, &asked).unwrap();
        story.render(Style::PLAIN)
    };
    let reviews = [
        "reviews is service default/reviews, which Sidecar default/narrow hides from this pod",
        "more.yaml:",
        "|   - hosts: [./ratings.default.svc.cluster.local]",
        "add `./reviews.default.svc.cluster.local` to egress[].hosts",
    ];
    for (mode, url, parts) in [
        ("ALLOW_ANY", "http://reviews:9080/", &reviews[..]),
        (
            "ALLOW_ANY",
            "http://reviews:9080/",
            &["passed through", "no mutual TLS"],
        ),
        ("REGISTRY_ONLY", "http://reviews:9080/", &reviews),
        ("REGISTRY_ONLY", "http://reviews:9080/", &["it is refused"]),
        (
            "ALLOW_ANY",
            "http://api.example.com/",
            &[
                "add `./api.example.com` to egress[].hosts",
                "nothing is sent",
            ],
        ),
        (
            "ALLOW_ANY",
            "http://ratings:9080/",
            &["ratings means service default/ratings"],
        ),
        (
            "ALLOW_ANY",
            "http://all-reviews.default:9080/",
            &[
                "is service default/all-reviews, which Sidecar default/narrow hides from this pod",
                "add `./all-reviews.default.svc.cluster.local` to egress[].hosts",
                "it is called directly, no route applies",
            ],
        ),
    ] {
        let told = ask(mode, url);
        for part in parts {
            assert!(told.contains(part), "{part} is not in\n{told}");
        }
    }
}

#[test]
fn a_headless_service_is_told_by_the_host_at_its_pods_address() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let more = dir.path().join("more.yaml");
    let written = "\
apiVersion: v1
kind: Service
metadata: {name: all-reviews}
spec: {clusterIP: None, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all-reviews}
spec:
  hosts: [all-reviews]
  http:
  - match: [{uri: {prefix: /ratings}}]
    route: [{destination: {host: ratings}}]
  - route: [{destination: {host: all-reviews}}]
";
    std::fs::write(&more, written).unwrap();
    let picture = picture::of(&[sample, more]).unwrap();
    let ask = |url: &str, headers: &[&str]| {
        let asked = request("default/productpage-v1", url, headers).unwrap();
        offline(&picture.model, &asked).unwrap()
    };
    let routed = ask("http://all-reviews:9080/ratings/1", &[]);
    assert_eq!(
        routed.destinations[0].service.as_deref(),
        Some("default/ratings")
    );
    let told = routed.render(Style::PLAIN);
    for part in [
        "all-reviews means service default/all-reviews, port 9080",
        "it is headless, and ",
        "VirtualService/default/all-reviews#0",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let whole = ask("http://all-reviews:9080/", &[]);
    assert!(whole.destinations[0].endpoints.len() > 1);
    let pod = ask("http://all-reviews:9080/ratings/1", &["host: elsewhere"]);
    assert_eq!(pod.destinations[0].endpoints.len(), 1);
    assert!(
        pod.render(Style::PLAIN)
            .contains("it is called directly, no route applies")
    );
}

/// The sample with more documents.
fn with(more: &str, url: &str, headers: &[&str]) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("more.yaml");
    std::fs::write(&file, more).unwrap();
    let picture = picture::of(&[sample, file]).unwrap();
    let asked = request("default/productpage-v1", url, headers).unwrap();
    offline(&picture.model, &asked)
        .unwrap()
        .render(Style::PLAIN)
}

#[test]
fn a_name_outside_is_not_said_to_have_no_endpoint() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ext}\n\
                 spec:\n  hosts: [api.example.com]\n  resolution: DNS\n  \
                 ports: [{number: 80, name: http, protocol: HTTP}]\n";
    let told = with(entry, "http://api.example.com/x", &[]);
    let line = "api.example.com at port 80 of what DNS answers the pod: in the clear";
    assert!(told.contains(line), "{told}");
    assert!(!told.contains("no endpoint is ready"), "{told}");
}

#[test]
fn what_a_fault_answers_is_not_sent_on() {
    let route = |percent: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: ratings}}\n\
             spec:\n  hosts: [ratings]\n  http:\n  \
             - fault: {{abort: {{httpStatus: 503, percentage: {{value: {percent}}}}}}}\n    \
             route: [{{destination: {{host: ratings}}}}]\n"
        )
    };
    let all = with(&route("100"), "http://ratings:9080/", &[]);
    assert!(
        all.contains("503 Service Unavailable") && all.contains("nothing is sent on"),
        "{all}"
    );
    assert!(!all.contains("to default/ratings"), "{all}");
    let some = with(&route("0.1"), "http://ratings:9080/", &[]);
    assert!(
        some.contains("what follows is of the other 99.9%"),
        "{some}"
    );
    assert!(some.contains("100% to default/ratings"), "{some}");
}
