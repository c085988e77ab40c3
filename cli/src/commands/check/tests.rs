#![allow(clippy::unwrap_used)]
use std::path::PathBuf;

use super::picture::{render, underline};
use heddle_control::check::Code;

use super::*;
use crate::picture;

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart, version: v1}}
    spec: {containers: [{name: cart, image: cart}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec:
  host: cart
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
";

fn routes(subset: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cart}}
spec:
  hosts: [cart]
  http:
  - route:
    - destination:
        host: cart
        subset: {subset}   # the new one
"
    )
}

fn problems(text: &str) -> (Vec<Problem>, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.yaml");
    std::fs::write(&file, text).unwrap();
    let picture = picture::of(std::slice::from_ref(&file)).unwrap();
    (picture.problems, file, dir)
}

#[test]
fn good_manifests_have_only_what_is_likely_to_be_a_mistake() {
    let (found, ..) = problems(&(SHOP.to_owned() + &routes("v1")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].is_warning() && found[0].reason.contains("selects no pod"));
    assert_eq!(found[0].line, 22);
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    let (found, file, _dir) = problems(&(SHOP.to_owned() + &routes("v9")));
    let wrong: Vec<_> = found
        .iter()
        .filter(|problem| !problem.is_warning())
        .collect();
    assert_eq!(wrong.len(), 1, "{found:?}");
    let text = render(wrong[0], &mut Sources::default(), Style::PLAIN);
    let place = format!("  --> {}:34:17\n", file.display());
    let lines = "  34 |         subset: v9   # the new one\n     |                 ^^\n";
    assert!(text.contains(&place) && text.contains(lines), "{text}");
    assert!(text.starts_with("error[HDL0104]: virtualservice/cart: ") && text.contains("try: "));
}

#[test]
fn what_both_readers_find_is_said_once() {
    let (found, ..) = problems("apiVersion: v1\nkind: Service\nmetadata: {name: [}\n");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn nothing_is_left_in_the_temporary_directory() {
    let made = picture::Directory::new().unwrap();
    let path = made.0.clone();
    assert!(path.exists());
    drop(made);
    assert!(!path.exists());
}

#[test]
fn what_is_marked_ends_before_a_comment() {
    assert_eq!(underline("  a: bc # d", 6, None), "     ^^");
    assert_eq!(underline("\ta: b", 5, None), "\t   ^");
    assert_eq!(underline("short", 40, None), "     ^");
}

/// The blocks of YAML in a text.
fn blocks(text: &str) -> Vec<&str> {
    let starts = text.split("```yaml\n").skip(1);
    starts
        .filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block))
        .collect()
}

/// Codes without an example in the guide: no document of one file produces them. Each with the test that does.
const ELSEWHERE: [(Code, &str); 2] = [
    (
        Code::Unreadable,
        "what_cannot_be_read_is_an_exit_code_of_its_own",
    ),
    (
        Code::SubsetInUse,
        "admission_judges_one_object_and_changes_nothing",
    ),
];

/// Of a cluster, whose findings are shown against a double of its API server.
fn is_of_clusters(code: Code) -> bool {
    code.number() / 100 == 9
}

#[test]
fn the_guide_and_the_code_have_the_same_codes() {
    let headings = meaning::GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("### HDL"));
    let told: Vec<String> = headings
        .map(|heading| format!("HDL{}", heading.split(':').next().unwrap()))
        .collect();
    let all: Vec<String> = Code::ALL.iter().map(Code::to_string).collect();
    assert_eq!(told, all);
    let (_, clusters) = meaning::GUIDE.split_once("\n## Clusters\n").unwrap();
    for code in Code::ALL {
        let heading = format!("### {code}: ");
        assert_eq!(clusters.contains(&heading), is_of_clusters(*code), "{code}");
    }
}

