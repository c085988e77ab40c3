//! Mistakes are refused by name, file, line and reason; everything else keeps working, and the last
//! good version stays in force.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use heddle_tests::mesh::{Mesh, sample};
use heddle_tests::wait;
use serde_json::Value;

/// Waits for a refusal that says all of this.
fn refused(mesh: &Mesh, file: &str, line: u64, words: &[&str]) -> Value {
    wait::answer("a refusal", Duration::from_secs(20), || {
        let status = mesh.status();
        let all = status["refused"].as_array().cloned().unwrap_or_default();
        let says = |refusal: &Value| {
            let reason = refusal.to_string();
            refusal["file"].as_str().is_some_and(|f| f.ends_with(file))
                && refusal["line"] == line
                && words.iter().all(|w| reason.contains(w))
        };
        let found = all.iter().find(|r| says(r)).cloned();
        found.ok_or_else(|| format!("{file}:{line} {words:?} in {:#}", status["refused"]))
    })
}

fn nothing_refused(mesh: &Mesh) {
    wait::until("nothing is refused", Duration::from_secs(20), || {
        mesh.status()["refused"]
            .as_array()
            .is_some_and(Vec::is_empty)
    });
}

fn line_of(text: &str, needle: &str) -> u64 {
    text.lines().position(|l| l.contains(needle)).unwrap() as u64 + 1
}

/// The sample's route still holds: premium users get v2.
fn still_works(mesh: &Mesh) {
    let command = [
        "curl",
        "-sS",
        "--fail",
        "-H",
        "user-type: premium",
        "http://reviews:9080/reviews/0",
    ];
    let answer = mesh.exec("productpage-v1", &command);
    assert!(answer.contains("\"version\":\"v2\""), "{answer}");
}

#[test]
fn mistakes_are_named_and_lose_nothing_else() {
    let mesh = Mesh::bookinfo();
    nothing_refused(&mesh);
    let (_, good) = sample("reviews.yaml");

    let unknown_field = good.replacen("weight: 90", "wieght: 90", 1);
    mesh.write("reviews.yaml", &unknown_field);
    let line = line_of(&unknown_field, "wieght");
    refused(
        &mesh,
        "reviews.yaml",
        line,
        &["reviews-route", "wieght", "weight"],
    );
    still_works(&mesh);

    let no_subset = good.replacen("subset: v1", "subset: v9", 1);
    mesh.write("reviews.yaml", &no_subset);
    let line = line_of(&no_subset, "subset: v9");
    refused(&mesh, "reviews.yaml", line, &["reviews-route", "v9"]);
    still_works(&mesh);

    let broken = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: broken\n spec: [\n";
    mesh.write("broken.yaml", broken);
    refused(&mesh, "broken.yaml", 5, &[]);
    still_works(&mesh);

    // Another route, in a file of its own, is taken while the mistakes above still stand.
    let another = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: details\nspec:\n  \
         hosts: [details]\n  http:\n  - match:\n    - uri: {prefix: /details/}\n    route:\n    - destination: {host: details}\n";
    mesh.write("details.yaml", another);
    wait::answer("the other route is live", Duration::from_secs(20), || {
        let code = [
            "curl",
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://details:9080/health",
        ];
        match mesh.exec("productpage-v1", &code).as_str() {
            "404" => Ok(()),
            other => Err(format!("/health, which no rule matches, answered {other}")),
        }
    });

    std::fs::remove_file(mesh.dir().join("broken.yaml")).unwrap();
    mesh.write("reviews.yaml", &good);
    nothing_refused(&mesh);
    still_works(&mesh);
}
