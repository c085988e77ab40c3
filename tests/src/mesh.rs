//! One mesh, made and taken down by the `heddle` command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::wait;

/// How long a mesh may take to be ready on a busy machine.
pub const READY: Duration = Duration::from_secs(120);

/// A running mesh. Taken down on drop.
pub struct Mesh {
    name: String,
    dir: TempDir,
}

impl Mesh {
    /// The Bookinfo sample, from a copy of its manifests that the test may edit.
    pub fn bookinfo() -> Self {
        Self::start(
            &["bookinfo.yaml", "mesh.yaml", "reviews.yaml"].map(sample),
            &[],
        )
    }

    /// A mesh of these manifests, given as (file name, text).
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(files: &[(String, String)], flags: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mesh = Self {
            name: format!("t{}-{count}", std::process::id()),
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        for (name, text) in files {
            mesh.write(name, text);
        }
        let up = mesh
            .command(&["up", "--detach"])
            .args(flags)
            .arg(mesh.dir.path())
            .output()
            .expect("heddle is built");
        assert!(up.status.success(), "heddle up: {}", text(&up));
        mesh
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that it watches.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file of the directory as an editor does: whole, by renaming.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, name: &str, text: &str) {
        let hidden = self.dir.path().join(format!(".{name}.new"));
        std::fs::write(&hidden, text).expect("writable");
        std::fs::rename(&hidden, self.dir.path().join(name)).expect("writable");
    }

    /// A `heddle` command for this mesh.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("heddle"));
        command.env("HEDDLE_MESH", &self.name).args(args);
        command
    }

    /// Runs `heddle`.
    ///
    /// # Panics
    /// When it is not built.
    pub fn heddle(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("heddle is built")
    }

    /// Runs `heddle`, which must succeed, and gives what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.heddle(args);
        assert!(
            output.status.success(),
            "heddle {args:?}: {}",
            text(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `heddle … -o json`.
    ///
    /// # Panics
    /// When it fails or does not print JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let printed = self.ok(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{args:?}: {e}: {printed}"))
    }

    /// `heddle status -o json`.
    pub fn status(&self) -> Value {
        self.json(&["status"])
    }

    /// The pod whose name begins so.
    ///
    /// # Panics
    /// When there is none.
    pub fn pod(&self, prefix: &str) -> Value {
        let status = self.status();
        let pods = status["pods"].as_array().cloned().unwrap_or_default();
        pods.into_iter()
            .find(|pod| pod["name"].as_str().is_some_and(|n| n.starts_with(prefix)))
            .unwrap_or_else(|| panic!("no pod {prefix}* in {status:#}"))
    }

    /// The network namespace of a pod.
    pub fn netns(&self, prefix: &str) -> String {
        string(&self.pod(prefix)["netns"])
    }

    /// The IP of a Service.
    pub fn service_ip(&self, name: &str) -> String {
        let service = self.json(&["get", "service", name]);
        let object = service["items"].get(0).unwrap_or(&service).clone();
        string(&object["spec"]["clusterIP"])
    }

    /// Runs a command in a pod, which must succeed.
    pub fn exec(&self, pod: &str, command: &[&str]) -> String {
        self.ok(&[&["exec", pod, "--"], command].concat())
    }

    /// The pod of that name in a namespace.
    ///
    /// # Panics
    /// When there is none.
    pub fn pod_in(&self, namespace: &str, name: &str) -> Value {
        let status = self.status();
        let pods = status["pods"].as_array().cloned().unwrap_or_default();
        pods.into_iter()
            .find(|pod| pod["namespace"] == namespace && pod["name"] == name)
            .unwrap_or_else(|| panic!("no pod {namespace}/{name} in {status:#}"))
    }

    /// A command in a pod of a namespace, as `heddle exec` runs it.
    pub fn command_in(&self, namespace: &str, pod: &str, command: &[&str]) -> Command {
        self.command(&[&["exec", "-n", namespace, pod, "--"], command].concat())
    }

    /// What a sidecar has logged.
    ///
    /// # Panics
    /// When there is no log.
    pub fn sidecar_log(&self, pod: &str) -> String {
        let pod = self.pod(pod);
        let containers = pod["containers"].as_array().cloned().unwrap_or_default();
        let proxy = containers
            .iter()
            .find(|c| c["name"] == "heddle-proxy")
            .unwrap_or_else(|| panic!("no sidecar in {pod:#}"));
        std::fs::read_to_string(string(&proxy["log"])).expect("a log")
    }

    /// Waits until nothing is refused and every sidecar has what the control plane has.
    pub fn settled(&self) {
        wait::until("the mesh settles", Duration::from_secs(30), || {
            let status = self.status();
            let synced = |pod: &Value| pod["injected"] != true || pod["config_synced"] == true;
            status["ready"] == true
                && status["pods"]
                    .as_array()
                    .is_some_and(|pods| pods.iter().all(synced))
        });
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let down = self.heddle(&["down"]);
        if !down.status.success() {
            let said = text(&down);
            assert!(std::thread::panicking(), "heddle down: {said}");
            eprintln!("heddle down: {said}");
        }
    }
}

/// A file of the Bookinfo sample.
///
/// # Panics
/// When there is none of that name.
pub fn sample(name: &str) -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");
    let text = std::fs::read_to_string(root.join(name)).expect("a file of the sample");
    (name.to_owned(), text)
}

/// A binary of this build, beside this program or the tests.
///
/// # Panics
/// When it is not built, or this program's own path is not known.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let dir = own.parent().expect("a directory");
    let profile = match dir.parent() {
        Some(profile) if dir.ends_with("deps") => profile,
        _ => dir,
    };
    let binary = profile.join(name);
    assert!(
        binary.is_file(),
        "{} is not built: run `cargo build --workspace` first (`cargo xtask test` does)",
        binary.display()
    );
    binary
}

/// The text of a JSON string.
///
/// # Panics
/// When it is none.
pub fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

/// What a command printed.
pub fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
