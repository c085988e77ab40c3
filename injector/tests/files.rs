//! Files: what passes through, and how mistakes are named.

#![allow(clippy::unwrap_used)]

use heddle_injector::files::{FileError, Outcome, inject_documents};
use heddle_injector::{DefaultInject, InjectConfig, NoNamespaceLabels};

fn run(input: &str) -> Result<(String, Vec<heddle_injector::files::Note>), FileError> {
    let config = InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    };
    inject_documents(input, "shop.yaml", &config, &NoNamespaceLabels)
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: a}]}\n";

#[test]
fn what_is_not_injected_passes_through_byte_for_byte() {
    for input in [
        "",
        "\n\n",
        "# only a comment",
        "a:   1 # odd   spacing\r\n\r\n---\r\n- x\r\n...\r\n# end",
        "\u{feff}---\nkind: Deployment\n",
        "{\"kind\": \"Service\",   \"apiVersion\": \"v1\"}\n\n{}",
        "%YAML 1.2\n---\na: 1\n",
        "{ kind: Pod }\n",
        "text: |\n  ---\n  apiVersion: v1\n",
        "--- {a: 1}\n--- text\n",
        "&a [1, *a2]\n".replace(", *a2", "").as_str(),
    ] {
        assert_eq!(run(input).unwrap().0, input, "{input:?}");
    }
}

#[test]
fn around_an_injected_document_everything_stays() {
    let input = format!(
        "# head\n---\nx:   1\n---   # here\n\n# about the pod\n{POD}\n# after\n...\n---\ny:   2\n"
    );
    let (output, notes) = run(&input).unwrap();
    assert!(
        output
            .starts_with("# head\n---\nx:   1\n---   # here\n\n# about the pod\napiVersion: v1\n"),
        "{output}"
    );
    assert!(
        output.ends_with("\n\n# after\n...\n---\ny:   2\n"),
        "{output}"
    );
    assert_eq!((notes[0].line, &notes[0].outcome), (7, &Outcome::Injected));
}

#[test]
fn a_document_on_the_markers_own_line_is_injected() {
    let input = "--- {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app}]}}\n";
    let (output, _) = run(input).unwrap();
    assert!(output.starts_with("---\napiVersion: v1\n"), "{output}");
    assert_eq!(run(&output).unwrap().0, output);
}

#[test]
fn mistakes_name_file_line_document_and_object() {
    let input = format!(
        "a: 1\n---\n{POD}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec:\n  template:\n    metadata:\n      labels:\n        heddle.io/inject: maybe\n    spec: {{containers: [{{name: a}}]}}\n"
    );
    let error = run(&input).unwrap_err().to_string();
    assert_eq!(
        error,
        "shop.yaml:15: document 3 (Deployment shop/web): label heddle.io/inject has the value \"maybe\"; allowed: \"true\", \"false\""
    );
}

#[test]
fn a_broken_document_is_refused_with_its_line_in_the_file() {
    let error = run("a: 1\n---\nb: 1\nc: [1,\n---\nd: 1\n").unwrap_err();
    assert_eq!((error.document, error.file.as_str()), (2, "shop.yaml"));
    assert!((4..=5).contains(&error.line), "{error}");
    let error = run("a: 1\na: 2\n").unwrap_err();
    assert_eq!(error.line, 2, "{error}");
    assert!(error.reason.contains("duplicate"), "{error}");
}

#[test]
fn a_workload_without_a_template_is_refused() {
    let error =
        run("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {}\n").unwrap_err();
    assert_eq!(error.reason, "it has no spec.jobTemplate.spec.template");
    assert_eq!(error.line, 4);
}

#[test]
fn a_label_that_is_no_text_is_refused_as_kubernetes_would() {
    let pod = POD.replace(
        "{name: web}",
        "{name: web, labels: {heddle.io/inject: true}}",
    );
    let error = run(&pod).unwrap_err();
    assert!(error.reason.contains("expected a string"), "{error}");
}
