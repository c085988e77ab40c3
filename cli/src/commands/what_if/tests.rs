#![allow(clippy::unwrap_used)]
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::picture;
use crate::traces::Trace;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo")
}

/// The origin that the sample's rules have in traces.
fn origin(rule: usize) -> String {
    let asker = picture::of(&[sample()]).unwrap();
    let asker = (asker.model.clone(), asker.model);
    let pod = crate::snapshots::Asker::find(&asker.0, "default", "productpage-v1").unwrap();
    let ip = crate::snapshots::address(&asker.1, "reviews", &pod).unwrap();
    let snapshot = crate::snapshots::snapshot(&asker.0, &pod, ip).unwrap();
    let name = heddle_proxy_config::snapshot::Name::new("default/reviews");
    snapshot.routes[&name].http.rules()[rule].origin.to_string()
}

/// One request of the sample's product page, as its sidecar records it.
fn trace(number: usize, path: &str, rule: Option<usize>, change: impl Fn(&mut Value)) -> Trace {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut span = json!({
        "trace_id": format!("{number:032x}"),
        "span_id": format!("{number:016x}"),
        "name": "GET reviews",
        "kind": "client",
        "service": "productpage",
        "start_unix_nanos": now.as_nanos() as u64,
        "duration_nanos": 1000,
        "error": false,
        "resource": {"k8s.namespace.name": "default", "k8s.pod.name": "productpage-v1-6f7c9"},
        "attributes": {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "url.path": path,
            "server.address": "reviews",
            "server.port": 9080,
            "heddle.called": "default/reviews:9080",
        },
    });
    if let Some(rule) = rule {
        span["attributes"]["heddle.route"] = origin(rule).into();
        span["attributes"]["heddle.route.rule"] = rule.into();
    }
    change(&mut span);
    serde_json::from_value(json!({"trace_id": span["trace_id"], "spans": [span]})).unwrap()
}

fn what_if(new: &str, delete: &[&str], traces: &[Trace]) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new.yaml");
    std::fs::write(&file, new).unwrap();
    let delete: Vec<String> = delete.iter().map(|name| (*name).to_owned()).collect();
    let current = picture::of(&[sample()]).unwrap().model;
    let worlds = Worlds::changed(current, &[file], &delete).unwrap();
    report(worlds, recorded::of(traces)).unwrap()
}

const HEAD: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                    metadata: {name: reviews-route}\nspec:\n  hosts: [reviews]\n  http:\n";

/// The sample's rule for premium users, and a split of the rest.
fn split(one: u32, two: u32) -> String {
    format!(
        "{HEAD}  - match: [{{headers: {{user-type: {{exact: premium}}}}}}]\n    \
         route: [{{destination: {{host: reviews, subset: v2}}}}]\n  \
         - route:\n    - destination: {{host: reviews, subset: v1}}\n      weight: {one}\n    \
         - destination: {{host: reviews, subset: v2}}\n      weight: {two}\n"
    )
}

fn ways(report: &Report) -> Vec<(String, String, f64)> {
    let subset = |place: &moves::Place| {
        let subset = place.subset.clone();
        subset.unwrap_or_else(|| place.status.map(|s| s.to_string()).unwrap_or_default())
    };
    let moves = report.moves.iter();
    moves
        .map(|one| (subset(&one.from), subset(&one.to), one.count))
        .collect()
}

#[test]
fn a_split_moves_its_share_of_every_request_in_expectation() {
    let traces: Vec<Trace> = (1..=20)
        .map(|n| trace(n, "/reviews/0", Some(1), |_| {}))
        .collect();
    let report = what_if(&split(50, 50), &[], &traces);
    // 90 to 50: four tenths of each.
    assert_eq!(ways(&report), [("v1".into(), "v2".into(), 8.0)]);
    assert_eq!(
        (report.requests, report.moved, report.stay),
        (20, 8.0, 12.0)
    );
    assert_eq!(report.moves[0].percent, 40.0);
    assert_eq!(report.moves[0].examples.len(), 1);
    assert_eq!(report.moves[0].examples[0].path, "/reviews/0");
    let told = render::table(&report, Style::PLAIN);
    assert!(
        told.contains("8 of 20 recorded requests would go elsewhere, 12 stay"),
        "{told}"
    );
    assert!(told.contains("default/reviews subset v2"), "{told}");
}

#[test]
fn the_same_routes_move_nothing() {
    let traces = [
        trace(1, "/reviews/0", Some(0), |_| {}),
        trace(2, "/x", Some(1), |_| {}),
    ];
    let report = what_if(&split(90, 10), &[], &traces);
    assert_eq!((report.moves.len(), report.stay), (0, 2.0), "{report:?}");
    assert!(report.undecided.is_empty() && report.refused.is_empty());
}

#[test]
fn what_depends_on_what_was_not_recorded_is_not_guessed() {
    let gold = split(90, 10).replace("premium", "gold");
    let recorded = || trace(1, "/reviews/0", Some(1), |_| {});
    let report = what_if(&gold, &[], &[recorded()]);
    assert_eq!(report.undecided.len(), 1, "{report:?}");
    assert_eq!(report.undecided[0].needs, ["header user-type is \"gold\""]);
    assert_eq!((report.moved, report.stay), (0.0, 0.0));
    // A request that took no known rule proves nothing, even of the routes in force.
    let unknown = trace(2, "/reviews/0", None, |_| {});
    let report = what_if(&split(50, 50), &[], &[unknown]);
    assert_eq!(
        report.undecided[0].needs,
        ["header user-type is \"premium\""]
    );
    // Nor one that was recorded before the file was written.
    let old = trace(3, "/reviews/0", Some(1), |span| {
        span["start_unix_nanos"] = 1.into()
    });
    let report = what_if(&split(50, 50), &[], &[old]);
    assert_eq!(report.undecided.len(), 1);
    // But where every rule says the same, nothing is open.
    let all = format!("{HEAD}  - directResponse: {{status: 503}}\n");
    let report = what_if(&all, &[], &[recorded()]);
    assert_eq!(
        ways(&report),
        [
            ("v1".into(), "503".into(), 0.9),
            ("v2".into(), "503".into(), 0.1)
        ]
    );
}

