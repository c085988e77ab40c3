//! What a kubelet does for a pod, for the pods of Deployments: it fills the volumes and keeps them fresh, and
//! runs the container with its arguments and files where they belong, in a mount namespace of its own, as
//! the user that it asks for. Addresses are of loopback, as the network is this machine's.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use heddle_apiserver::{ApiServer, User};
use heddle_tests::mesh::binary;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

pub(crate) const SYSTEM: &str = "heddle-system";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A container that runs.
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

pub(crate) struct Kubelet {
    /// Of every pod.
    address: Ipv4Addr,
    api: String,
    files: tempfile::TempDir,
    running: Vec<Running>,
    /// Directories that hold what a ConfigMap says.
    maps: BTreeMap<PathBuf, String>,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        for running in &mut self.running {
            // It may have ended.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl Kubelet {
    pub(crate) fn new(server: &ApiServer) -> Self {
        // Nobody else's.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 91, high, low);
        for (part, port) in [("heddle-control", 15019), ("heddle-injector", 15017)] {
            let service = format!("{SYSTEM}/{part}:443");
            server.route_service(&service, SocketAddr::from((address, port)));
        }
        let files = tempfile::tempdir().unwrap();
        std::fs::set_permissions(files.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self {
            address,
            api: server.url().trim_start_matches("https://").to_owned(),
            files,
            running: Vec::new(),
            maps: BTreeMap::new(),
        }
    }

    /// Runs the one container of a Deployment's pods, once.
    pub(crate) fn run(&mut self, server: &ApiServer, objects: &[Value], name: &str) {
        let deployment = objects
            .iter()
            .find(|one| one["kind"] == "Deployment" && one["metadata"]["name"] == name);
        let pod = &deployment.unwrap()["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let own = self.files.path().join(name);
        let user = u32::try_from(pod["securityContext"]["runAsUser"].as_u64().unwrap()).unwrap();
        let mut mounts = vec![(
            self.account(server, &own, text(pod, "/serviceAccountName")),
            ACCOUNT.to_owned(),
        )];
        for mount in container["volumeMounts"].as_array().unwrap() {
            let volumes = pod["volumes"].as_array().unwrap();
            let volume = volumes
                .iter()
                .find(|volume| volume["name"] == mount["name"])
                .unwrap();
            let directory = self.volume(server, &own, volume, text(pod, "/serviceAccountName"));
            chown(&directory, Some(user), Some(user)).unwrap();
            mounts.push((directory, text(mount, "/mountPath").to_owned()));
        }
        self.refresh(server);
        // What the image holds of /etc.
        let etc = own.join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        let names = ["heddle-identity", "heddle-control", "heddle-injector"]
            .map(|part| format!("{} {part}.{SYSTEM}.svc\n", self.address));
        std::fs::write(etc.join("hosts"), names.concat()).unwrap();
        std::fs::write(etc.join("nsswitch.conf"), "hosts: files\n").unwrap();

        let mut script = String::from(
            "set -e\nmount --make-rprivate /\nmount --bind \"$ETC\" /etc\nmount -t tmpfs tmpfs /run\n\
             touch /run/program\nmount --bind \"$PROGRAM\" /run/program\n",
        );
        for (directory, path) in &mounts {
            script += &format!(
                "mkdir -p {path}\nmount --bind {} {path}\n",
                directory.display()
            );
        }
        script += &format!(
            "exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --bounding-set=-all \
             /run/program \"$@\"\n"
        );
        let program = binary(name);
        let args = container["args"].as_array().unwrap().iter();
        let args = args.map(|arg| {
            let everywhere = "=0.0.0.0:";
            arg.as_str()
                .unwrap()
                .replace(everywhere, &format!("={}:", self.address))
        });
        let env = container["env"].as_array().unwrap().iter().map(|variable| {
            assert_eq!(
                text(variable, "/valueFrom/fieldRef/fieldPath"),
                "metadata.name"
            );
            (text(variable, "/name").to_owned(), format!("{name}-0"))
        });
        let log = own.join("log");
        let (host, port) = self.api.split_once(':').unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .args(args)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .envs(env)
            .env("ETC", &etc)
            .env("PROGRAM", program)
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port)
            // Loopback is not the pod's own here.
            .env(
                "HEDDLE_ADMIN_LISTEN",
                "unix:/var/run/heddle/state/admin.sock",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        self.running.push(Running {
            name: name.to_owned(),
            child,
            log,
        });
    }

    /// The account's token for the API server, as every container has it.
    fn account(&self, server: &ApiServer, own: &Path, account: &str) -> PathBuf {
        let directory = own.join("account");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("namespace"), SYSTEM).unwrap();
        credentials(server, &directory, account);
        directory
    }

    /// The account of a part has another token; answers the one before.
    pub(crate) fn rotate(&self, server: &ApiServer, part: &str) -> String {
        let directory = self.files.path().join(part).join("account");
        let before = std::fs::read_to_string(directory.join("token")).unwrap();
        credentials(server, &directory, part);
        before
    }

    fn volume(&mut self, server: &ApiServer, own: &Path, volume: &Value, account: &str) -> PathBuf {
        let directory = own.join(text(volume, "/name"));
        std::fs::create_dir_all(&directory).unwrap();
        if let Some(map) = volume.pointer("/configMap/name").and_then(Value::as_str) {
            self.maps.insert(directory.clone(), map.to_owned());
        } else if let Some(sources) = volume.pointer("/projected/sources") {
            let token = &sources[0]["serviceAccountToken"];
            let audience = text(token, "/audience");
            let written = projected(server, account, audience);
            std::fs::write(directory.join(text(token, "/path")), written).unwrap();
        } else {
            assert!(volume["emptyDir"].is_object(), "{volume}");
        }
        directory
    }

    /// Files of ConfigMaps are as the ConfigMaps are.
    pub(crate) fn refresh(&self, server: &ApiServer) {
        for (directory, name) in &self.maps {
            let map = server.object("configmaps", SYSTEM, name);
            let data = map.map(|map| map["data"].clone()).unwrap_or_default();
            for (file, content) in data.as_object().into_iter().flatten() {
                let file = directory.join(file);
                let content = content.as_str().unwrap();
                if std::fs::read_to_string(&file).ok().as_deref() != Some(content) {
                    let next = directory.join(".next");
                    std::fs::write(&next, content).unwrap();
                    std::fs::rename(&next, &file).unwrap();
                }
            }
        }
    }

    /// Whether the readiness probe of a part succeeds.
    pub(crate) fn is_ready(&self, objects: &[Value], part: &str) -> bool {
        let deployment = objects
            .iter()
            .find(|one| one["kind"] == "Deployment" && one["metadata"]["name"] == part);
        let container = &deployment.unwrap()["spec"]["template"]["spec"]["containers"][0];
        let probe = &container["readinessProbe"]["httpGet"];
        let port = u16::try_from(probe["port"].as_u64().unwrap()).unwrap();
        let Ok(mut stream) = TcpStream::connect((self.address, port)) else {
            return false;
        };
        if probe["scheme"] == "HTTPS" {
            // Its certificate is tried by the API server.
            return true;
        }
        let asked = write!(stream, "GET {} HTTP/1.0\r\n\r\n", text(probe, "/path"));
        let mut answer = String::new();
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(" 200 OK")
    }

    /// Stops every container as a kubelet does, and waits for its end.
    pub(crate) fn stop(&mut self) {
        for running in &self.running {
            let pid = Pid::from_raw(running.child.id().cast_signed());
            kill(pid, Signal::SIGTERM).unwrap();
        }
        for running in &mut self.running {
            let status = running.child.wait().unwrap();
            let log = std::fs::read_to_string(&running.log).unwrap();
            assert!(status.success(), "{}: {status}\n{log}", running.name);
        }
        self.running.clear();
    }

    /// The end of every log.
    pub(crate) fn said(&self) -> String {
        let logs = self.running.iter().map(|running| {
            let log = std::fs::read_to_string(&running.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            format!("--- {}\n{last}\n", running.name)
        });
        logs.collect()
    }
}

fn credentials(server: &ApiServer, directory: &Path, account: &str) {
    let token = server.account_token(SYSTEM, account);
    std::fs::write(directory.join("token"), token).unwrap();
    std::fs::write(directory.join("ca.crt"), server.ca_pem()).unwrap();
}

/// A token as a kubelet projects it: of this audience, and known to the API server.
fn projected(server: &ApiServer, account: &str, audience: &str) -> String {
    let name = format!("system:serviceaccount:{SYSTEM}:{account}");
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let token = format!(
        "{}.{}.{}",
        encode(json!({"alg": "RS256", "typ": "JWT", "kid": "k"})),
        encode(json!({
            "iss": "https://kubernetes.default.svc", "aud": [audience], "sub": name, "nbf": now, "exp": now + 3600,
            "kubernetes.io": {"namespace": SYSTEM, "serviceaccount": {"name": account}},
        })),
        URL_SAFE_NO_PAD.encode([1; 256]),
    );
    server.know(&token, User::new(&name, &[audience]));
    token
}
