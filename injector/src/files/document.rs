//! Cuts a file into its documents, so that each can pass through untouched and be named by its
//! line. In YAML a line that starts with `---` or `...` is a boundary wherever it stands; JSON
//! values follow one another. The texts of all documents in a row are the whole file.

use serde_json::Value;

use super::splice::splice;
use super::tree::Node;
use super::write;

/// One document: its text with everything up to the next one.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    /// Number of the text's first line in the file, from 1.
    line: usize,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
}

pub(super) fn split(input: &str) -> Vec<Document<'_>> {
    let json = input
        .trim_start_matches(BOM)
        .trim_start()
        .starts_with(['{', '[']);
    match json.then(|| split_json(input)).flatten() {
        Some(documents) => documents,
        None => split_yaml(input),
    }
}

const BOM: char = '\u{feff}';

/// `None` when it is not JSON after all, but YAML that starts with a brace.
fn split_json(input: &str) -> Option<Vec<Document<'_>>> {
    let mark = input.len() - input.trim_start_matches(BOM).len();
    let mut values =
        serde_json::Deserializer::from_str(&input[mark..]).into_iter::<serde::de::IgnoredAny>();
    let mut ends = Vec::new();
    while let Some(value) = values.next() {
        value.ok()?;
        ends.push(mark + values.byte_offset());
    }
    // What follows the last value (white space) belongs to it.
    if let Some(last) = ends.last_mut() {
        *last = input.len();
    }
    Some(pieces(input, ends, Format::Json))
}

fn split_yaml(input: &str) -> Vec<Document<'_>> {
    let (mut ends, mut offset, mut start) = (Vec::new(), 0, 0);
    for row in input.split_inclusive('\n') {
        if offset > start
            && is_marker(row, "---")
            && !input[start..offset].lines().all(is_directive_or_blank)
        {
            ends.push(offset);
            start = offset;
        }
        offset += row.len();
        if is_marker(row, "...") {
            ends.push(offset);
            start = offset;
        }
    }
    if start < input.len() {
        ends.push(input.len());
    }
    pieces(input, ends, Format::Yaml)
}

fn pieces(input: &str, ends: Vec<usize>, format: Format) -> Vec<Document<'_>> {
    let (mut start, mut line) = (0, 1);
    let mut documents = Vec::with_capacity(ends.len());
    for end in ends {
        let text = &input[start..end];
        documents.push(Document { text, line, format });
        line += text.matches('\n').count();
        start = end;
    }
    documents
}

impl<'a> Document<'a> {
    /// The document's value, `null` for one without content; else the line and what is wrong.
    pub(super) fn parse(&self) -> Result<Value, (usize, String)> {
        self.read(self.body())
    }

    fn read(&self, text: &str) -> Result<Value, (usize, String)> {
        match self.format {
            Format::Json => serde_json::from_str(text)
                .map_err(|error| (self.line + error.line() - 1, error.to_string())),
            Format::Yaml if text.lines().all(is_filler) => Ok(Value::Null),
            Format::Yaml => write::parse_yaml(text).map_err(|error| {
                let line = error.location().map_or(self.content_line(), |location| {
                    self.line
                        + usize::try_from(location.line())
                            .unwrap_or(1)
                            .saturating_sub(1)
                });
                (line, write::brief(&error))
            }),
        }
    }

    /// The line of the file on which the content starts.
    pub(super) fn content_line(&self) -> usize {
        self.line + self.text.lines().take_while(|row| is_filler(row)).count()
    }

    /// Where everything stands in it, if that can be told.
    pub(super) fn tree(&self) -> Option<Node> {
        Node::parse(self.body())
    }

    /// The line of what `path` leads to. If it does not lead all the way, the first line from there
    /// on that has `keyword`.
    pub(super) fn line_of(&self, tree: Option<&Node>, path: &[String], keyword: &str) -> usize {
        let Some(tree) = tree else {
            return self.line_with(0, keyword);
        };
        match tree.follow(path.iter().map(String::as_str)) {
            Ok(place) => self.line_at(place),
            Err(place) => self.line_with(place, keyword),
        }
    }

    fn line_at(&self, place: usize) -> usize {
        self.line + self.body()[..place].matches('\n').count()
    }

    fn line_with(&self, from: usize, keyword: &str) -> usize {
        let from = self.body()[..from].rfind('\n').map_or(0, |at| at + 1);
        let found = self.body()[from..]
            .lines()
            .position(|row| row.contains(keyword) && !row.trim_start().starts_with('#'));
        match found {
            Some(row) if !keyword.is_empty() => self.line_at(from) + row,
            _ if from > 0 => self.line_at(from),
            _ => self.content_line(),
        }
    }

