//! `heddle apply` and `heddle delete`: one line per object, then what was refused. The daemon answers
//! when the mesh has followed.

use std::io::Read;
use std::path::Path;

use crate::api::{Client, Manifest, Report};
use crate::args::{Delete, Files};
use crate::commands::output;
use crate::failure::{Failure, Outcome};
use crate::manifests::{Key, Problem, Scope, Source, load, parse, resolve};
use crate::terminal::{Style, say, say_part};

pub(crate) async fn apply(client: &Client, files: &Files) -> Outcome {
    let manifests = read(&files.files)?;
    let report = client.apply(&manifests).await?;
    finish(&report, "applied")
}

pub(crate) async fn delete(client: &Client, delete: &Delete) -> Outcome {
    let mut keys = Vec::new();
    if let Some(word) = &delete.kind {
        let kind = resolve(word).ok_or_else(|| Failure::new(format!("`{word}` is not a kind")))?;
        let namespace = if kind.scope == Scope::Cluster {
            ""
        } else {
            &delete.namespace
        };
        keys.extend(
            delete
                .names
                .iter()
                .map(|name| Key::new(kind.name, namespace, name)),
        );
    }
    for manifest in read(&delete.files)? {
        let (objects, problems) = parse(Path::new(&manifest.file), &manifest.text);
        refuse(&problems)?;
        keys.extend(objects.into_iter().map(|object| object.key));
    }
    let report = client.delete(keys).await?;
    finish(&report, "deleted")?;
    match report
        .changes
        .iter()
        .any(|change| change.outcome == "not found")
    {
        true => Err(Failure::silent(1)),
        false => Ok(()),
    }
}

/// The manifests of files, directories and standard input.
pub(crate) fn read(paths: &[std::path::PathBuf]) -> Outcome<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for path in paths {
        let source = Source::new(path).map_err(|error| Failure::error(&error))?;
        match &source {
            Source::Stdin => {
                let mut text = String::new();
                std::io::stdin()
                    .lock()
                    .read_to_string(&mut text)
                    .map_err(|error| Failure::new("cannot read standard input").because(&error))?;
                manifests.push(Manifest {
                    file: "<stdin>".to_owned(),
                    text,
                });
            }
            Source::Path(path) => {
                for file in load(std::slice::from_ref(&source)).files {
                    let text = std::fs::read_to_string(&file).map_err(|error| {
                        Failure::new(format!("cannot read {}", file.display())).because(&error)
                    })?;
                    let file = std::path::absolute(&file).unwrap_or(file);
                    manifests.push(Manifest {
                        file: file.display().to_string(),
                        text,
                    });
                }
                if manifests.is_empty() {
                    return Err(
                        Failure::new(format!("{} holds no manifest", path.display()))
                            .advise("files that end in .yaml, .yml or .json are read"),
                    );
                }
            }
        }
    }
    Ok(manifests)
}

fn refuse(problems: &[Problem]) -> Outcome {
    if problems.is_empty() {
        return Ok(());
    }
    let style = Style::stderr();
    say_part!(
        "{}\n{}",
        style.red("refused:"),
        output::problems(problems, style)
    );
    Err(Failure::silent(1))
}

/// Tells what became of it.
pub(super) fn finish(report: &Report, done: &str) -> Outcome {
    let style = Style::stdout();
    let mut out = String::new();
    for change in &report.changes {
        let outcome = match change.outcome.as_str() {
            "unchanged" => style.dim("unchanged"),
            "not found" => style.yellow("not found"),
            outcome => style.green(outcome),
        };
        out.push_str(&format!("{} {outcome}\n", change.key));
    }
    output::write(&out)?;
    for note in &report.notes {
        say!("{} {note}", Style::stderr().yellow("note:"));
    }
    if !report.warnings.is_empty() {
        let style = Style::stderr();
        say_part!(
            "{}\n{}",
            style.yellow("in force, but probably not as meant:"),
            output::problems(&report.warnings, style)
        );
    }
    if report.changes.is_empty() && report.refused.is_empty() {
        say!("nothing to be {done}");
    }
    refuse(&report.refused)
}
