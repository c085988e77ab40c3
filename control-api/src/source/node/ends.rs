//! Where values end, for those who underline them: looked up by where they begin. Of what is written
//! over several lines without brackets nothing is told.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Options, Parser};

use super::{MAX_DEPTH, Position};

/// Ends, by beginnings, of the scalars, keys and bracketed values of a document; `line_offset` lines come
/// before it in its file. Of a broken one as far as it can be read.
pub fn ends(text: &str, line_offset: u32) -> HashMap<Position, Position> {
    let mut options = Options::default();
    options.emit_comments = false;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let place = |line: usize, column: usize| Position {
        line: narrow(line).saturating_add(line_offset),
        column: narrow(column).saturating_add(1),
    };
    let (mut found, mut open) = (HashMap::new(), Vec::new());
    for event in Parser::new_from_str_with_options(text, options) {
        let Ok((event, span)) = event else { break };
        let start = place(span.start.line(), span.start.col());
        let end = place(span.end.line(), span.end.col());
        match event {
            Event::Scalar(..) | Event::Alias(_) => _ = found.insert(start, end),
            // A bracket is as long as its event; what has none begins where its first part does.
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                open.push((start != end).then_some(start));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Some(start)) = open.pop() {
                    found.insert(start, end);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        let text = "a: b c # x\nd: {e: 'f', g: [h, i]}\nj:\n- k: \"l\"\n  m: 1\n";
        let found = ends(text, 10);
        let at = |line, column| Position { line, column };
        for (start, end) in [
            (at(11, 1), Some(at(11, 2))),
            (at(11, 4), Some(at(11, 7))),
            (at(12, 4), Some(at(12, 23))),
            (at(12, 8), Some(at(12, 11))),
            (at(12, 16), Some(at(12, 22))),
            (at(14, 1), None),
            (at(14, 6), Some(at(14, 9))),
        ] {
            assert_eq!(found.get(&start), end.as_ref(), "{start:?}: {found:?}");
        }
    }
}
