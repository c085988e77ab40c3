//! Cuts a YAML file into its documents, so that one broken document leaves the others alone and
//! every line number stays that of the file. A line that begins with `---` or `...` in the first
//! column always ends a document (YAML 1.2, 9.1.2: it may not occur inside any scalar), so
//! no scalar needs to be understood for this.

/// One document's text and the number of lines before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Text, its `---` line included.
    pub text: &'a str,
    /// Lines of the file before `text`.
    pub line_offset: u32,
}

/// Cuts. Documents of only comments and blank lines are left out.
pub fn split(file: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line) = (0, 0_u32);
    let (mut offset, mut line) = (0, 0_u32);
    let (mut has_content, mut has_begun) = (false, false);
    let mut push = |start: usize, end: usize, line_offset: u32| {
        documents.push(Document {
            text: &file[start..end],
            line_offset,
        });
    };
    for text in file.split_inclusive('\n') {
        let ends = is_marker(text, "...");
        if is_marker(text, "---") {
            if has_content {
                push(start, offset, start_line);
            }
            // Of an empty document only directives and comments before its `---` are anyone's.
            if has_content || has_begun {
                (start, start_line, has_content) = (offset, line, false);
            }
            has_begun = true;
        }
        offset += text.len();
        line = line.saturating_add(1);
        if ends {
            if has_content {
                push(start, offset, start_line);
            }
            (start, start_line, has_content) = (offset, line, false);
            has_begun = false;
        } else if !is_blank(text) {
            has_content = true;
        }
    }
    if has_content {
        push(start, file.len(), start_line);
    }
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Blank, a comment, a directive, or a bare `---`.
fn is_blank(line: &str) -> bool {
    let rest = if is_marker(line, "---") {
        &line[3..]
    } else {
        line
    };
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#') || line.starts_with('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(file: &str) -> Vec<(&str, u32)> {
        split(file)
            .iter()
            .map(|d| (d.text, d.line_offset))
            .collect()
    }

    #[test]
    fn documents_keep_their_lines() {
        assert_eq!(
            cut("a: 1\n---\nb: 2\n--- # c\nc: 3"),
            [("a: 1\n", 0), ("---\nb: 2\n", 1), ("--- # c\nc: 3", 3)]
        );
    }

    #[test]
    fn comments_directives_and_empty_documents_do_not_count() {
        assert_eq!(
            cut("# top\n%YAML 1.2\n---\na: 1\n---\n---\n# end\n"),
            [("# top\n%YAML 1.2\n---\na: 1\n", 0)]
        );
        assert_eq!(
            cut("a: 1\n...\n# x\n---\nb: 2\n"),
            [("a: 1\n...\n", 0), ("# x\n---\nb: 2\n", 2)]
        );
        assert_eq!(
            cut("# x\n---\n# y\n---\na: 1\n---\n---\n---\nb: 2\n"),
            [("---\na: 1\n", 3), ("---\nb: 2\n", 7)]
        );
        assert!(cut("").is_empty() && cut("---\n---\n").is_empty());
    }

    #[test]
    fn markers_inside_indented_scalars_do_not_cut() {
        let file = "a: |\n  ---\n  x\n  ...\nb: \"q ---\"\n";
        assert_eq!(cut(file), [(file, 0)]);
        assert_eq!(cut("---x: 1\n"), [("---x: 1\n", 0)]);
    }
}
