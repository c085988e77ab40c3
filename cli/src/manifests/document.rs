//! Cuts a YAML stream into documents before anything is parsed, so that a broken document leaves
//! the others alone and every position can be told in the lines of the file.
//! A line that starts with `---` is a boundary wherever it stands: YAML allows it in no scalar.

/// One document of a stream: its text (boundary line included) and the line it starts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// The text, unchanged.
    pub(crate) text: &'a str,
    /// Number of the first line of `text` in the file, from 1.
    pub(crate) line: u32,
}

/// The documents of a stream that hold anything besides comments and white space.
pub(crate) fn split(stream: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut offset, mut line) = (0, 1);
    for row in stream.split_inclusive('\n') {
        if offset > start && is_marker(row, "---") {
            documents.push(Document {
                text: &stream[start..offset],
                line: start_line,
            });
            (start, start_line) = (offset, line);
        }
        offset += row.len();
        line += 1;
        if is_marker(row, "...") {
            documents.push(Document {
                text: &stream[start..offset],
                line: start_line,
            });
            (start, start_line) = (offset, line);
        }
    }
    documents.push(Document {
        text: &stream[start..],
        line: start_line,
    });
    documents.retain(|document| !is_blank(document.text));
    documents
}

impl Document<'_> {
    /// The line of the file where the content starts: behind the boundary, comments and blanks.
    pub(crate) fn content_line(&self) -> u32 {
        let skipped = self.text.lines().take_while(|row| is_filler(row)).count();
        self.line + u32::try_from(skipped).unwrap_or(0)
    }
}

fn is_marker(row: &str, marker: &str) -> bool {
    row.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_blank(text: &str) -> bool {
    text.lines().all(is_filler)
}

fn is_filler(row: &str) -> bool {
    let row = row.strip_prefix("---").unwrap_or(row).trim();
    row.is_empty() || row == "..." || row.starts_with(['#', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_lines() {
        let stream =
            "# head\n---\na: 1\n---\n# only a comment\n--- \nb: |\n  ---\n  x\n...\nc: 3\n";
        let found: Vec<_> = split(stream)
            .iter()
            .map(|d| (d.line, d.content_line(), d.text.to_owned()))
            .collect();
        assert_eq!(
            found,
            [
                (2, 3, "---\na: 1\n".to_owned()),
                (6, 7, "--- \nb: |\n  ---\n  x\n...\n".to_owned()),
                (11, 11, "c: 3\n".to_owned()),
            ]
        );
    }

    #[test]
    fn an_empty_stream_has_no_documents() {
        assert!(split("").is_empty());
        assert!(split("# nothing\n---\n---\n").is_empty());
    }
}
