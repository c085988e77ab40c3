//! The two ends of a cell: a pod that serves, and what asks from inside another.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use heddle_tests::mesh::{Mesh, string};
use heddle_tests::objects::PYTHON;
use heddle_tests::scrape::Scrape;
use serde_json::Value;

use crate::namespace;

/// A pod that serves, and where it is.
pub(crate) struct Server {
    pub(crate) name: String,
    /// IPv4, IPv6.
    pub(crate) ips: [String; 2],
    pub(crate) service: [String; 2],
    log: Option<PathBuf>,
    /// Reasons of refusals that were seen in the log.
    pub(crate) logged: RefCell<HashSet<&'static str>>,
}

impl Server {
    pub(crate) fn find(mesh: &Mesh, meshed: bool, mode: &str) -> Self {
        let (namespace, name) = (namespace(meshed), mode.to_ascii_lowercase());
        let pod = mesh.pod_in(namespace, &name);
        let service = mesh.json(&["get", "service", "-n", namespace, &name]);
        let service = service["items"].get(0).unwrap_or(&service).clone();
        let both = |ips: &Value| [0, 1].map(|n| string(&ips[n]));
        let containers = pod["containers"].as_array().unwrap();
        let proxy = containers
            .iter()
            .find(|container| container["name"] == "heddle-proxy");
        assert_eq!(proxy.is_some(), meshed, "{pod:#}");
        Self {
            name: format!("{namespace}/{name}"),
            ips: both(&pod["ips"]),
            service: both(&service["spec"]["clusterIPs"]),
            log: proxy.map(|proxy| string(&proxy["log"]).into()),
            logged: RefCell::default(),
        }
    }

    pub(crate) fn refused(&self, reason: &str) -> f64 {
        self.scrape()
            .sum("heddle_connections_refused_total", &[("reason", reason)])
    }

    fn scrape(&self) -> Scrape {
        Scrape::of(self.ips[0].parse().unwrap()).unwrap()
    }

    /// Requests and connections that came in with mutual TLS, and without.
    pub(crate) fn counted(&self) -> [f64; 2] {
        if self.log.is_none() {
            return [0.0; 2];
        }
        let metrics = self.scrape();
        ["mutual_tls", "none"].map(|policy| {
            let labels = [
                ("reporter", "destination"),
                ("connection_security_policy", policy),
            ];
            metrics.sum("istio_requests_total", &labels)
                + metrics.sum("istio_tcp_connections_opened_total", &labels)
        })
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.as_ref().unwrap()).unwrap()
    }
}

/// Asks from inside a pod.
pub(crate) struct Client {
    pub(crate) meshed: bool,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start(mesh: &Mesh, meshed: bool) -> Self {
        let command = [PYTHON, "/run/programs/matrix_client.py"];
        let mut process = mesh
            .command_in(namespace(meshed), "client", &command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            meshed,
            questions: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    pub(crate) fn ask(&mut self, question: Value) -> Value {
        writeln!(self.questions, "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{question}: {e}: {answer:?}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
