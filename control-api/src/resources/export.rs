//! `exportTo:`: which namespaces see an object. All of them (`*`, or nothing), its own (`.`), those
//! that are named, or none (`~`).

use super::at::At;
use crate::{check::Code, name::is_label, source::decode::Problem};

/// How closely an object is meant for a client: of several the closest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closeness {
    /// For its own namespace, which is the client's, and not for all.
    Own,
    /// For the client's namespace by name.
    Named,
    /// For everyone.
    All,
}

/// Whether some namespaces do not see what says this.
pub fn is_restricted(export_to: &[At<String>]) -> bool {
    !export_to.is_empty() && export_to.iter().all(|to| to.as_str() != "*")
}

/// How closely an object of namespace `own` is meant for clients in `namespace`; None: not at all.
pub fn closeness(export_to: &[At<String>], own: &str, namespace: &str) -> Option<Closeness> {
    if !is_restricted(export_to) {
        return Some(Closeness::All);
    }
    let has = |wanted: &str| export_to.iter().any(|to| to.as_str() == wanted);
    match own == namespace && (has(".") || has(own)) {
        true => Some(Closeness::Own),
        false => has(namespace).then_some(Closeness::Named),
    }
}

/// Those that name no namespace.
pub fn bad_exports(export_to: &[At<String>]) -> impl Iterator<Item = Problem> {
    let others = export_to.iter().enumerate();
    let others = others.filter(|(_, to)| {
        let to = to.as_str();
        !matches!(to, "*" | "." | "~") && !is_label(to)
    });
    others.map(|(i, to)| {
        let reason = format!(
            "spec.exportTo[{i}]: `{}` cannot be the name of a namespace",
            to.as_str().escape_debug()
        );
        Problem::new(Code::BadName, to.at, reason)
            .suggest("write a namespace, `.` for its own, `*` for all or `~` for none")
    })
}