#[test]
fn every_code_is_explained_with_an_example_that_produces_it() {
    let (_, shop) = meaning::GUIDE
        .split_once("\n## The examples' application\n")
        .unwrap();
    let shop = blocks(shop)[0];
    let mut wrong = Vec::new();
    for code in Code::ALL.iter().copied() {
        let Some(section) = meaning::section(code) else {
            wrong.push(format!(
                "{code} has no section of this title: {}",
                code.meaning()
            ));
            continue;
        };
        let found = |block: &str| {
            let (found, ..) = problems(&format!("{shop}\n---\n{block}\n"));
            found.iter().map(|p| p.code.clone()).collect::<Vec<_>>()
        };
        let own = code.to_string();
        match blocks(section).as_slice() {
            [] if ELSEWHERE.iter().any(|(known, _)| *known == code) || is_of_clusters(code) => {}
            [] => wrong.push(format!("{code} has no example")),
            [bad, good @ ..] => {
                let codes = found(bad);
                if !codes.contains(&own) {
                    wrong.push(format!("{code}: its example produces {codes:?}"));
                }
                for good in good {
                    let codes = found(good);
                    if codes.contains(&own) {
                        wrong.push(format!("{code}: what is right produces it"));
                    }
                    let errors = codes.iter().filter_map(|code| code.parse::<Code>().ok());
                    let errors: Vec<_> = errors
                        .filter(|code| code.severity() == heddle_control::check::Severity::Error)
                        .collect();
                    if !errors.is_empty() {
                        wrong.push(format!("{code}: what is right is wrong: {errors:?}"));
                    }
                }
            }
        }
        let told = meaning::of(&own).unwrap();
        let follows = format!("So: {}.", code.consequence());
        assert!(told.starts_with(&own), "{told}");
        assert_eq!(told.matches(&follows).count(), 1, "{told}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_value_is_underlined_exactly() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 65536}]}\n";
    let (found, _, _dir) = problems(text);
    let mut sources = Sources::default();
    let report = Report::new(found, Severity::Note, &mut sources);
    assert_eq!(report.errors, 1, "{:?}", report.problems);
    let one = &report.problems[0];
    assert_eq!((one.column, one.end_line, one.end_column), (35, 4, 40));
    let shown = render(one, &mut sources, Style::PLAIN);
    let mark = format!("    | {}^^^^^\n", " ".repeat(34));
    assert!(shown.contains(&mark), "{shown}");
}

#[test]
fn exit_codes_are_for_ci() {
    let report = |text: &str| {
        let (found, _, _dir) = problems(text);
        Report::new(found, Severity::Note, &mut Sources::default())
    };
    let good = report(&(SHOP.to_owned() + &routes("v1")));
    assert_eq!((good.exit_code(false), good.exit_code(true)), (0, 1));
    assert_eq!((good.errors, good.warnings), (0, 1));
    assert_eq!(
        report(&(SHOP.to_owned() + &routes("v9"))).exit_code(false),
        1
    );
    let (found, _, _dir) = problems(&(SHOP.to_owned() + &routes("v9")));
    let only = Report::new(found, Severity::Error, &mut Sources::default());
    assert!(only.problems.iter().all(|p| p.severity == "error") && only.warnings == 1);
}

#[test]
fn what_cannot_be_read_is_an_exit_code_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), b"a: \xe4").unwrap();
    let found = picture::of(&[dir.path().to_owned()]).unwrap().problems;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].code, Code::Unreadable.to_string());
    assert_eq!(
        Report::new(found, Severity::Note, &mut Sources::default()).exit_code(false),
        2
    );
}

#[test]
fn sarif_has_what_code_hosts_ask_for() {
    let (found, _, _dir) = problems(&(SHOP.to_owned() + &routes("v9")));
    let report = Report::new(found, Severity::Note, &mut Sources::default());
    let log: serde_json::Value =
        serde_json::from_str(&sarif::log(&report.problems).unwrap()).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let (rules, results) = (
        &run["tool"]["driver"]["rules"],
        run["results"].as_array().unwrap(),
    );
    assert_eq!(results.len(), report.problems.len());
    for (result, problem) in results.iter().zip(&report.problems) {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert_eq!(result["level"], problem.severity);
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(
            uri.starts_with("file:///") && uri.ends_with("/shop.yaml"),
            "{uri}"
        );
        assert_eq!(place["region"]["startLine"], problem.line);
        assert!(place["region"]["endColumn"].as_u64().unwrap() > 0);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    }
}

