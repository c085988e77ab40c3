//! The mesh of the suite, made by `heddle up`, and where its services, pods and clients are.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use heddle_tests::mesh::{Mesh, string};

const NAMESPACE: &str = "gateway-conformance-mesh";
const CONSUMER: &str = "gateway-conformance-mesh-consumer";
/// The watched file with the routes of the case that is on.
const ROUTES: &str = "routes.yaml";

pub(super) struct World {
    mesh: Mesh,
    pods: Vec<serde_json::Value>,
    services: RefCell<BTreeMap<String, IpAddr>>,
}

impl World {
    pub(super) fn start() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
        let base = std::fs::read_to_string(dir.join("mesh.yaml")).unwrap();
        let mesh = Mesh::start(&[("mesh.yaml".to_owned(), base)], &[]);
        let status = mesh.status();
        Self {
            pods: status["pods"].as_array().unwrap().clone(),
            services: RefCell::default(),
            mesh,
        }
    }

    /// Puts routes in the place of those before.
    pub(super) fn route(&self, documents: &str) {
        self.mesh
            .write(ROUTES, &format!("# of one case\n{documents}"));
    }

    /// The namespace of a client's pod.
    pub(super) fn netns(&self, from: Option<&str>) -> String {
        let namespace = match from {
            None => NAMESPACE,
            Some("consumer") => CONSUMER,
            Some(other) => panic!("{other} is no client"),
        };
        string(&self.pod(namespace, "echo-v1")["netns"])
    }

    fn pod(&self, namespace: &str, prefix: &str) -> &serde_json::Value {
        let found = self.pods.iter().find(|pod| {
            let name = pod["name"].as_str().unwrap_or_default();
            pod["namespace"] == namespace && name.starts_with(prefix)
        });
        found.unwrap_or_else(|| panic!("no pod {namespace}/{prefix}"))
    }

    /// `SERVICE:PORT`, with or without its namespace, or `pod POD:PORT`.
    pub(super) fn address(&self, place: &str) -> SocketAddr {
        let (name, port) = place.rsplit_once(':').unwrap();
        let ip = match name.strip_prefix("pod ") {
            Some(pod) => string(&self.pod(NAMESPACE, pod)["ip"]).parse().unwrap(),
            None => self.service(name.split('.').next().unwrap()),
        };
        SocketAddr::new(ip, port.parse().unwrap())
    }

    fn service(&self, name: &str) -> IpAddr {
        let mut known = self.services.borrow_mut();
        let ask = || {
            let service = self.mesh.json(&["get", "service", name, "-n", NAMESPACE]);
            let object = service["items"].get(0).unwrap_or(&service);
            let spec = &object["spec"];
            let ip = match string(&spec["clusterIP"]).as_str() {
                // Headless: the one pod of its version.
                "None" => {
                    let version = string(&spec["selector"]["version"]);
                    string(&self.pod(NAMESPACE, &format!("echo-{version}"))["ip"])
                }
                ip => ip.to_owned(),
            };
            ip.parse().unwrap()
        };
        *known.entry(name.to_owned()).or_insert_with(ask)
    }
}
