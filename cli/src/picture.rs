//! The mesh that manifests describe, without running any of it: every workload's pods are made,
//! injected and given addresses as `heddle up` would, and the control plane's own source and model
//! judge the whole. So what is said of files here is what would be said of them in a mesh.

use std::collections::{BTreeMap, HashMap};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use heddle_control::check::Code;
use heddle_control::model::{Model, Settings};
use heddle_control::source::document::split;
use heddle_control::source::node::{Position, ends};
use heddle_control::source::{Refusal, directory};
use heddle_injector::{DefaultInject, InjectConfig};
use serde_json::Value;

use crate::cluster::{PodTemplate, ServiceIps, Style, Workload, with_status};
use crate::daemon::injection;
use crate::daemon::publish::file_name;
use crate::failure::{Failure, Outcome};
use crate::manifests::{Key, Loaded, Object, Problem, Source, load};
use crate::node::{AddressPlan, AddressPool, Phase, PodStatus};

/// What manifests amount to.
pub(crate) struct Picture {
    /// Everything that is wrong or likely to be, by file and line.
    pub(crate) problems: Vec<Problem>,
    /// Objects that were read.
    pub(crate) objects: usize,
    /// What the control plane makes of them.
    pub(crate) model: Model,
}

/// Reads and judges manifests.
pub(crate) fn of(paths: &[PathBuf]) -> Outcome<Picture> {
    let mut sources = Vec::with_capacity(paths.len());
    for path in paths {
        sources.push(Source::new(path).map_err(|error| Failure::error(&error))?);
    }
    let loaded = load(&sources);
    let made = Directory::new()?;
    let mut roots: Vec<PathBuf> = sources
        .iter()
        .filter_map(|source| source.path().cloned())
        .collect();
    let mut problems = Vec::new();
    if sources.contains(&Source::Stdin) {
        roots.push(made.stdin(&loaded)?);
    }
    roots.push(made.cluster(&loaded, &mut problems)?);
    let (model, refusals) =
        read(&roots, Settings::default()).map_err(|error| Failure::error(&error))?;
    problems.extend(
        refusals
            .into_iter()
            .filter_map(|refusal| made.problem(refusal, &loaded)),
    );
    let known = |problem: &Problem| problems.iter().any(|other| is_the_same(other, problem));
    let own: Vec<Problem> = loaded.problems.into_iter().filter(|p| !known(p)).collect();
    problems.extend(own);
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    problems.dedup();
    Ok(Picture {
        problems,
        objects: loaded.objects.len(),
        model,
    })
}

fn read(
    roots: &[PathBuf],
    settings: Settings,
) -> Result<(Model, Vec<Refusal>), directory::DirectoryError> {
    let batch = directory::read_once(roots)?;
    let mut model = Model::new(settings);
    model.apply(batch.changes);
    let refusals = batch.refusals.iter().cloned();
    let refusals = refusals.chain(model.refusals()).chain(model.warnings());
    let refusals = refusals.collect();
    Ok((model, refusals))
}

/// Both readers find what makes a document unreadable; the control plane's words are kept.
fn is_the_same(theirs: &Problem, ours: &Problem) -> bool {
    theirs.file == ours.file && (theirs.line == ours.line || theirs.is_about(&key_of(ours)))
}

fn key_of(problem: &Problem) -> Key {
    Key::new(&problem.kind, &problem.namespace, &problem.name)
}

