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
    assert!(output.starts_with("--- {apiVersion: v1, "), "{output}");
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

/// What injection adds to `input`, line by line; panics if it takes anything away.
fn added(input: &str) -> Vec<String> {
    let (output, notes) = run(input).unwrap();
    assert!(
        notes.iter().all(|note| note.outcome != Outcome::Rewritten),
        "{output}"
    );
    assert_eq!(run(&output).unwrap().0, output, "a second time");
    let mut rest = output.split_inclusive('\n').peekable();
    let mut added = Vec::new();
    for line in input.split_inclusive('\n') {
        loop {
            let next = rest
                .next()
                .unwrap_or_else(|| panic!("lost {line:?} in:\n{output}"));
            if next == line {
                break;
            }
            added.push(next.to_owned());
        }
    }
    added.extend(rest.map(str::to_owned));
    added
}

#[test]
fn inside_an_injected_document_every_line_stays() {
    let input = "\
# The shop.
apiVersion: apps/v1
kind:   Deployment      # odd spacing
metadata:
  name: 'web'           # quoted

  # about the labels
  labels: {a: b}
spec:
  template:
    # about the template
    metadata:
      labels: # of the pods
        app: \"web\"

    spec:
      # first of all
      initContainers:
      # migrates
      - name: migrate
        image: a
        command: [sh, -c]
      containers:
        # the one
        - image: a
          name: app
          args:
            - |
              text # no comment

              more
          env: []       # none
      # trailing
      # comments
  replicas: 2
# the end
";
    let added = added(input).concat();
    for part in [
        "- name: heddle-init",
        "- name: heddle-proxy",
        "heddle.io/rev",
        "volumes:",
    ] {
        assert!(added.contains(part), "{part} in\n{added}");
    }
    let (output, _) = run(input).unwrap();
    let before = output.find("# migrates").unwrap();
    assert!(output[..before].contains("heddle-proxy"), "{output}");
    assert!(
        output.contains(
            "labels: # of the pods\n        app: \"web\"\n        heddle.io/rev: default\n"
        ),
        "{output}"
    );
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_stay() {
    let input = format!("\u{feff}{POD}").replace('\n', "\r\n");
    let (output, _) = run(&input).unwrap();
    assert!(output.starts_with("\u{feff}apiVersion: v1\r\n"), "{output}");
    assert!(
        !output.replace("\r\n", "").contains(['\r', '\n']),
        "{output:?}"
    );
    let block = "apiVersion: v1\r\nkind: Pod\r\nmetadata:\r\n  name: web # a\r\nspec:\r\n  containers:\r\n  - name: app\r\n";
    let (output, _) = run(block).unwrap();
    assert!(output.contains("  name: web # a\r\n"), "{output}");
    assert!(
        !output.replace("\r\n", "").contains(['\r', '\n']),
        "{output:?}"
    );
}

#[test]
fn braces_are_added_to_between_braces() {
    let (output, _) = run(POD).unwrap();
    assert!(
        output.contains("metadata: {name: web, labels: {\"heddle.io/rev\": \"default\"}"),
        "{output}"
    );
    assert!(
        output.contains("spec: {containers: [{name: app, image: a}], "),
        "{output}"
    );
    let json = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"spec\": {\n\t\t\"containers\": [\n\t\t\t{\"name\": \"app\", \"e\": \"\\ud83d\\ude00\\/\"}\n\t\t]\n\t}\n}\n";
    let (output, _) = run(json).unwrap();
    assert_eq!(run(&output).unwrap().0, output);
}

#[test]
fn what_has_no_place_to_add_to_is_written_anew_and_says_so() {
    let input = "apiVersion: v1\nkind: Pod\nmetadata: &m\n  name: web\n  annotations: &a {x: z}\nspec:\n  containers:\n  - name: app\n    env: [{name: A, value: b}]\nother: *a\n";
    let (output, notes) = run(input).unwrap();
    assert_eq!(
        notes.last().unwrap().outcome,
        Outcome::Rewritten,
        "{output}"
    );
    assert!(output.contains("other:\n  x: z\n"), "{output}");
    assert_eq!(run(&output).unwrap().0, output);
}

#[test]
fn an_anchor_that_is_only_read_is_no_obstacle() {
    let input = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: app\n    env: &env\n    - {name: A, value: b} # kept\n  - name: other\n    env: *env\n";
    assert!(!added(input).is_empty());
}

#[test]
fn in_a_list_each_object_has_its_own_line() {
    let input = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a, labels: {heddle.io/inject: 'true'}}\n  spec: {containers: [{name: app}]}\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: b\n    labels:\n      heddle.io/inject: 'maybe'\n  spec: {containers: [{name: app}]}\n";
    assert_eq!(run(input).unwrap_err().line, 13);
    let (_, notes) = run(&input.replace("maybe", "true")).unwrap();
    let lines: Vec<_> = notes.iter().map(|note| note.line).collect();
    assert_eq!(lines, [4, 8]);
}
