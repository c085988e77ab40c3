//! `exportTo:`: which namespaces see an object. All of them (`*`, or nothing), or its own (`.`).

use super::at::At;
use crate::source::decode::Problem;

/// Whether only its own namespace sees it.
pub fn is_private(export_to: &[At<String>]) -> bool {
    let own = export_to.iter().any(|to| to.as_str() == ".");
    own && export_to.iter().all(|to| to.as_str() != "*")
}

/// Those that are not supported.
pub fn bad_exports(export_to: &[At<String>]) -> impl Iterator<Item = Problem> {
    let others = export_to.iter().enumerate();
    let others = others.filter(|(_, to)| !matches!(to.as_str(), "*" | "."));
    others.map(|(i, to)| Problem {
        at: to.at,
        reason: format!(
            "spec.exportTo[{i}]: `{}` is not supported yet, only `*` and `.` are",
            to.as_str()
        ),
        suggestion: "write `.` for its own namespace".to_owned(),
    })
}
