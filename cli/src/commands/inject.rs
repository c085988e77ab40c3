//! `heddle inject`: the injector's one function on files. The manifest goes to standard output, what
//! was done to standard error, so that a pipe carries nothing but YAML.

use heddle_injector::files::{inject_documents, read_namespaces};
use heddle_injector::{DefaultInject, InjectConfig, StaticNamespaces};

use super::{apply, output};
use crate::args::Files;
use crate::failure::{Failure, Outcome};
use crate::terminal::say;

pub(crate) fn run(files: &Files) -> Outcome {
    let manifests = apply::read(&files.files)?;
    // What is named here is meant to be injected; labels and annotations can still say no.
    let config = InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    };
    let refused = |error: heddle_injector::files::FileError| {
        let mut error = error;
        error.file = output::near(&error.file);
        Failure::error(&error).advise("nothing was written; correct it and run the command again")
    };
    let mut namespaces = StaticNamespaces::default();
    for manifest in &manifests {
        namespaces.0.append(
            &mut read_namespaces(&manifest.text, &manifest.file)
                .map_err(refused)?
                .0,
        );
    }
    let mut out = String::new();
    for manifest in &manifests {
        let (text, notes) = inject_documents(&manifest.text, &manifest.file, &config, &namespaces)
            .map_err(refused)?;
        if !out.is_empty() && !text.starts_with("---") {
            out.push_str("---\n");
        }
        out.push_str(&text);
        if !text.ends_with('\n') {
            out.push('\n');
        }
        for note in notes {
            say!("{}:{}: {note}", output::near(&manifest.file), note.line);
        }
    }
    output::write(&out)
}
