//! The corpus of routes (tests/corpus): documents as people write them, requests, and what must
//! become of each. A case is derived from what the APIs promise, never from what the program says.
//! Documents pass the control plane's own reader and model, the wire, and the compiler of sidecars,
//! and it is the compiled tables that answer. How to add a case: tests/corpus/README.md.

#![allow(clippy::unwrap_used)]

#[path = "corpus/compare.rs"]
mod compare;
#[path = "corpus/decide.rs"]
mod decide;
#[path = "corpus/mesh.rs"]
mod mesh;
#[path = "corpus/survive.rs"]
mod survive;
#[path = "corpus/topic.rs"]
mod topic;
#[path = "corpus/words.rs"]
mod words;

use std::path::{Path, PathBuf};

use self::mesh::Mesh;
use self::topic::{Case, Topic};

/// Documents of routes that there are at least.
const DOCUMENTS: usize = 300;
/// The mesh in which every case is decided.
const MESH: &str = "mesh.yaml";

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn topics() -> Vec<PathBuf> {
    let files = std::fs::read_dir(corpus()).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "yaml") && !file.ends_with(MESH));
    files.sort();
    files
}

#[test]
fn every_request_is_decided_as_written() {
    let fixture = std::fs::read_to_string(corpus().join(MESH)).unwrap();
    let (mut cases, mut documents, mut requests) = (0, 0, 0);
    let mut wrong = Vec::new();
    for file in topics() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let topic = Topic::read(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        for case in &topic.cases {
            (cases, requests) = (cases + 1, requests + case.requests.len());
            documents += case.routes();
            for fault in judge(&fixture, case) {
                wrong.push(format!("{name}: {}: {fault}", case.name));
            }
        }
    }
    println!("{cases} cases, {documents} documents, {requests} requests");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        documents >= DOCUMENTS,
        "only {documents} documents of routes; there were {DOCUMENTS}"
    );
}

fn judge(fixture: &str, case: &Case) -> Vec<String> {
    let mut wrong = survive::faults(&case.documents);
    let mesh = Mesh::new(fixture, &case.documents);
    wrong.extend(mesh.unexpected(case));
    wrong.extend(mesh.conditions(case));
    for request in &case.requests {
        let faults = match decide::decide(&mesh, request) {
            Ok(decision) => compare::faults(&mesh, request, &decision),
            Err(reason) => vec![reason],
        };
        wrong.extend(
            faults
                .into_iter()
                .map(|fault| format!("{}: {fault}", request.ask)),
        );
    }
    wrong
}

#[test]
fn slips_in_a_case_are_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let good =
        "about: x\ncases:\n- name: a\n  documents: ''\n  requests: [{ask: GET http://a/, to: a}]\n";
    for (written, slip, told) in [
        ("to: a", "too: a", "too"),
        ("to: a", "status: up", "status"),
        ("requests:", "request:", "request"),
        ("to: a", "headers: [x]", "x"),
        ("GET http://a/", "http//a", "http//a"),
    ] {
        std::fs::write(file.path(), good.replace(written, slip)).unwrap();
        let error = Topic::read(file.path()).expect_err(slip);
        assert!(error.contains(told), "{slip}: {error}");
    }
    std::fs::write(file.path(), good).unwrap();
    assert_eq!(Topic::read(file.path()).unwrap().cases.len(), 1);
}

#[test]
fn an_expectation_that_is_wrong_is_told() {
    let fixture = std::fs::read_to_string(corpus().join(MESH)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let route = "
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: reviews}
    spec:
      hosts: [reviews]
      http:
      - timeout: 3s
        rewrite: {uri: /new}
        route: [{destination: {host: ratings}}]";
    let good = "to: ratings, path: /new, timeout: 3s, rule: reviews#0, line: 3s";
    for (expected, told) in [
        (good, None),
        ("to: reviews, path: /new, timeout: 3s", Some("to: ")),
        ("to: ratings, timeout: 3s", Some("path: ")),
        ("to: ratings, path: /new", Some("timeout: ")),
        (
            "to: ratings, path: /new, timeout: 3s, rule: reviews#1",
            Some("rule: "),
        ),
        (
            "to: ratings, path: /new, timeout: 3s, line: 'uri: /new'",
            Some("line: "),
        ),
        (
            "to: ratings, path: /new, timeout: 3s, pods: []",
            Some("pods: "),
        ),
        (
            "to: ratings, path: /new, timeout: 3s, sends: {x-a: b}",
            Some("sends: "),
        ),
    ] {
        let text = format!(
            "about: x\ncases:\n- name: a\n  documents: |{route}\n  requests:\n  - {{ask: GET http://reviews:9080/, {expected}}}\n"
        );
        std::fs::write(file.path(), text).unwrap();
        let topic = Topic::read(file.path()).unwrap();
        let wrong = judge(&fixture, &topic.cases[0]);
        match told {
            None => assert!(wrong.is_empty(), "{expected}: {wrong:?}"),
            Some(told) => {
                assert_eq!(wrong.len(), 1, "{expected}: {wrong:?}");
                assert!(wrong[0].contains(told), "{expected}: {wrong:?}");
            }
        }
    }
}
