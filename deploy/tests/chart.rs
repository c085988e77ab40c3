//! The chart: made of the same objects as `heddle install` prints, and rendered by Helm's own library to
//! the same, object by object, whatever is set.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use heddle_deploy::{Settings, chart, manifests};
use serde_json::Value;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("chart")
}

/// `UPDATE_CHART=1` writes it.
#[test]
fn the_chart_is_what_the_types_make_of_it() {
    for (path, text) in chart::files() {
        let file = directory().join(path);
        if std::env::var_os("UPDATE_CHART").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            there == text,
            "{} is not current: UPDATE_CHART=1 cargo test -p heddle-deploy --test chart",
            file.display()
        );
    }
}

const RENDER: &str = r#"
import json, sys
import helm_python
chart = helm_python.Chart.load(sys.argv[1])
values = json.loads(sys.argv[2])
try:
    rendered = chart.render(values, name="heddle", namespace=sys.argv[3])
except helm_python.HelmError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
crds = {c["name"]: c["data"] for c in chart.crds}
print(json.dumps({"rendered": rendered, "crds": crds}))
"#;

/// Where `cargo xtask test` has put it, or the machine's own.
fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let candidates = [target.join("tests/venv/bin/python3"), "python3".into()];
    let usable = |python: &&PathBuf| {
        let imported = Command::new(python)
            .args(["-c", "import helm_python"])
            .output();
        imported.is_ok_and(|output| output.status.success())
    };
    let found = candidates.iter().find(usable).cloned();
    found.expect("helm-python-sdk is not installed: `cargo xtask test` installs it")
}

fn render(values: &Value, namespace: &str) -> Value {
    let output = Command::new(python())
        .args(["-c", RENDER])
        .arg(directory())
        .arg(values.to_string())
        .arg(namespace)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

type Objects = BTreeMap<(String, String), Value>;

fn by_name(objects: impl IntoIterator<Item = Value>) -> Objects {
    objects
        .into_iter()
        .filter(|object| !object.is_null())
        .map(|object| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                (text(&object["kind"]), text(&object["metadata"]["name"])),
                object,
            )
        })
        .collect()
}

fn documents(texts: &Value) -> Vec<Value> {
    let texts = texts.as_object().unwrap().iter();
    texts
        .filter(|(name, _)| name.ends_with(".yaml"))
        .flat_map(|(_, text)| serde_saphyr::from_multiple::<Value>(text.as_str().unwrap()).unwrap())
        .collect()
}

#[test]
fn helm_renders_what_install_prints() {
    for assignments in [
        &[][..],
        &["ha=true"],
        &["linkerdNamespaces=true", "failurePolicy=Ignore"],
        &["linkerdNamespaces=true", "istioSwitches=false"],
        &["linkerdSwitches=false"],
        &["istioSwitches=false", "linkerdSwitches=false"],
        &["istioSwitches=false", "injectAll=true"],
        &[
            "ha=true",
            "replicas=5",
            "namespace=mesh",
            "injectAll=true",
            "networkPolicies=false",
        ],
        &[
            "caSecret=mesh-ca",
            "trustDomain=prod.example",
            "imageRegistry=registry.example:5000/mesh",
            "imageTag=1.20",
            "imagePullPolicy=Always",
            "nativeSidecars=false",
            "cni=true",
            "revision=canary",
            "verifyTokens=cluster-keys",
            "certTtl=90m",
            "rootSpread=10m",
            "samplingPercentage=12.5",
            "otlpEndpoint=http://collector.observability:4317",
            "logLevel=debug",
            "failurePolicy=Ignore",
            "clusterDomain=corp.local",
        ],
    ] {
        let mut settings = Settings::default();
        for assignment in assignments {
            settings.set(assignment).unwrap();
        }
        let mut values = serde_json::to_value(&settings).unwrap();
        let values = {
            let map = values.as_object_mut().unwrap();
            map.remove("namespace");
            map.remove("crds");
            // What is not set comes from the chart's own defaults.
            let set = |key: &String| {
                assignments
                    .iter()
                    .any(|a| a.starts_with(&format!("{key}=")))
            };
            Value::Object(
                map.clone()
                    .into_iter()
                    .filter(|(key, _)| set(key))
                    .collect(),
            )
        };
        let answer = render(&values, &settings.namespace);
        assert!(answer.get("error").is_none(), "{answer}");
        let rendered = documents(&answer["rendered"]);
        let rendered = by_name(rendered.into_iter().chain(documents(&answer["crds"])));
        let mut printed = by_name(manifests(&settings));
        // Helm makes the namespace itself (--create-namespace).
        printed.remove(&("Namespace".to_owned(), settings.namespace.clone()));
        let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&rendered), names(&printed), "{assignments:?}");
        for (name, object) in &printed {
            assert_eq!(&rendered[name], object, "{assignments:?} {name:?}");
        }
    }
}

#[test]
fn helm_refuses_values_that_do_not_exist() {
    let answer = render(&serde_json::json!({"replica": 3}), "heddle-system");
    assert!(
        answer["error"].as_str().unwrap().contains("replica"),
        "{answer}"
    );
}
