//! Manifests of pods that run the programs of `tests/programs`, made here so that a test reads as what
//! it wants. Every pod finds the scripts, and Python with what came from PyPI, at the same places.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Python with gRPC, websockets and aiosmtpd, as a pod finds it.
pub const PYTHON: &str = "/run/venv/bin/python3";
/// Debian's `nobody`: whom programs know that want their user to have a name.
const NOBODY: u32 = 65534;
/// Seconds in which a program must listen: initialising a database on a busy machine.
const START: u32 = 120;

/// Objects as one file of manifests.
pub fn manifest(objects: &[Value]) -> String {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    documents.join("\n---\n")
}

/// A namespace whose pods get sidecars, or do not.
pub fn namespace(name: &str, meshed: bool) -> Value {
    let inject = if meshed { "enabled" } else { "disabled" };
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"heddle.io/inject": inject}}})
}

/// A pod. It is selected by the label `app`, its name, and has what [`certificate`] made in `/run/tls`,
/// if there is any, and `/run/data` to write to.
///
/// # Panics
/// When what comes from PyPI is not installed.
pub fn pod(namespace: &str, name: &str, containers: &[Value]) -> Value {
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/programs");
    let venv = venv();
    let mounts = ["programs", "venv", "tls", "data"]
        .map(|volume| json!({"name": volume, "mountPath": format!("/run/{volume}"), "readOnly": volume != "data"}));
    let containers = containers.iter().map(|container| {
        let mut container = container.clone();
        container["volumeMounts"] = json!(mounts);
        container
    });
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "securityContext": {"runAsUser": NOBODY, "runAsGroup": NOBODY},
            "terminationGracePeriodSeconds": 1,
            "volumes": [
                {"name": "programs", "hostPath": {"path": programs, "type": "Directory"}},
                {"name": "venv", "hostPath": {"path": venv, "type": "Directory"}},
                {"name": "tls", "configMap": {"name": "tls", "optional": true}},
                {"name": "data", "emptyDir": {}}],
            "containers": containers.collect::<Vec<_>>()}})
}

/// A container, which is ready when it listens on a port, if one is given.
pub fn container(name: &str, command: &[&str], listens: Option<u16>) -> Value {
    let mut container = json!({"name": name, "image": "none", "command": command});
    if let Some(port) = listens {
        container["readinessProbe"] =
            json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": START});
    }
    container
}

/// A Service for the pods with the label `app`. Without an address of its own (headless) it is also
/// for clients without a sidecar: nobody there would know what to do with such an address.
pub fn service(
    namespace: &str,
    name: &str,
    app: &str,
    ports: &[(String, u16)],
    headless: bool,
) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, port)| json!({"name": name, "port": port}))
        .collect();
    let mut spec = json!({"selector": {"app": app}, "ports": ports});
    if headless {
        spec["clusterIP"] = json!("None");
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// A PeerAuthentication for the pods with a label, or without one for the whole namespace.
pub fn peer_authentication(namespace: &str, label: Option<(&str, &str)>, mode: &str) -> Value {
    let mut spec = json!({"mtls": {"mode": mode}});
    if let Some((key, value)) = label {
        spec["selector"] = json!({"matchLabels": {key: value}});
    }
    json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": mode.to_ascii_lowercase(), "namespace": namespace}, "spec": spec})
}

/// A certificate of an application's own, and its key.
pub struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    /// For DNS names; who trusts it trusts it alone.
    ///
    /// # Panics
    /// When openssl makes none.
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = format!("subjectAltName={}", names.join(","));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str| dir.path().join(name);
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=app".split(' '))
            .args(["-addext", &names, "-keyout"])
            .arg(file("key.pem"))
            .arg("-out")
            .arg(file("cert.pem"))
            .stderr(Stdio::null())
            .status()
            .expect("openssl runs");
        assert!(made.success(), "openssl req: {made}");
        let read = |name| std::fs::read_to_string(file(name)).expect("openssl wrote it");
        Self {
            certificate: read("cert.pem"),
            key: read("key.pem"),
        }
    }

    /// The ConfigMap that a namespace's pods mount.
    pub fn object(&self, namespace: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tls", "namespace": namespace},
            "data": {"cert.pem": self.certificate, "key.pem": self.key}})
    }
}

/// Where `cargo xtask test` puts what comes from PyPI: in the target directory, beside the profiles.
fn venv() -> PathBuf {
    let tests = std::env::current_exe().expect("the path of the tests");
    let target = tests.ancestors().nth(3).expect("target/PROFILE/deps");
    let venv = target.join("tests/venv");
    assert!(
        venv.join("bin/python3").exists(),
        "{} is not there: `cargo xtask test` makes it, with what it says that it installs",
        venv.display()
    );
    venv
}
