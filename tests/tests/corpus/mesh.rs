//! The mesh of one case: the shared services and pods and the case's documents, read from files by
//! the control plane's own source into its own model.

use std::path::Path;

use heddle_control::check::Severity;
use heddle_control::model::gateway::status::Condition;
use heddle_control::model::{Client, Model, Settings};
use heddle_control::name::{Kind, NsName, ObjectKey};
use heddle_control::source::{Refusal, directory};
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind as Wire;

use super::topic::{Case, Finding};

/// What the case's documents are called in what is said of them.
const FILE: &str = "case.yaml";

pub(super) struct Mesh {
    pub(super) model: Model,
    findings: Vec<Refusal>,
    lines: Vec<String>,
}

impl Mesh {
    pub(super) fn new(fixture: &str, documents: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = [("mesh.yaml", fixture), (FILE, documents)].map(|(name, text)| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        });
        let batch = directory::read_once(&roots).unwrap();
        let mut model = Model::new(Settings::default());
        model.apply(batch.changes);
        let mut findings: Vec<Refusal> = batch.refusals.to_vec();
        findings.extend(model.refusals());
        findings.extend(model.warnings());
        Self {
            model,
            findings,
            lines: documents.lines().map(str::to_owned).collect(),
        }
    }

    /// A line of the case's documents, from 1.
    pub(super) fn line(&self, file: &str, number: usize) -> Option<&str> {
        let is_ours = Path::new(file).ends_with(FILE);
        let index = number.checked_sub(1).filter(|_| is_ours)?;
        self.lines.get(index).map(String::as_str)
    }

    /// What is refused and should not be, and the other way round.
    pub(super) fn unexpected(&self, case: &Case) -> Vec<String> {
        let is = |wanted: &Finding, found: &&Refusal| {
            let line = self.line(&found.file, found.at.line as usize);
            line.is_some_and(|line| line.contains(&wanted.line))
                && found.to_string().contains(&wanted.because)
        };
        let (warnings, refusals): (Vec<_>, Vec<_>) = self
            .findings
            .iter()
            .partition(|f| f.severity != Severity::Error);
        let missing = |wanted: &Finding, among: &[&Refusal], how: &str| {
            let found: Vec<String> = among.iter().map(ToString::to_string).collect();
            format!("not {how}: {wanted:?}; {how} are: {found:#?}")
        };
        let mut wrong = Vec::new();
        for wanted in &case.refused {
            if !refusals.iter().any(|found| is(wanted, found)) {
                wrong.push(missing(wanted, &refusals, "refused"));
            }
        }
        for wanted in &case.warned {
            if !warnings.iter().any(|found| is(wanted, found)) {
                wrong.push(missing(wanted, &warnings, "warned of"));
            }
        }
        for found in refusals {
            if !case.refused.iter().any(|wanted| is(wanted, &found)) {
                wrong.push(format!("refused, which it should not be: {found}"));
            }
        }
        wrong
    }

    /// What a route's status says otherwise than the case.
    pub(super) fn conditions(&self, case: &Case) -> Vec<String> {
        let said = |route: &str| {
            let (kind, name) = route.split_once(' ').unwrap();
            let key = ObjectKey {
                kind: Kind::parse(kind).unwrap(),
                name: NsName::new("default", name).unwrap(),
            };
            let status = self.model.route_status(&key).unwrap_or_default();
            let parents = status.parents.iter();
            let conditions = parents.flat_map(|parent| &parent.conditions);
            let in_words = |one: &Condition| {
                let status = if one.status { "True" } else { "False" };
                format!("{:?} {status} {:?}", one.kind, one.reason)
            };
            conditions.map(in_words).collect::<Vec<_>>()
        };
        let routes = case.conditions.iter();
        let wrong = routes.filter(|(route, wanted)| said(route) != **wanted);
        wrong
            .map(|(route, wanted)| format!("{route}: wanted {wanted:?}, is {:?}", said(route)))
            .collect()
    }

    /// A pod, as the model sees a client.
    pub(super) fn client(&self, name: &str) -> Result<(NsName, Client), String> {
        let name = NsName::parse(name).ok_or_else(|| format!("{name} is no NAMESPACE/POD"))?;
        let pod = self.model.pod(&name);
        let pod = pod.ok_or_else(|| format!("there is no pod {name}"))?;
        let client = Client {
            namespace: name.namespace().into(),
            labels: pod.labels.clone(),
        };
        Ok((name, client))
    }

    pub(super) fn compiled(&self, kind: Wire, name: &str, body: &[u8]) -> Result<Compiled, String> {
        compile(kind, name, body)
            .map_err(|error| format!("a sidecar refuses {kind} {name}: {error}"))
    }
}