/// The shape that the guide shows is the one that is printed.
#[test]
fn json_is_as_the_guide_shows_it() {
    let (_, rest) = meaning::GUIDE.split_once("\n## JSON\n\n```json\n").unwrap();
    let shown: serde_json::Value =
        serde_json::from_str(rest.split_once("\n```").unwrap().0).unwrap();
    let (found, _, _dir) = problems(&(SHOP.to_owned() + &routes("v9")));
    let report = Report::new(found, Severity::Error, &mut Sources::default());
    let printed = serde_json::to_value(&report).unwrap();
    fn shape(value: &serde_json::Value) -> String {
        match value {
            serde_json::Value::Object(fields) => {
                let mut all: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}: {}", shape(value)))
                    .collect();
                all.sort();
                format!("{{{}}}", all.join(", "))
            }
            serde_json::Value::Array(items) => {
                format!("[{}]", items.first().map(shape).unwrap_or_default())
            }
            serde_json::Value::String(_) => "text".to_owned(),
            serde_json::Value::Number(_) => "number".to_owned(),
            other => other.to_string(),
        }
    }
    assert_eq!(shape(&printed), shape(&shown));
    assert_eq!(printed["problems"][0]["code"], "HDL0104");
    assert_eq!(printed["problems"][0]["column"], 17);
}

/// What the schema of SARIF 2.1.0 requires of each part that is written, and what may stand there at all.
#[test]
fn sarif_keeps_to_its_schema() {
    /// Fields of an object in the standard: those that must be there, and those of the others that are used.
    type Fields = (&'static [&'static str], &'static [&'static str]);
    const LOG: Fields = (&["version", "runs"], &["$schema"]);
    const RUN: Fields = (&["tool"], &["columnKind", "originalUriBaseIds", "results"]);
    const DRIVER: Fields = (&["name"], &["semanticVersion", "rules"]);
    const RULE: Fields = (
        &["id"],
        &[
            "name",
            "shortDescription",
            "fullDescription",
            "help",
            "defaultConfiguration",
        ],
    );
    const RESULT: Fields = (&["message"], &["ruleId", "ruleIndex", "level", "locations"]);
    const REGION: Fields = (&[], &["startLine", "startColumn", "endLine", "endColumn"]);
    fn holds(value: &serde_json::Value, (must, may): Fields) {
        let fields = value.as_object().unwrap();
        for name in must {
            assert!(fields.contains_key(*name), "{name}: {value:#}");
        }
        for name in fields.keys() {
            assert!(
                must.contains(&name.as_str()) || may.contains(&name.as_str()),
                "{name}: {value:#}"
            );
        }
    }
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    let unreadable = Problem::at(
        Code::Unreadable,
        std::path::Path::new("a b/ü.yaml"),
        0,
        0,
        "gone",
    );
    let (mut found, _, _dir) = problems(&(SHOP.to_owned() + &routes("v9")));
    found.push(unreadable);
    let report = Report::new(found, Severity::Note, &mut Sources::default());
    let log: serde_json::Value =
        serde_json::from_str(&sarif::log(&report.problems).unwrap()).unwrap();
    holds(&log, LOG);
    let run = &log["runs"][0];
    holds(run, RUN);
    assert!(["utf16CodeUnits", "unicodeCodePoints"].contains(&run["columnKind"].as_str().unwrap()));
    let driver = &run["tool"]["driver"];
    holds(driver, DRIVER);
    let levels = ["none", "note", "warning", "error"];
    let rules = list(&driver["rules"]);
    for rule in &rules {
        holds(rule, RULE);
        for text in ["shortDescription", "fullDescription", "help"] {
            holds(&rule[text], (&["text"], &[]));
        }
        assert!(levels.contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
    }
    // Rules are unique.
    assert!(
        rules
            .iter()
            .enumerate()
            .all(|(i, rule)| !rules[..i].contains(rule))
    );
    let results = list(&run["results"]);
    assert!(results.len() >= 3);
    for result in &results {
        holds(result, RESULT);
        holds(&result["message"], (&["text"], &[]));
        assert!(levels.contains(&result["level"].as_str().unwrap()));
        for location in list(&result["locations"]) {
            holds(&location, (&[], &["physicalLocation"]));
            let place = &location["physicalLocation"];
            holds(place, (&[], &["artifactLocation", "region"]));
            holds(&place["artifactLocation"], (&["uri"], &["uriBaseId"]));
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(uri.is_ascii() && !uri.contains(' '), "{uri}");
            if let Some(region) = place.get("region") {
                holds(region, REGION);
                let number = |name: &str| region.get(name).map(|n| n.as_u64().unwrap());
                assert!(number("startLine").unwrap() >= 1 && number("startColumn").unwrap() >= 1);
                assert!(number("endLine").is_none_or(|end| end >= number("startLine").unwrap()));
            }
        }
    }
    assert!(results.iter().any(|one| {
        one["locations"][0]["physicalLocation"]
            .get("region")
            .is_none()
    }));
}
