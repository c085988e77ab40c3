//! A machine of its own for Podman: network namespace, storage and configuration that nothing else
//! uses, and that are gone with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use heddle_tests::mesh::{binary, text};
use serde_json::Value;

/// What pods are given of the mesh.
pub(crate) const MESH: &str = "mesh";
/// Of Podman's default network.
pub(crate) const SERVER_IP: &str = "10.88.0.11";
pub(crate) const CLIENT_IP: &str = "10.88.0.12";

const PAUSE: &str = "#include <signal.h>\n#include <unistd.h>\nstatic void end(int s) { _exit(0); }\n\
    int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }\n";

/// The programs of the applications' image.
const PROGRAMS: [&str; 3] = ["/usr/sbin/nginx", "/usr/bin/curl", "/usr/bin/sleep"];

pub(crate) struct Machine {
    dir: tempfile::TempDir,
    netns: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("heddle-podman-")
            .tempdir()
            .unwrap();
        let machine = Self {
            netns: format!("heddle-podman-{}", std::process::id()),
            dir,
        };
        let path = |name: &str| machine.path(name).display().to_string();
        machine.write(
            "containers.conf",
            &format!(
                "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                 [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\n\
                 infra_image = \"localhost/pause:test\"\ninfra_command = \"/pause\"\n\
                 tmp_dir = \"{}\"\nstatic_dir = \"{}\"\nvolume_path = \"{}\"\n\
                 [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{}\"\n",
                path("tmp"),
                path("static"),
                path("volumes"),
                path("networks"),
            ),
        );
        machine.write(
            "storage.conf",
            &format!(
                "[storage]\ndriver = \"vfs\"\nrunroot = \"{}\"\ngraphroot = \"{}\"\n",
                path("run"),
                path("graph")
            ),
        );
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `program` in the machine's network namespace, with its configuration of containers.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.netns))
            .arg("--")
            .arg(program.as_ref())
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .env("TMPDIR", self.dir.path());
        command
    }

    pub(crate) fn podman(&self, arguments: &[&str]) -> Output {
        self.command("podman").args(arguments).output().unwrap()
    }

    pub(crate) fn on_node(&self, command: &[&str]) -> Output {
        self.command(command[0])
            .args(&command[1..])
            .output()
            .unwrap()
    }

    /// A program of the machine in the network namespace of a container.
    pub(crate) fn in_pod(&self, container: &str, command: &[&str]) -> Output {
        let pid = self.podman(&["inspect", "--format", "{{.State.Pid}}", container]);
        let pid = String::from_utf8_lossy(&pid.stdout).trim().to_owned();
        Command::new("nsenter")
            .args(["--net", "--target", &pid, "--"])
            .args(command)
            .output()
            .unwrap()
    }

    /// Whether a pod can be run here, by running one.
    pub(crate) fn probe(&mut self) -> Result<(), String> {
        run(Command::new("ip").args(["netns", "add", &self.netns]))?;
        run(self.command("ip").args(["link", "set", "lo", "up"]))?;
        let source = self.write("pause/pause.c", PAUSE);
        let program = self.path("pause/pause");
        run(Command::new("cc")
            .arg("-static")
            .arg("-o")
            .args([&program, &source]))?;
        self.write(
            "pause/Containerfile",
            "FROM scratch\nCOPY pause /pause\nENTRYPOINT [\"/pause\"]\n",
        );
        self.build("localhost/pause:test", &self.path("pause"))?;
        let pod = self.write(
            "probe.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: probe}\nspec:\n  restartPolicy: Never\n  containers:\n  - {name: pause, image: localhost/pause:test, imagePullPolicy: Never}\n",
        );
        let pod = pod.to_str().unwrap();
        run(self
            .command("podman")
            .args(["kube", "play", "--network", "podman", pod]))?;
        run(self
            .command("podman")
            .args(["pod", "rm", "--force", "--time", "0", "probe"]))
    }

    fn build(&self, tag: &str, context: &Path) -> Result<(), String> {
        let arguments = ["bud", "--quiet", "--isolation", "chroot", "--tag", tag];
        run(self.command("buildah").args(arguments).arg(context))
    }

    /// The mesh's images from this build's binaries, and one of the applications.
    pub(crate) fn build_images(&self) {
        let binaries = binary("heddle-proxy");
        run(self
            .command(binary("xtask"))
            .args(["images", "--bins"])
            .arg(binaries.parent().unwrap())
            .arg("--work-dir")
            .arg(self.path("images")))
        .unwrap();
        for (image, user) in [
            ("proxy", 1337),
            ("identity", 65532),
            ("control", 65532),
            ("injector", 65532),
        ] {
            let name = format!("localhost/heddle/{image}:{}", env!("CARGO_PKG_VERSION"));
            let set = self.podman(&["image", "inspect", "--format", "{{.User}}", &name]);
            assert_eq!(
                String::from_utf8_lossy(&set.stdout).trim(),
                format!("{user}:{user}")
            );
            // Everything that it needs is in it.
            let program = format!("/usr/bin/heddle-{image}");
            let rootfs = self.path(&format!("images/{image}/rootfs"));
            let ran = Command::new("chroot")
                .arg(rootfs)
                .args([&program, "--version"])
                .output();
            let ran = ran.unwrap();
            assert!(ran.status.success(), "{name}: {}", text(&ran));
        }
        let rootfs = self.path("apps/rootfs");
        for program in PROGRAMS {
            let linked = Command::new("ldd").arg(program).output().unwrap();
            let linked = String::from_utf8(linked.stdout).unwrap();
            let libraries = linked
                .split_whitespace()
                .filter(|word| word.starts_with('/'));
            for file in libraries.chain([program]) {
                let to = rootfs.join(file.trim_start_matches('/'));
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(file, to).unwrap();
            }
        }
        self.write(
            "apps/rootfs/etc/passwd",
            "root:x:0:0::/:/\nnobody:x:65534:65534::/:/\n",
        );
        self.write("apps/rootfs/etc/group", "root:x:0:\nnogroup:x:65534:\n");
        for directory in ["tmp", "var/log/nginx"] {
            std::fs::create_dir_all(rootfs.join(directory)).unwrap();
        }
        self.write(
            "apps/Containerfile",
            "FROM scratch\nCOPY rootfs/ /\nENV PATH=/usr/bin:/usr/sbin\n",
        );
        self.build("localhost/apps:test", &self.path("apps"))
            .unwrap();
    }

    /// The documented line, in a shell; nothing of the manifest is touched on the way.
    pub(crate) fn inject_and_play(&self, name: &str, ip: &str, objects: &Value) {
        let documents = objects.as_array().unwrap().iter();
        let documents: Vec<_> = documents.map(|object| format!("---\n{object}\n")).collect();
        let file = self.write(&format!("{name}.yaml"), &documents.concat());
        let line = "set -o pipefail; \"$HEDDLE\" inject --podman \"$MESH\" -f \"$FILE\" \
             | podman kube play --network podman --ip \"$IP\" -";
        let mut shell = self.command("bash");
        shell.args(["-c", line]).env("HEDDLE", binary("heddle"));
        shell.env("MESH", self.path(MESH)).env("FILE", file);
        let played = shell.env("IP", ip).output().unwrap();
        assert!(played.status.success(), "{}{}", text(&played), self.logs());
    }

    /// What all containers said last.
    pub(crate) fn logs(&self) -> String {
        let names = self.podman(&["ps", "--all", "--format", "{{.Names}}"]);
        let mut logs = text(&self.podman(&["ps", "--all"]));
        for name in String::from_utf8_lossy(&names.stdout).lines() {
            let log = self.podman(&["logs", "--tail", "30", name]);
            logs.push_str(&format!("== {name}\n{}", text(&log)));
        }
        logs
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.podman(&["pod", "rm", "--all", "--force", "--time", "0"]);
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
        let _ = Command::new("ip")
            .args(["netns", "del", &self.netns])
            .output();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", text(&output))),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