/// What the manifests do not hold themselves, as files for the control plane's source. Gone when
/// this is dropped.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Outcome<Self> {
        let name = format!(
            "heddle-check-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let path = std::env::temp_dir().join(name);
        // Pods may hold secrets in their environment.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| cannot_write(&path, &error))?;
        Ok(Self(path))
    }

    fn stdin(&self, loaded: &Loaded) -> Outcome<PathBuf> {
        let path = self.0.join("stdin");
        std::fs::create_dir(&path).map_err(|error| cannot_write(&path, &error))?;
        let of_stdin = loaded
            .objects
            .values()
            .filter(|object| object.origin.file == Path::new(STDIN));
        for object in of_stdin {
            // The lines before it are kept, so that positions are those of the input.
            let before = "\n".repeat(object.origin.start.saturating_sub(1) as usize);
            let file = path.join(file_name(&object.key, "yaml"));
            std::fs::write(&file, before + &object.text)
                .map_err(|error| cannot_write(&file, &error))?;
        }
        Ok(path)
    }

    /// Services with what a server fills in, and the pods of every workload.
    fn cluster(&self, loaded: &Loaded, problems: &mut Vec<Problem>) -> Outcome<PathBuf> {
        let path = self.0.join("cluster");
        std::fs::create_dir(&path).map_err(|error| cannot_write(&path, &error))?;
        let plan = AddressPlan::new(0, true);
        let (mut ips, mut pool) = (ServiceIps::new(plan.service_pool()), plan.pod_pool());
        for object in loaded.objects.values() {
            let made = match object.key.kind.as_str() {
                "Service" => ips
                    .fill(object)
                    .map(|filled| vec![(object.key.clone(), filled)]),
                _ => pods(object, loaded, &mut pool),
            };
            let made = made.unwrap_or_else(|reason| {
                problems.push(Problem::of(Code::BadWorkload, object, reason));
                Vec::new()
            });
            for (key, value) in made {
                let file = path.join(file_name(&key, "json"));
                std::fs::write(&file, value.to_string())
                    .map_err(|error| cannot_write(&file, &error))?;
            }
        }
        Ok(path)
    }

    /// In the person's own files. What was made here is not theirs to mend, but what is likely to be a
    /// mistake in it is told where they wrote it.
    fn problem(&self, refusal: Refusal, loaded: &Loaded) -> Option<Problem> {
        let file = match Path::new(&refusal.file).strip_prefix(&self.0) {
            Ok(below) if below.starts_with("stdin") => STDIN.to_owned(),
            Ok(_) if refusal.is_warning() => {
                let key = Key::new(&refusal.kind, &refusal.namespace, &refusal.name);
                let origin = &loaded.objects.get(&key)?.origin;
                let mut problem = Problem::from_refusal(refusal);
                problem.file = origin.file.display().to_string();
                (problem.line, problem.column) = (origin.line, 1);
                return Some(problem);
            }
            Ok(_) => return None,
            Err(_) => refusal.file.clone(),
        };
        Some(Problem::from_refusal(Refusal { file, ..refusal }))
    }
}

/// What the manifests' reader calls standard input.
const STDIN: &str = "<stdin>";

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "cannot remove");
        }
    }
}

/// One pod is enough to tell what the workload's pods are; a StatefulSet's have names of their own.
fn pods(
    object: &Object,
    loaded: &Loaded,
    pool: &mut AddressPool,
) -> Result<Vec<(Key, Value)>, String> {
    let Some(workload) = Workload::read(object)? else {
        return Ok(Vec::new());
    };
    let key = &object.key;
    let names: Vec<String> = match workload.style {
        _ if workload.replicas == 0 => Vec::new(),
        Style::Single => vec![key.name.clone()],
        Style::Ordinal { .. } => (0..workload.replicas)
            .map(|n| format!("{}-{n}", key.name))
            .collect(),
        _ => vec![format!("{}-0", key.name)],
    };
    let namespace = loaded
        .objects
        .get(&Key::new("Namespace", "", &key.namespace))
        .map(|object| &object.value);
    let config = InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    };
    let mut made = Vec::with_capacity(names.len());
    for name in names {
        let template = PodTemplate::new(&workload, &name);
        let pod = injection::run(template, namespace, &config)?.pod;
        let ips = pool.take().map(|ips| ips.all()).unwrap_or_default();
        let status = PodStatus {
            namespace: key.namespace.clone(),
            name: name.clone(),
            uid: String::new(),
            netns: String::new(),
            phase: Phase::Running,
            ready: true,
            reason: None,
            ips,
            containers: Vec::new(),
            proxy_pid: None,
            started_at: SystemTime::UNIX_EPOCH,
        };
        made.push((
            Key::new("Pod", &key.namespace, &name),
            with_status(&pod, &status, None),
        ));
    }
    Ok(made)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}", path.display()))
        .because(error)
        .advise("set TMPDIR to a directory that can be written")
}

/// The lines of the files that problems stand in, each read once.
#[derive(Default)]
pub(crate) struct Sources {
    lines: BTreeMap<String, Vec<String>>,
    ends: BTreeMap<String, HashMap<Position, Position>>,
}

impl Sources {
    /// Where what begins at a place of a file ends, if that is known.
    pub(crate) fn end(&mut self, file: &str, line: u32, column: u32) -> Option<(u32, u32)> {
        let ends = self.ends.entry(file.to_owned()).or_insert_with(|| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let documents = split(&text);
            let all = documents.iter();
            all.flat_map(|document| ends(document.text, document.line_offset))
                .collect()
        });
        let end = ends.get(&Position { line, column })?;
        Some((end.line, end.column))
    }

    /// A line of a file, from 1; `None` where it cannot be shown.
    pub(crate) fn line(&mut self, file: &str, line: u32) -> Option<&str> {
        let lines = self.lines.entry(file.to_owned()).or_insert_with(|| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        });
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        lines.get(index).map(String::as_str)
    }
}
