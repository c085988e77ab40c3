//! Manifests and what injection makes of them. `samples/NAME` goes in, `samples/NAME.injected` is
//! the reviewed result, or the refusal; HEDDLE_REVIEW=1 writes the results anew. A first line
//! `# config: {...}` changes the configuration. Whatever the sample, injecting its result changes
//! nothing, no line of it is lost, and every object in it is one that Kubernetes' own types can read.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use heddle_injector::files::{Outcome, inject_documents};
use heddle_injector::{InjectConfig, NoNamespaceLabels};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn samples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().unwrap() != "injected")
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{}", files.len());
    files
}

fn config(sample: &str) -> InjectConfig {
    let given = sample
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# config: "))
        .unwrap_or("{}");
    let mut config: Value = serde_saphyr::from_str(given).unwrap();
    if config.get("defaultInject").is_none() {
        config["defaultInject"] = "enabled".into();
    }
    InjectConfig::from_yaml(&config.to_string()).unwrap()
}

/// The samples that are not refused: name, text, configuration and result.
fn injected() -> Vec<(String, String, InjectConfig, String)> {
    let mut injected = Vec::new();
    for file in samples() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let input = std::fs::read_to_string(&file).unwrap();
        let config = config(&input);
        if let Ok((output, _)) = inject_documents(&input, &name, &config, &NoNamespaceLabels) {
            injected.push((name, input, config, output));
        }
    }
    assert!(injected.len() >= 60, "{}", injected.len());
    injected
}

#[test]
fn every_sample_gives_the_reviewed_result() {
    let review = std::env::var_os("HEDDLE_REVIEW").is_some();
    let mut differ = Vec::new();
    for file in samples() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let input = std::fs::read_to_string(&file).unwrap();
        let result = match inject_documents(&input, name, &config(&input), &NoNamespaceLabels) {
            Ok((mut result, notes)) => {
                result.push_str("\n# Notes:\n");
                for note in notes {
                    result.push_str(&format!("# line {}: {note}\n", note.line));
                }
                result
            }
            Err(error) => format!("# Refused:\n# {error}\n"),
        };
        let expected = PathBuf::from(format!("{}.injected", file.display()));
        if review {
            std::fs::write(&expected, &result).unwrap();
        }
        if result != std::fs::read_to_string(&expected).unwrap_or_default() {
            differ.push(format!("{name} gives now:\n{result}"));
        }
    }
    assert!(
        differ.is_empty(),
        "{}\nreview them: HEDDLE_REVIEW=1 cargo nextest run -p heddle-injector, then git diff",
        differ.join("\n")
    );
}

#[test]
fn every_reviewed_result_has_its_sample() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap().path();
        if file.extension().unwrap() == "injected" {
            assert!(file.with_extension("").exists(), "{}", file.display());
        }
    }
}

#[test]
fn injecting_a_result_changes_not_a_byte() {
    for (name, _, config, once) in injected() {
        let (twice, _) = inject_documents(&once, "twice", &config, &NoNamespaceLabels).unwrap();
        assert_eq!(once, twice, "{name}");
    }
}

#[test]
fn no_comment_is_lost_but_where_it_is_said() {
    let mut checked = 0;
    for (name, input, config, output) in injected() {
        let (_, notes) = inject_documents(&input, &name, &config, &NoNamespaceLabels).unwrap();
        if notes.iter().any(|note| note.outcome == Outcome::Rewritten) {
            assert_eq!(name, "deployment-anchored-labels.yaml");
            continue;
        }
        let mut rest = output.as_str();
        for comment in input
            .lines()
            .filter_map(|line| line.find('#').map(|at| &line[at..]))
        {
            if comment.ends_with("(it goes with them)") {
                continue;
            }
            let at = rest
                .find(comment)
                .unwrap_or_else(|| panic!("{name}: {comment} in\n{output}"));
            rest = &rest[at + comment.len()..];
            checked += 1;
        }
    }
    assert!(checked >= 60, "{checked}");
}