    /// Writes the document, which says `from`, so that it says `to`, and changes no more of its
    /// text than that takes. Whether that could be done: otherwise its content is written anew.
    pub(super) fn write_changed(
        &self,
        tree: Option<&Node>,
        from: &Value,
        to: &Value,
        output: &mut String,
    ) -> bool {
        let spliced = tree.and_then(|tree| splice(self.body(), tree, from, to).ok());
        match spliced.filter(|text| self.read(text).is_ok_and(|read| read == *to)) {
            Some(text) => {
                output.push_str(&self.text[..self.text.len() - self.body().len()]);
                output.push_str(&text);
                true
            }
            None => {
                self.write_with(to, output);
                false
            }
        }
    }

    fn body(&self) -> &'a str {
        self.text.trim_start_matches(BOM)
    }

    /// Writes the document with `value` as its content, what stands before and after as it was.
    fn write_with(&self, value: &Value, output: &mut String) {
        let (before, content, after) = self.parts();
        output.push_str(before);
        match self.format {
            Format::Json => output.push_str(&write::json(value, content.contains('\n'))),
            Format::Yaml => {
                if is_marker(content, "---") {
                    output.push_str("---\n");
                }
                output.push_str(&write::yaml(value));
            }
        }
        output.push_str(after);
    }

    /// Leading comments and markers, the content, and trailing comments.
    fn parts(&self) -> (&'a str, &'a str, &'a str) {
        if self.format == Format::Json {
            let start = self.text.len() - self.text.trim_start_matches(BOM).trim_start().len();
            let end = self.text.trim_end().len();
            return (
                &self.text[..start],
                &self.text[start..end],
                &self.text[end..],
            );
        }
        let before: usize = self
            .text
            .split_inclusive('\n')
            .take_while(|row| is_filler(row))
            .map(str::len)
            .sum();
        let rows: Vec<_> = self.text[before..].split_inclusive('\n').collect();
        let is_after =
            |row: &&&str| row.trim().is_empty() || row.starts_with('#') || is_marker(row, "...");
        let after: usize = rows
            .iter()
            .rev()
            .take_while(is_after)
            .map(|row| row.len())
            .sum();
        let end = self.text.len() - after;
        (
            &self.text[..before],
            &self.text[before..end],
            &self.text[end..],
        )
    }
}

fn is_marker(row: &str, marker: &str) -> bool {
    row.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// What may stand before `---` and belongs to the document that it begins.
fn is_directive_or_blank(row: &str) -> bool {
    row.trim_start_matches(BOM).trim().is_empty() || row.starts_with('%')
}

fn is_filler(row: &str) -> bool {
    let row = row.trim_start_matches(BOM);
    let row = if is_marker(row, "---") {
        &row[3..]
    } else {
        row
    };
    let row = row.trim();
    row.is_empty() || row == "..." || row.starts_with(['#', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &str) -> Vec<(usize, &str)> {
        let documents = split(input);
        assert_eq!(
            documents
                .iter()
                .map(|document| document.text)
                .collect::<String>(),
            input
        );
        documents
            .iter()
            .map(|document| (document.line, document.text))
            .collect()
    }

    #[test]
    fn yaml_is_cut_at_its_markers_only() {
        let input = "# a\n---\nx: |\n  ---\n--- # b\ny: 1\n...\n%YAML 1.2\n---\nz: 1\n";
        let expected = [
            (1, "# a\n"),
            (2, "---\nx: |\n  ---\n"),
            (5, "--- # b\ny: 1\n...\n"),
            (8, "%YAML 1.2\n---\nz: 1\n"),
        ];
        assert_eq!(texts(input), expected);
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
        assert_eq!(
            texts("\u{feff}---\r\na: 1\r\n---\r\nb: 1"),
            [(1, "\u{feff}---\r\na: 1\r\n"), (3, "---\r\nb: 1")]
        );
    }

    #[test]
    fn json_values_follow_one_another() {
        assert_eq!(
            texts("{\"a\": 1}\n{\"b\":\n2}\n"),
            [(1, "{\"a\": 1}"), (1, "\n{\"b\":\n2}\n")]
        );
    }

    #[test]
    fn yaml_in_braces_is_yaml() {
        assert_eq!(
            texts("{a: 1}\n---\n{b: 2}\n"),
            [(1, "{a: 1}\n"), (2, "---\n{b: 2}\n")]
        );
    }

    #[test]
    fn nothing_is_no_document() {
        assert!(split("").is_empty());
    }
}
