//! What a code means: its section of the guide, which every binary carries.

use heddle_control::check::Code;

use crate::failure::{Failure, Outcome};

/// The guide. Each code has a section that begins with `### HDL0102: ` and its meaning.
pub(super) const GUIDE: &str = include_str!("../../../../docs/check.md");

pub(super) fn of(code: &str) -> Outcome<String> {
    let known: Code = code.parse().map_err(|()| {
        let shown = code.escape_debug();
        Failure::new(format!("there is no code `{shown}`"))
            .advise("write one as `heddle check` shows it: HDL0102")
    })?;
    let severity = known.severity();
    let text = section(known).unwrap_or_default();
    let title = format!("{known} ({severity}): {}\n\n", known.meaning());
    Ok(title + text.trim() + "\n")
}

/// What the guide says of a code, without its heading.
pub(super) fn section(code: Code) -> Option<&'static str> {
    let heading = format!("\n### {code}: {}\n", code.meaning());
    let (_, rest) = GUIDE.split_once(&heading)?;
    let end = ["\n### ", "\n## "]
        .into_iter()
        .filter_map(|next| rest.find(next));
    Some(end.min().map_or(rest, |end| &rest[..end]))
}
