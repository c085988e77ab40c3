//! What injection makes of the samples, held against Kubernetes' own published schemas (PyPI
//! `kubernetes-validate`), unknown fields refused: of the first version with native sidecars and of
//! the newest.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use heddle_injector::files::inject_documents;
use heddle_injector::{InjectConfig, NoNamespaceLabels};
use serde_json::{Value, json};

const VERSIONS: [&str; 2] = ["1.29", "1.37"];

/// What is wrong with `objects`, a list of `[name, object]`.
fn mistakes(objects: &[Value]) -> String {
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).unwrap();
    let python = target.join("tests/venv/bin/python3");
    assert!(
        python.exists(),
        "{} is not there: `cargo xtask test` makes it",
        python.display()
    );
    let mut child = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema.py"))
        .args(VERSIONS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(json!(objects).to_string().as_bytes())
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

/// Every object of the samples' results, lists taken apart, ConfigMaps and the like too.
fn injected() -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().unwrap() == "injected" {
            continue;
        }
        let input = std::fs::read_to_string(&file).unwrap();
        let config = InjectConfig::from_yaml("defaultInject: enabled").unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let Ok((output, _)) = inject_documents(&input, name, &config, &NoNamespaceLabels) else {
            continue;
        };
        let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&output)
            .into_iter()
            .collect();
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let values = json.unwrap_or_else(|_| {
            serde_saphyr::from_multiple_with_options(&output, options).unwrap()
        });
        values
            .into_iter()
            .for_each(|value| take_apart(name, value, &mut objects));
    }
    objects
}

fn take_apart(name: &str, value: Value, objects: &mut Vec<Value>) {
    if let Some(items) = value.get("items").and_then(Value::as_array) {
        items
            .iter()
            .for_each(|item| take_apart(name, item.clone(), objects));
    } else if value["apiVersion"].as_str().is_some_and(|version| {
        version == "v1" || version.starts_with("apps/") || version.starts_with("batch/")
    }) {
        objects.push(json!([name, value]));
    }
}

#[test]
fn every_injected_object_is_valid_by_kubernetes_schemas() {
    let objects = injected();
    assert!(objects.len() >= 60, "{}", objects.len());
    assert_eq!(mistakes(&objects), "");
}

#[test]
fn the_check_would_find_mistakes() {
    let pod = |container: Value| json!(["x", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}}]);
    assert_eq!(mistakes(&[pod(json!({"name": "a", "image": "b"}))]), "");
    for wrong in [
        json!({"name": "a", "restart": "Always"}),
        json!({"name": "a", "restartPolicy": 1}),
        json!({"name": "a", "volumeMounts": [{"name": "x"}]}),
    ] {
        let said = mistakes(&[pod(wrong)]);
        assert_eq!(said.lines().count(), VERSIONS.len(), "{said}");
    }
}
