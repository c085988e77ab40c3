//! `heddle inject`: the injector's one function on files. The manifest (or, with `--dry-run`, a
//! diff) goes to standard output, what was done to standard error, so that a pipe carries nothing
//! else. A mistake in any file stops all of them before a byte is written.

use std::path::Path;

use heddle_injector::files::{FileError, inject_documents, read_namespaces};
use heddle_injector::{DefaultInject, InjectConfig, Podman, StaticNamespaces};
use similar::TextDiff;

use super::{apply, output};
use crate::args::Inject;
use crate::failure::{Failure, Outcome};
use crate::terminal::say;

/// Lines around a change, as `diff -u` has them.
const CONTEXT: usize = 3;

pub(crate) fn run(inject: &Inject) -> Outcome {
    let manifests = apply::read(&inject.files.files)?;
    let mut config = configuration(inject.config.as_deref())?;
    if let Some(directory) = &inject.podman {
        config.podman = Some(podman(directory)?);
    }
    let mut namespaces = StaticNamespaces::default();
    for manifest in &manifests {
        let mut declared = read_namespaces(&manifest.text, &manifest.file).map_err(refused)?;
        namespaces.0.append(&mut declared.0);
    }
    let mut out = String::new();
    for manifest in &manifests {
        let file = output::near(&manifest.file);
        let (text, notes) = inject_documents(&manifest.text, &manifest.file, &config, &namespaces)
            .map_err(refused)?;
        if inject.dry_run {
            out.push_str(&diff(&file, &manifest.text, &text));
        } else {
            append(&mut out, &text);
        }
        for note in notes {
            say!("{file}:{}: {note}", note.line);
        }
    }
    output::write(&out)
}

/// What is named on the command line is meant to be injected; labels and annotations can still say
/// no.
fn configuration(file: Option<&Path>) -> Outcome<InjectConfig> {
    let config = match file {
        None => InjectConfig::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::new(format!("cannot read {}", file.display())).because(&error)
            })?;
            InjectConfig::from_yaml(&text)
                .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?
        }
    };
    Ok(InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..config
    })
}

/// Podman wants absolute paths, and takes them as text.
fn podman(directory: &Path) -> Outcome<Podman> {
    let absolute = std::path::absolute(directory).map_err(|error| {
        Failure::new(format!("--podman {}", directory.display())).because(&error)
    })?;
    match absolute.into_os_string().into_string() {
        Ok(directory) => Ok(Podman { directory }),
        Err(path) => Err(Failure::new(format!(
            "--podman {}: the path has to be UTF-8, for it goes into a manifest",
            path.display()
        ))),
    }
}

fn refused(mut error: FileError) -> Failure {
    error.file = output::near(&error.file);
    Failure::error(&error).advise("nothing was written; correct it and run the command again")
}

fn append(out: &mut String, text: &str) {
    if !out.is_empty() && !text.starts_with("---") {
        out.push_str("---\n");
    }
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push('\n');
    }
}

/// Nothing when nothing changes.
fn diff(file: &str, before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(CONTEXT)
        .header(file, &format!("{file} (injected)"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_one_that_patch_takes() {
        let before = "a: 1\nb: 2\n";
        assert_eq!(
            diff("x.yaml", before, "a: 1\nc: 3\nb: 2\n"),
            "--- x.yaml\n+++ x.yaml (injected)\n@@ -1,2 +1,3 @@\n a: 1\n+c: 3\n b: 2\n"
        );
        assert_eq!(diff("x.yaml", before, before), "");
    }

    #[test]
    fn files_follow_one_another_as_documents() {
        let mut out = String::new();
        append(&mut out, "a: 1");
        append(&mut out, "--- \nb: 2\n");
        append(&mut out, "c: 3\n");
        assert_eq!(out, "a: 1\n--- \nb: 2\n---\nc: 3\n");
    }
}
