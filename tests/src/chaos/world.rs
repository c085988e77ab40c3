//! The mesh that things are done to: a client's pod, an application of three pods behind the Service
//! `echo`, and a Service `mixed` of the same three and, when a scenario says so, one bad endpoint.
//! Everything is changed as a user would: by writing the watched manifests, and by `heddle`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::scenario::EJECTED_AFTER;
use crate::echo::{Behaviour, GRPC, HTTP};
use crate::mesh::{Mesh, string};
use crate::wait;

/// Pods of the application, unless a scenario changes that.
pub const PODS: usize = 3;
/// How long pods may take to come and go on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The mesh.
pub struct World {
    /// As the tests drive it.
    pub mesh: Mesh,
    /// Counts the templates of the application: each is another revision.
    revision: Cell<u32>,
}

impl World {
    /// Starts it. `flags`: more of `heddle up`.
    pub fn start(flags: &[&str]) -> Self {
        let (_, strict) = crate::mesh::sample("mesh.yaml");
        let strict = strict.split("---").next().unwrap_or_default().to_owned();
        let files = [
            ("mesh.yaml".to_owned(), strict),
            ("client.yaml".to_owned(), CLIENT.to_owned()),
            ("services.yaml".to_owned(), services()),
            ("echo.yaml".to_owned(), echo(PODS, 0)),
            ("odd.yaml".to_owned(), odd(Behaviour::Stall, 0)),
            ("mixed.yaml".to_owned(), mixed(false)),
            ("route.yaml".to_owned(), route(0)),
        ];
        // A store that fills with traces is not what is looked at.
        let flags = [&["--sampling-percentage", "1"], flags].concat();
        Self {
            mesh: Mesh::start(&files, &flags),
            revision: Cell::new(0),
        }
    }

    /// Where the load runs.
    pub fn client_netns(&self) -> String {
        self.mesh.netns("client")
    }

    /// The client's pod.
    pub fn client_ip(&self) -> IpAddr {
        ip(&self.mesh.pod("client"))
    }

    /// A port of a Service.
    pub fn service(&self, name: &str, port: u16) -> SocketAddr {
        let address = self.mesh.service_ip(name);
        SocketAddr::new(address.parse().expect("an IP"), port)
    }

    /// Pods whose names begin so, as `heddle status` has them.
    pub fn pods(&self, prefix: &str) -> Vec<Value> {
        let status = self.mesh.status();
        let pods = status["pods"].as_array().cloned().unwrap_or_default();
        let named = |pod: &Value| pod["name"].as_str().is_some_and(|n| n.starts_with(prefix));
        pods.into_iter().filter(named).collect()
    }

    /// Names of the application's pods.
    pub fn echo_names(&self) -> BTreeSet<String> {
        let pods = self.pods("echo-");
        pods.iter().map(|pod| string(&pod["name"])).collect()
    }

    /// Makes every pod of the application anew, and waits until that is done.
    pub fn restart_echo(&self) {
        let old = self.echo_names();
        self.revision.set(self.revision.get() + 1);
        self.write_echo(PODS);
        wait::until("every pod is another, and ready", PATIENCE, || {
            self.echo_is(PODS) && self.echo_names().is_disjoint(&old)
        });
    }

    /// Sets how many pods the application has, and waits until it has them.
    pub fn scale_echo(&self, pods: usize) {
        self.write_echo(pods);
        let what = format!("the application has {pods} pods");
        wait::until(&what, PATIENCE, || self.echo_is(pods));
    }

    fn write_echo(&self, pods: usize) {
        let text = echo(pods, self.revision.get());
        self.mesh.write("echo.yaml", &text);
    }

    fn echo_is(&self, wanted: usize) -> bool {
        let pods = self.pods("echo-");
        pods.len() == wanted && pods.iter().all(|pod| pod["ready"] == true)
    }

