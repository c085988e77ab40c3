//! Manifests and what injection makes of them. `samples/NAME` goes in, `samples/NAME.injected` is
//! the reviewed result; HEDDLE_REVIEW=1 writes the results anew. A first line `# config: {...}`
//! changes the configuration. Whatever the sample, injecting its result changes nothing, and every
//! pod in it is one that Kubernetes' own types can read.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use heddle_injector::files::inject_documents;
use heddle_injector::{InjectConfig, NoNamespaceLabels};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
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
    assert!(files.len() >= 8);
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

#[test]
fn every_sample_gives_the_reviewed_result() {
    let review = std::env::var_os("HEDDLE_REVIEW").is_some();
    for file in samples() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let input = std::fs::read_to_string(&file).unwrap();
        let (output, notes) =
            inject_documents(&input, name, &config(&input), &NoNamespaceLabels).unwrap();
        let mut result = output;
        result.push_str("\n# Notes:\n");
        for note in notes {
            result.push_str(&format!("# line {}: {note}\n", note.line));
        }
        let expected = PathBuf::from(format!("{}.injected", file.display()));
        if review {
            std::fs::write(&expected, &result).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(
            result, expected,
            "{name}: see the difference, then HEDDLE_REVIEW=1 cargo nextest run -p heddle-injector"
        );
    }
}

#[test]
fn injecting_a_result_changes_not_a_byte() {
    for file in samples() {
        let input = std::fs::read_to_string(&file).unwrap();
        let config = config(&input);
        let (once, _) = inject_documents(&input, "once", &config, &NoNamespaceLabels).unwrap();
        let (twice, _) = inject_documents(&once, "twice", &config, &NoNamespaceLabels).unwrap();
        assert_eq!(once, twice, "{}", file.display());
    }
}

#[test]
fn a_detour_over_another_configuration_ends_at_the_same_result() {
    let detour = "nativeSidecar: false\nrewriteProbes: false\nmergeMetrics: false\nrevision: other\ndefaultInject: enabled\n";
    let detour = InjectConfig::from_yaml(detour).unwrap();
    for file in samples() {
        let input = std::fs::read_to_string(&file).unwrap();
        let inject = |text: &str, config: &InjectConfig| {
            parse(
                &inject_documents(text, "x", config, &NoNamespaceLabels)
                    .unwrap()
                    .0,
            )
        };
        let direct = inject(&input, &config(&input));
        let (away, _) = inject_documents(&input, "x", &detour, &NoNamespaceLabels).unwrap();
        assert_eq!(inject(&away, &config(&input)), direct, "{}", file.display());
    }
}

#[test]
fn every_injected_pod_is_one_to_kubernetes_types() {
    let mut checked = 0;
    for file in samples() {
        let input = std::fs::read_to_string(&file).unwrap();
        let (output, _) =
            inject_documents(&input, "x", &config(&input), &NoNamespaceLabels).unwrap();
        for mut object in parse(&output) {
            visit(&mut object, &mut |pod, whole| {
                numbers_as_quantities(pod);
                let known = if whole {
                    serde_json::to_value(serde_json::from_value::<Pod>(pod.clone()).unwrap())
                } else {
                    serde_json::to_value(
                        serde_json::from_value::<PodTemplateSpec>(pod.clone()).unwrap(),
                    )
                };
                // Reading and writing drops what the types do not know: nothing of ours may be.
                assert_covers(&known.unwrap(), pod, &file.display().to_string());
                checked += 1;
            });
        }
    }
    assert!(checked >= 7, "{checked}");
}

fn parse(text: &str) -> Vec<Value> {
    if text.trim_start().starts_with('{') {
        let text = text.split("\n# Notes").next().unwrap();
        return serde_json::Deserializer::from_str(text)
            .into_iter()
            .map(Result::unwrap)
            .collect();
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(text, options).unwrap()
}

/// Calls `check` with every pod (whole) and pod template in `object` that was injected.
fn visit(object: &mut Value, check: &mut impl FnMut(&mut Value, bool)) {
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        return items.iter_mut().for_each(|item| visit(item, check));
    }
    for (pointer, whole) in [
        ("", true),
        ("/spec/template", false),
        ("/spec/jobTemplate/spec/template", false),
    ] {
        if let Some(pod) = object.pointer_mut(pointer)
            && pod
                .pointer("/metadata/annotations/heddle.io~1status")
                .is_some()
        {
            check(pod, whole);
        }
    }
}

/// Kubernetes reads `cpu: 1`, k8s-openapi's types only `cpu: "1"`.
fn numbers_as_quantities(pod: &mut Value) {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    for resources in containers
        .iter_mut()
        .filter_map(|container| container.get_mut("resources"))
    {
        for amounts in resources.as_object_mut().unwrap().values_mut() {
            for amount in amounts
                .as_object_mut()
                .unwrap()
                .values_mut()
                .filter(|amount| amount.is_number())
            {
                *amount = amount.to_string().into();
            }
        }
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