#[test]
fn a_detour_over_another_configuration_ends_at_the_same_result() {
    let detour = "image: registry.example/older:0\nnativeSidecar: false\nrewriteProbes: false\nmergeMetrics: false\nrevision: other\n";
    let detour = InjectConfig::from_yaml(detour).unwrap();
    for (name, input, config, direct) in injected() {
        let detour = InjectConfig {
            default_inject: config.default_inject,
            never_inject: config.never_inject.clone(),
            always_inject: config.always_inject.clone(),
            istio_switches: config.istio_switches,
            linkerd_switches: config.linkerd_switches,
            ..detour.clone()
        };
        let (away, _) = inject_documents(&input, "x", &detour, &NoNamespaceLabels).unwrap();
        let (back, _) = inject_documents(&away, "x", &config, &NoNamespaceLabels).unwrap();
        assert_eq!(parse(&back), parse(&direct), "{name}");
    }
}

#[test]
fn every_object_in_a_result_is_one_to_kubernetes_types() {
    let mut checked = 0;
    for (name, _, _, output) in injected() {
        for mut object in parse(&output) {
            visit(&mut object, &mut |object| {
                numbers_as_quantities(object);
                // Reading and writing drops what the types do not know: nothing of ours may be.
                assert_covers(&read_and_write(object), object, &name);
                checked += 1;
            });
        }
    }
    assert!(checked >= 60, "{checked}");
}

fn read_and_write(object: &Value) -> Value {
    fn through<T: Serialize + DeserializeOwned>(object: &Value) -> Value {
        let read: T = serde_json::from_value(object.clone())
            .unwrap_or_else(|error| panic!("{error}: {object:#}"));
        serde_json::to_value(read).unwrap()
    }
    match object["kind"].as_str().unwrap() {
        "Pod" => through::<Pod>(object),
        "ReplicationController" => through::<ReplicationController>(object),
        "Deployment" => through::<Deployment>(object),
        "DaemonSet" => through::<DaemonSet>(object),
        "ReplicaSet" => through::<ReplicaSet>(object),
        "StatefulSet" => through::<StatefulSet>(object),
        "Job" => through::<Job>(object),
        "CronJob" => through::<CronJob>(object),
        kind => panic!("a {kind}"),
    }
}

fn parse(text: &str) -> Vec<Value> {
    let json: Result<Vec<_>, _> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect();
    if let Ok(values) = json {
        return values;
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(text, options).unwrap()
}

/// Calls `check` with every object that was injected, in lists too.
fn visit(object: &mut Value, check: &mut impl FnMut(&mut Value)) {
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        return items.iter_mut().for_each(|item| visit(item, check));
    }
    let is_injected = ["", "/spec/template", "/spec/jobTemplate/spec/template"]
        .iter()
        .any(|pointer| {
            let status = "/metadata/annotations/heddle.io~1status";
            object.pointer(&format!("{pointer}{status}")).is_some()
        });
    if is_injected {
        check(object);
    }
}

/// Kubernetes reads `cpu: 1`, k8s-openapi's types only `cpu: "1"`.
fn numbers_as_quantities(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Object(amounts) if key == "requests" || key == "limits" => {
                        for amount in amounts.values_mut().filter(|amount| amount.is_number()) {
                            *amount = amount.to_string().into();
                        }
                    }
                    value => numbers_as_quantities(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(numbers_as_quantities),
        _ => {}
    }
}

/// Everything that `given` says, `known` says too.
fn assert_covers(known: &Value, given: &Value, path: &str) {
    match (known, given) {
        (Value::Object(known), Value::Object(given)) => {
            for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let known = known
                    .get(key)
                    .unwrap_or_else(|| panic!("{path}.{key} is not a field"));
                assert_covers(known, value, &format!("{path}.{key}"));
            }
        }
        (Value::Array(known), Value::Array(given)) => {
            assert_eq!(known.len(), given.len(), "{path}");
            for (index, (known, given)) in known.iter().zip(given).enumerate() {
                assert_covers(known, given, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(known, given, "{path}"),
    }
}