    /// Adds the bad endpoint to `mixed`.
    pub fn add_odd(&self, behaviour: Behaviour) {
        self.mesh.write("odd.yaml", &odd(behaviour, 1));
        wait::until("the bad endpoint is there", PATIENCE, || {
            let pods = self.pods("odd-");
            pods.len() == 1 && pods.iter().all(|pod| pod["ready"] == true)
        });
    }

    /// The bad endpoint's pod.
    pub fn odd_ip(&self) -> IpAddr {
        ip(&self.mesh.pod("odd-"))
    }

    /// Writes the application's route once more. It means the same whatever `edit` is: who is asked
    /// changes, but all are the same pods.
    pub fn edit_route(&self, edit: usize) {
        self.mesh.write("route.yaml", &route(edit));
    }

    /// How `mixed` is called: with a timeout alone, or trying elsewhere.
    pub fn route_mixed(&self, retried: bool) {
        self.mesh.write("mixed.yaml", &mixed(retried));
    }

    /// Back to three pods and no bad endpoint.
    pub fn restore(&self) {
        self.mesh.write("odd.yaml", &odd(Behaviour::Stall, 0));
        wait::until("the bad endpoint is gone", PATIENCE, || {
            self.pods("odd-").is_empty()
        });
        self.scale_echo(PODS);
        self.mesh.settled();
    }
}

fn ip(pod: &Value) -> IpAddr {
    string(&pod["ip"]).parse().expect("an IP")
}

const CLIENT: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers:
  - {name: app, image: none, command: [sleep, infinity]}
";

fn services() -> String {
    let service = |name: &str, selector: &str, ports: &[(&str, u16)]| {
        let ports: String = ports
            .iter()
            .map(|(name, port)| format!("  - {{name: {name}, port: {port}}}\n"))
            .collect();
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
             selector: {{{selector}}}\n  ports:\n{ports}---\n"
        )
    };
    service("echo", "app: echo", &[("http", HTTP), ("grpc", GRPC)])
        + &service("mixed", "mixed: in", &[("http", HTTP)])
        + "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  subsets:
  - {name: one, labels: {app: echo}}
  - {name: other, labels: {mixed: in}}
"
}

fn deployment(name: &str, pods: usize, revision: u32, arguments: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {pods}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}, mixed: in}}
      annotations: {{heddle.test/revision: \"{revision}\"}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: app
        image: none
        command: [heddle-echo{arguments}]
        readinessProbe: {{tcpSocket: {{port: {HTTP}}}, periodSeconds: 1, failureThreshold: 60}}
"
    )
}

fn echo(pods: usize, revision: u32) -> String {
    deployment("echo", pods, revision, "")
}

fn odd(behaviour: Behaviour, pods: usize) -> String {
    let argument = match behaviour {
        Behaviour::Echo => ", echo",
        Behaviour::Stall => ", stall",
        Behaviour::Reset => ", reset",
        Behaviour::Reflect => ", reflect",
    };
    deployment("odd", pods, 0, argument)
}

fn mixed(retried: bool) -> String {
    let retries = match retried {
        false => "attempts: 0",
        true => "attempts: 3, perTryTimeout: 500ms, retryOn: 5xx",
    };
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: mixed}}
spec:
  hosts: [mixed]
  http:
  - route:
    - destination: {{host: mixed}}
    timeout: 1500ms
    retries: {{{retries}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: mixed}}
spec:
  host: mixed
  trafficPolicy:
    outlierDetection:
      consecutive5xxErrors: {EJECTED_AFTER}
      interval: 1s
      baseEjectionTime: 300s
      maxEjectionPercent: 50
"
    )
}

fn route(edit: usize) -> String {
    let share = edit * 7 % 101;
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo}}
spec:
  hosts: [echo]
  http:
  - name: edit-{edit}
    match:
    - headers: {{x-edit: {{exact: \"{edit}\"}}}}
    route:
    - destination: {{host: echo, subset: one}}
  - route:
    - destination: {{host: echo, subset: one}}
      weight: {share}
    - destination: {{host: echo, subset: other}}
      weight: {}
",
        100 - share.min(100)
    )
}
