//! Why a text that is no YAML probably is none: it is a template that nobody has rendered, or its lines
//! begin with tabs. Said in place of what the parser stumbled over.

use super::{Position, SyntaxError};
use crate::source::suggest;

/// How many spaces a tab is shown as.
const INDENT: &str = "  ";

/// The error, or the one behind it. `line_offset` lines come before `text` in its file.
pub(super) fn explained(text: &str, line_offset: u32, error: SyntaxError) -> SyntaxError {
    if error.is_too_much {
        return error;
    }
    let lines = || text.lines().zip(line_offset.saturating_add(1)..);
    // Of the line, or the one before it: a parser stumbles late.
    let stumbled = error.at.line;
    let is_near = |number: u32| number == stumbled || number.saturating_add(1) == stumbled;
    let template = |(line, number): (&str, u32)| {
        if !is_near(number) && !line.trim_start().starts_with("{{") {
            return None;
        }
        let line = line.split('#').next().unwrap_or_default();
        let (start, placeholder) = suggest::placeholder(line)?;
        let at = Position {
            line: number,
            column: column(line, start),
        };
        Some(SyntaxError {
            at,
            reason: format!("this is a template that is not rendered: `{placeholder}`"),
            suggestion: suggest::RENDER.into(),
            is_too_much: false,
        })
    };
    if let Some(error) = lines().find_map(template) {
        return error;
    }
    let Some((line, _)) = lines().find(|(_, number)| *number == error.at.line) else {
        return error;
    };
    let indent = &line[..line.len() - line.trim_start().len()];
    match indent.find('\t') {
        Some(start) => SyntaxError {
            at: Position {
                line: error.at.line,
                column: column(line, start),
            },
            reason: "the line begins with a tab, and YAML takes spaces alone".into(),
            suggestion: spaces(line),
            is_too_much: false,
        },
        None => error,
    }
}

/// Columns count characters, from 1.
fn column(line: &str, byte: usize) -> u32 {
    let before = line[..byte].chars().count();
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

fn spaces(line: &str) -> String {
    const MOST: usize = 80;
    let line = line.trim_end().replace('\t', INDENT);
    match line.chars().count() <= MOST {
        true => format!("write two spaces for each tab: `{line}`"),
        false => "write two spaces for each tab".into(),
    }
}
