//! Ten thousand routes in one table: reading, checking and compiling them is work in proportion to
//! their number. Counted in allocations here; the times are printed by
//! `cargo test --release -p heddle-tests --test many_routes -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use allocation_counter::measure;
use heddle_control::model::{Client, Model, Settings};
use heddle_control::name::NsName;
use heddle_control::resources::labels::Labels;
use heddle_control::source::directory;
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::snapshot::RouteTable;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

/// Rules of the kinds that people write most, in one VirtualService.
fn virtual_service(rules: usize) -> String {
    let mut text =
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web}\n\
                    spec:\n  hosts: [web]\n  http:\n"
            .to_owned();
    for n in 0..rules {
        let matcher = match n % 4 {
            0 => format!("uri: {{exact: /items/{n}}}"),
            1 => format!("uri: {{prefix: /svc-{n}/}}"),
            2 => format!("headers: {{x-tenant: {{exact: tenant-{n}}}}}"),
            _ => format!("uri: {{prefix: /team-{n}/}}\n      method: {{exact: GET}}"),
        };
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "  - name: rule-{n}\n    match:\n    - {matcher}\n    timeout: 2s\n    route:\n    \
             - destination: {{host: web, subset: v1}}\n      weight: 90\n    \
             - destination: {{host: web, subset: v2}}\n      weight: 10\n"
        );
    }
    text
}

fn written(dir: &Path, rules: usize) -> PathBuf {
    let file = dir.join(format!("{rules}.yaml"));
    std::fs::write(&file, SERVICE.to_owned() + &virtual_service(rules)).unwrap();
    file
}

/// What every phase took, by its name, and the table that came of it.
fn phases<T>(
    file: &Path,
    mut took: impl FnMut(&'static str, &mut dyn FnMut()) -> T,
) -> (Vec<(&'static str, T)>, RouteTable) {
    let mut all = Vec::new();
    let mut phase = |name, work: &mut dyn FnMut()| all.push((name, took(name, work)));
    let mut batch = None;
    phase("read", &mut || {
        batch = Some(directory::read_once(&[file.to_owned()]).unwrap());
    });
    let batch = batch.unwrap();
    assert_eq!(batch.refusals.len(), 0, "{:?}", batch.refusals.first());
    let mut model = Model::new(Settings::default());
    let mut changes = Some(batch.changes);
    phase("check", &mut || {
        model.apply(changes.take().unwrap());
        assert_eq!(model.refusals().len(), 0, "{:?}", model.refusals().first());
        drop(model.warnings());
    });
    let (service, client) = (
        NsName::new("default", "web").unwrap(),
        Client {
            namespace: "default".into(),
            labels: Labels::default(),
        },
    );
    let mut body = None;
    phase("compile", &mut || {
        body = Some(
            model
                .route_table(&service, &client)
                .unwrap()
                .encoded
                .body
                .clone(),
        );
    });
    let body = body.unwrap();
    let mut table = None;
    phase("compile in the sidecar", &mut || {
        table = Some(compile(Kind::RouteTable, service.as_str(), &body).unwrap());
    });
    let Some(Compiled::Routes(_, table)) = table else {
        panic!("no routes");
    };
    let rules = table.http.rules().len();
    let uri: Uri = format!("/team-{}/x", rules - 1).parse().unwrap();
    let found = table
        .http
        .find(&Method::GET, &uri, "web", &HeaderMap::new(), 80);
    assert_eq!(found, Some(rules - 1));
    (all, table)
}

/// Nanoseconds of one look for a rule, over rules of every kind and a request that none takes.
fn matching(table: &RouteTable) -> f64 {
    const ROUNDS: usize = 20_000;
    let rules = table.http.rules().len();
    let asked: Vec<(Uri, HeaderMap, Option<usize>)> = (0..8)
        .map(|part| {
            let n = (rules * part / 8) / 4 * 4 + part % 4;
            let (path, header) = match n % 4 {
                0 => (format!("/items/{n}"), None),
                1 => (format!("/svc-{n}/a/b"), None),
                2 => ("/elsewhere".to_owned(), Some(format!("tenant-{n}"))),
                _ => (format!("/team-{n}/x"), None),
            };
            let header = header.map(|tenant| {
                (
                    HeaderName::from_static("x-tenant"),
                    HeaderValue::from_str(&tenant).unwrap(),
                )
            });
            let headers = header.into_iter().collect();
            (
                path.parse().unwrap(),
                headers,
                Some(n).filter(|n| *n < rules),
            )
        })
        .chain([("/nobody".parse().unwrap(), HeaderMap::new(), None)])
        .collect();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        for (uri, headers, expected) in &asked {
            let found = table
                .http
                .find(&Method::GET, black_box(uri), "web", headers, 80);
            assert_eq!(found, *expected);
        }
    }
    started.elapsed().as_secs_f64() * 1e9 / (ROUNDS * asked.len()) as f64
}

#[test]
fn ten_times_the_routes_are_ten_times_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let count = |rules: usize| {
        phases(&written(dir.path(), rules), |_, work| {
            let used = measure(work);
            (used.count_total, used.bytes_total)
        })
        .0
    };
    // The first makes what is made once for a process.
    count(8);
    let (few, many) = (count(400), count(4000));
    for ((name, few), (_, many)) in few.into_iter().zip(many) {
        println!("{name}: 400 rules {few:?}, 4,000 rules {many:?} allocations and bytes");
        assert!(
            many.0 <= 11 * few.0,
            "{name}: {few:?}, {many:?} allocations"
        );
        assert!(many.1 <= 13 * few.1, "{name}: {few:?}, {many:?} bytes");
    }
}

#[test]
#[ignore = "prints times, which are of the machine; run it in release"]
fn ten_thousand_routes_take_less_than_a_second() {
    let dir = tempfile::tempdir().unwrap();
    for rules in [12, 1000, 10_000] {
        let file = written(dir.path(), rules);
        let best = |mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            all[0]
        };
        let (runs, tables): (Vec<_>, Vec<_>) = (0..5)
            .map(|_| {
                phases(&file, |_, work| {
                    let started = Instant::now();
                    work();
                    started.elapsed().as_secs_f64() * 1e3
                })
            })
            .unzip();
        let names = runs[0].iter().map(|(name, _)| *name).enumerate();
        let mut total = 0.0;
        for (place, name) in names {
            let took = best(runs.iter().map(|run| run[place].1).collect());
            total += took;
            println!("{rules} rules: {name}: {took:.1} ms");
        }
        println!("{rules} rules: together {total:.1} ms");
        let took = best(tables.iter().map(matching).collect());
        println!("{rules} rules: a match {took:.0} ns");
    }
}
