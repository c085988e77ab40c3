//! One list of what was refused, from what the daemon and the control plane found; each once, and at
//! the place where the person wrote it, not at the copy the control plane read.

use std::collections::BTreeSet;
use std::path::Path;

use heddle_proto::admin::Refused;

use super::publish::file_name;
use super::view::View;
use crate::manifests::{Key, Problem};

/// Both lists as one.
pub(crate) fn merge(view: &View, refused: &[Refused], state: &Path) -> Vec<Problem> {
    let mut merged: Vec<Problem> = refused
        .iter()
        .map(|refused| located(view, refused, state))
        .collect();
    let own = view.refused.iter().filter(|own| {
        !merged.iter().any(|other| match own.name.as_str() {
            "" => other.file == own.file && (other.line == own.line || other.name.is_empty()),
            _ => {
                (&own.kind, &own.namespace, &own.name)
                    == (&other.kind, &other.namespace, &other.name)
            }
        })
    });
    let own: Vec<Problem> = own.cloned().collect();
    merged.extend(own);
    let mut seen = BTreeSet::new();
    merged.retain(|problem| {
        let Problem {
            kind,
            namespace,
            name,
            reason,
            ..
        } = problem;
        let place = if name.is_empty() {
            problem.place()
        } else {
            String::new()
        };
        seen.insert((
            kind.clone(),
            namespace.clone(),
            name.clone(),
            reason.clone(),
            place,
        ))
    });
    merged.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    merged
}

fn located(view: &View, refused: &Refused, state: &Path) -> Problem {
    let mut problem = Problem::from_wire(refused);
    let Ok(below) = Path::new(&refused.file).strip_prefix(state) else {
        return problem;
    };
    let named = |key: &Key, extension| {
        below
            .file_name()
            .is_some_and(|name| name == file_name(key, extension).as_str())
    };
    if let Some((_, origin)) = view.removed.iter().find(|(key, _)| named(key, "json")) {
        problem.file = origin.file.display().to_string();
        (problem.line, problem.column) = (origin.line, 1);
        problem.reason = "it stands in a watched file".to_owned();
        problem.consequence = "it stays in force".to_owned();
        problem.suggestion = "remove it there".to_owned();
    } else if below.starts_with("applied") {
        // The copy is the document from its first line on.
        if let Some((_, origin)) = view.origins.iter().find(|(key, _)| named(key, "yaml")) {
            problem.file = origin.file.display().to_string();
            problem.line = origin.start + refused.line.saturating_sub(1);
        }
    } else if let Some((_, origin)) = view.origins.iter().find(|(key, _)| named(key, "json")) {
        problem.file = origin.file.display().to_string();
        (problem.line, problem.column) = (origin.line, 1);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_control::check::Code;

    use crate::manifests::Origin;

    fn refused(file: &str, line: u32, reason: &str) -> Refused {
        Refused {
            kind: "VirtualService".into(),
            namespace: "default".into(),
            name: "r".into(),
            file: file.into(),
            line,
            column: 3,
            reason: reason.into(),
            severity: "error".into(),
            ..Refused::default()
        }
    }

    #[test]
    fn places_are_those_of_the_person() {
        let mut view = View::default();
        let origin = Origin {
            file: "/home/me/routes.yaml".into(),
            line: 11,
            start: 10,
        };
        view.origins
            .insert(Key::new("VirtualService", "default", "r"), origin);
        let own = Problem::at(Code::Syntax, Path::new("/home/me/x.yaml"), 1, 1, "broken");
        view.refused = vec![
            own.clone(),
            own.clone()
                .named(&Key::new("VirtualService", "default", "r")),
        ];
        let list = [
            refused("/state/applied/virtualservice_default_r.yaml", 5, "bad"),
            refused("/state/cluster/virtualservice_default_r.json", 1, "bad"),
        ];
        let merged = merge(&view, &list, Path::new("/state"));
        let places: Vec<_> = merged
            .iter()
            .map(|problem| (problem.place(), problem.reason.as_str()))
            .collect();
        assert_eq!(
            places,
            [
                ("/home/me/routes.yaml:14:3".to_owned(), "bad"),
                ("/home/me/x.yaml:1:1".to_owned(), "broken")
            ]
        );
    }
}
