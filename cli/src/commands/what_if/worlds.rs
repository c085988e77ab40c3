//! The mesh as it is, and as it would be: the same objects with new documents laid over, or some taken
//! away, as `apply` and `delete` would. What is refused of the new ones changes nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use heddle_control::model::{Model, Settings};
use heddle_control::name::{Kind, NsName, ObjectKey};
use heddle_control::source::kubernetes::{self, ReadError};
use heddle_control::source::{Change, Refusal, directory};

use crate::api::Client;
use crate::args::WhatIf;
use crate::commands::cluster::ask::Cluster;
use crate::failure::{Failure, Outcome};
use crate::manifests::{Problem, resolve};
use crate::picture::{self, Directory};

/// Both.
pub(super) struct Worlds {
    pub(super) current: Model,
    pub(super) changed: Model,
    pub(super) refused: Vec<Problem>,
    pub(super) left_out: Vec<String>,
    /// When a cluster's routes were written last.
    pub(super) written: HashMap<ObjectKey, SystemTime>,
}

impl Worlds {
    pub(super) async fn new(client: &Client, asked: &WhatIf) -> Outcome<Self> {
        let mut written = HashMap::new();
        let current = match asked.base.is_empty() {
            _ if asked.place.cluster => {
                let context = asked.place.context.as_deref();
                of_cluster(context, &mut written).await?
            }
            false => picture::of(&asked.base)?.model,
            true => running(client).await?,
        };
        let worlds = Self::changed(current, &asked.files, &asked.delete)?;
        Ok(Self { written, ..worlds })
    }

    pub(super) fn changed(current: Model, files: &[PathBuf], delete: &[String]) -> Outcome<Self> {
        let made = Directory::new()?;
        let mut roots = Vec::with_capacity(files.len());
        for (number, file) in files.iter().enumerate() {
            roots.push(match file == Path::new("-") {
                false => file.clone(),
                true => stdin(&made, number)?,
            });
        }
        let batch = directory::read_once(&roots).map_err(|error| Failure::error(&error))?;
        let mut left_out = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        for change in batch.changes {
            match &change {
                Change::Upsert(object) if !decides(object.key.kind) => {
                    left_out.push(object.key.to_string());
                }
                _ => changes.push(change),
            }
        }
        for named in delete {
            let key = key(named)?;
            if !current.has(&key) {
                return Err(Failure::new(format!("there is no {key} to take away"))
                    .advise("heddle get virtualservices,destinationrules,httproutes -A  lists what there is"));
            }
            changes.push(Change::Remove(key));
        }
        let mut changed = current.clone();
        changed.apply(changes);
        let before: Vec<Refusal> = current.refusals();
        let new = changed.refusals().into_iter();
        let new = new.filter(|refusal| !before.contains(refusal));
        let refused = batch.refusals.iter().cloned().chain(new);
        let refused = refused.filter(|refusal| !refusal.is_warning());
        left_out.sort();
        Ok(Self {
            current,
            changed,
            refused: refused.map(|refusal| problem(refusal, &made)).collect(),
            left_out,
            written: HashMap::new(),
        })
    }
}

/// Whether objects of a kind decide where requests go; pods and services come from the mesh.
fn decides(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Namespace
            | Kind::ServiceAccount
            | Kind::Service
            | Kind::Node
            | Kind::Pod
            | Kind::EndpointSlice
    )
}

/// A cluster as its control plane reads it.
async fn of_cluster(
    context: Option<&str>,
    written: &mut HashMap<ObjectKey, SystemTime>,
) -> Outcome<Model> {
    let cluster = Cluster::connect(context, "default").await?;
    let read = kubernetes::read_once(&cluster.client).await;
    let read = read.map_err(|error| {
        let advice = match error {
            ReadError::Forbidden { .. } => {
                "ask for the right to list it, or decide by files: --base PATH"
            }
            _ => "heddle check --cluster  says what you may do there",
        };
        Failure::error(&error).advise(advice).not_asked()
    })?;
    let mut model = Model::new(Settings::default());
    model.apply(read.batch.changes);
    *written = read.written;
    Ok(model)
}

/// The running mesh as its control plane reads it.
async fn running(client: &Client) -> Outcome<Model> {
    let status = client.status().await?;
    let state = Path::new(&status.state_dir);
    let watched = status.paths.iter().map(PathBuf::from);
    // In the control plane's order: later ones win.
    let roots: Vec<_> = watched
        .chain(["applied", "cluster"].map(|name| state.join(name)))
        .filter(|root| root.exists())
        .collect();
    let domain = status.trust_domain.parse();
    let domain = domain.map_err(|error| Failure::new("the mesh's trust domain").because(&error))?;
    let settings = Settings {
        trust_domain: domain,
        ..Settings::default()
    };
    let batch = directory::read_once(&roots).map_err(|error| {
        Failure::new(format!("cannot read what mesh {} was told", status.mesh)).because(&error)
    })?;
    let mut model = Model::new(settings);
    model.apply(batch.changes);
    Ok(model)
}

fn stdin(made: &Directory, number: usize) -> Outcome<PathBuf> {
    let cannot = |error: std::io::Error| Failure::new("cannot read standard input").because(&error);
    let text = std::io::read_to_string(std::io::stdin()).map_err(cannot)?;
    let file = made.0.join(format!("stdin-{number}.yaml"));
    std::fs::write(&file, text).map_err(cannot)?;
    Ok(file)
}

/// `KIND/NAME` or `KIND/NAMESPACE/NAME`.
fn key(named: &str) -> Outcome<ObjectKey> {
    let wrong = || {
        Failure::new(format!("`{named}` names no route"))
            .advise("name it as KIND/NAME, or KIND/NAMESPACE/NAME: --delete virtualservice/reviews")
    };
    let (word, rest) = named.split_once('/').ok_or_else(wrong)?;
    let (namespace, name) = rest.split_once('/').unwrap_or(("default", rest));
    let known = resolve(word).ok_or_else(wrong)?;
    let kind = Kind::parse(known.name).filter(|kind| decides(*kind));
    Ok(ObjectKey {
        kind: kind.ok_or_else(wrong)?,
        name: NsName::new(namespace, name).ok_or_else(wrong)?,
    })
}

fn problem(refusal: Refusal, made: &Directory) -> Problem {
    let mut problem = Problem::from_refusal(refusal);
    if Path::new(&problem.file).starts_with(&made.0) {
        problem.file = "<stdin>".to_owned();
    }
    problem
}