#[test]
fn routes_may_be_taken_away_and_paths_may_miss() {
    let deleted = what_if(
        "",
        &["virtualservice/reviews-route"],
        &[trace(1, "/reviews/0", Some(1), |_| {})],
    );
    let to: Vec<_> = deleted.moves.iter().map(|one| &one.to).collect();
    assert!(
        to.iter()
            .all(|place| place.subset.is_none() && place.status.is_none())
    );
    assert_eq!(deleted.moved, 1.0);
    let narrow = format!(
        "{HEAD}  - match: [{{uri: {{prefix: /reviews}}}}]\n    route: [{{destination: {{host: reviews, subset: v1}}}}]\n"
    );
    let report = what_if(&narrow, &[], &[trace(1, "/other", Some(1), |_| {})]);
    let told = render::table(&report, Style::PLAIN);
    assert!(told.contains("the sidecar itself: 404 NR"), "{told}");
    assert!(told.contains("no rule"), "{told}");
}

#[test]
fn what_is_refused_changes_nothing_and_is_said() {
    let bad = split(50, 50).replace("subset: v1", "subzet: v1");
    let report = what_if(&bad, &[], &[trace(1, "/reviews/0", Some(1), |_| {})]);
    assert_eq!(report.refused.len(), 1, "{:?}", report.refused);
    assert_eq!((report.stay, report.moved), (1.0, 0.0));
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: new}\nspec: {ports: [{port: 1}]}\n";
    let report = what_if(service, &[], &[]);
    assert_eq!(report.left_out, ["Service default/new"]);
    let told = render::table(&report, Style::PLAIN);
    assert!(
        told.contains("no request of a sidecar was recorded"),
        "{told}"
    );
}

#[test]
fn spans_without_a_request_or_a_pod_are_counted() {
    let gone = trace(1, "/", Some(1), |span| {
        span["resource"]["k8s.pod.name"] = "gone-1".into();
    });
    let odd = trace(2, "/", None, |span| {
        span["attributes"] = json!({"db.system": "redis"});
    });
    let report = what_if(&split(50, 50), &[], &[gone, odd]);
    assert_eq!((report.requests, report.unusable), (1, 1));
    assert!(report.undecided[0].rule.contains("its pod is gone"));
}

#[test]
fn what_is_not_there_cannot_be_taken_away() {
    let current = picture::of(&[sample()]).unwrap().model;
    let delete = ["virtualservice/reviews".to_owned()];
    let Err(failure) = Worlds::changed(current, &[], &delete) else {
        panic!("it is taken for granted");
    };
    let told = format!("{failure:?}");
    assert!(told.contains("VirtualService default/reviews"), "{told}");
}

#[test]
fn nothing_is_not_less_than_nothing() {
    let same = what_if("", &[], &[trace(1, "/reviews/0", Some(1), |_| {})]);
    let told = render::table(&same, Style::PLAIN);
    assert!(told.starts_with("0 of 1 recorded requests"), "{told}");
}

/// A headless service of which nothing is said is no `heddle.called`: its host decides, as it did.
#[test]
fn requests_to_headless_services_without_rules_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let more = dir.path().join("more.yaml");
    let written = "apiVersion: v1\nkind: Service\nmetadata: {name: all-reviews}\n\
                   spec: {clusterIP: None, selector: {app: reviews, version: v2}, ports: [{name: http, port: 9080}]}\n\
                   ---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  serviceName: all-reviews\n  \
                   selector: {matchLabels: {of: db}}\n  template:\n    metadata: {labels: {of: db, app: reviews, version: v2}}\n    \
                   spec: {containers: [{name: db, image: db, command: [sleep], ports: [{containerPort: 9080}]}]}\n";
    std::fs::write(&more, written).unwrap();
    let current = picture::of(&[sample(), more]).unwrap().model;
    let rules = dir.path().join("rules.yaml");
    let hosts =
        "spec:\n  hosts: [all-reviews]\n  http:\n  - route: [{destination: {host: ratings}}]\n";
    let head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: all}\n";
    std::fs::write(&rules, format!("{head}{hosts}")).unwrap();
    let to = |number: usize, host: &'static str| {
        trace(number, "/x", None, |span| {
            span["attributes"]["server.address"] = host.into();
            span["attributes"]
                .as_object_mut()
                .unwrap()
                .remove("heddle.called");
        })
    };
    let mut broken = to(4, "all-reviews");
    broken.spans[0].resource.clear();
    let traces = [
        to(1, "all-reviews"),
        // The pod itself: no rule is for it, and the mesh has its address all the same.
        to(2, "db-0.all-reviews"),
        to(3, "nobody.example"),
        broken,
    ];
    let worlds = Worlds::changed(current, &[rules], &[]).unwrap();
    let report = report(worlds, recorded::of(&traces)).unwrap();
    assert_eq!((report.requests, report.unusable), (3, 1));
    assert_eq!((report.moved, report.stay), (1.0, 2.0), "{report:?}");
    assert_eq!(report.moves[0].to.service, "default/ratings");
    assert_eq!(report.unknown_hosts, 1, "{report:?}");
    let told = render::table(&report, Style::PLAIN);
    for part in [
        "left out: 1 client span",
        "1 were sent to hosts that the mesh knows no address of",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}
