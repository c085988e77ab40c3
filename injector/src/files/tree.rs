//! Where everything stands in a document's text: its nodes with their byte ranges, so that what
//! injection changes can be cut in without touching the rest. Knows nothing of Kubernetes. Says
//! `None` for what it does not follow (keys that are no texts, nesting beyond any manifest).

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle};

/// No manifest nests like this; a hostile one must not exhaust the stack.
const MAX_DEPTH: usize = 128;

/// One value in the text. A block collection's range starts at its first key or item, and its end
/// means nothing; see [`Node::end`].
pub(super) struct Node {
    pub(super) range: Range<usize>,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// Nothing is written, which means `null`.
    Empty,
    /// On one or several lines, quoted or not.
    Scalar,
    /// `|` or `>`.
    Literal {
        /// Blank lines that follow belong to it (`|+`).
        keeps: bool,
    },
    /// `*name`.
    Alias,
    Map {
        flow: bool,
        entries: Vec<Entry>,
    },
    List {
        flow: bool,
        items: Vec<Node>,
    },
}

/// A key and its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_range: Range<usize>,
    /// Just after the colon.
    pub(super) colon: usize,
    pub(super) value: Node,
}

impl Entry {
    pub(super) fn end(&self, text: &str) -> usize {
        self.value.end(text).max(self.colon)
    }
}

impl Node {
    /// The one document of `text`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader {
            text,
            parser: Parser::new_from_str(text),
        };
        loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (event, span) => return reader.node(event, span, 0),
            }
        }
    }

    /// Where its text ends; for an empty one, nothing before it is more than a guess.
    pub(super) fn end(&self, text: &str) -> usize {
        match &self.content {
            Content::Empty => self.range.start,
            Content::Scalar | Content::Alias => self.range.end,
            Content::Literal { keeps } => {
                let written = &text[self.range.clone()];
                let kept = written.trim_end_matches([' ', '\t']).trim_end_matches('\n');
                let length = if *keeps {
                    let blank = written.trim_end_matches([' ', '\t']);
                    blank.strip_suffix('\n').unwrap_or(blank).len()
                } else {
                    kept.trim_end().len()
                };
                self.range.start + length
            }
            Content::Map { flow: true, .. } | Content::List { flow: true, .. } => self.range.end,
            Content::Map { entries, .. } => {
                entries.last().map_or(self.range.end, |last| last.end(text))
            }
            Content::List { items, .. } => {
                items.last().map_or(self.range.end, |last| last.end(text))
            }
        }
    }

    /// Where that stands to which a JSON pointer's tokens lead; an error says how far they do.
    pub(super) fn follow<'a>(&self, tokens: impl Iterator<Item = &'a str>) -> Result<usize, usize> {
        let (mut node, mut place) = (self, self.range.start);
        for token in tokens {
            let next = match &node.content {
                Content::Map { entries, .. } => entries
                    .iter()
                    .find(|entry| entry.key == token)
                    .map(|entry| (&entry.value, entry.key_range.start)),
                Content::List { items, .. } => token
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item, item.range.start)),
                _ => None,
            };
            (node, place) = next.ok_or(place)?;
        }
        Ok(place)
    }
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            match self.parser.next_event()?.ok()? {
                (Event::Comment(..), _) => {}
                other => return Some(other),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut range = span.byte_range()?;
        let content = match event {
            Event::Alias(_) => Content::Alias,
            Event::Scalar(_, style, ..) => match style {
                ScalarStyle::Literal | ScalarStyle::Folded => Content::Literal {
                    keeps: self.header(range.start).contains('+'),
                },
                ScalarStyle::Plain if range.is_empty() => Content::Empty,
                _ => Content::Scalar,
            },
            Event::SequenceStart(style, ..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, end) => {
                            range.end = end.byte_range()?.end;
                            break;
                        }
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                let flow = style == StructureStyle::Flow;
                Content::List { flow, items }
            }
            Event::MappingStart(style, ..) => {
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, end) => {
                            range.end = end.byte_range()?.end;
                            break;
                        }
                        (Event::Scalar(key, ..), span) => {
                            let key_range = span.byte_range()?;
                            let colon = self.colon(key_range.end)?;
                            let (event, span) = self.next()?;
                            let value = self.node(event, span, depth + 1)?;
                            entries.push(Entry {
                                key: key.into_owned(),
                                key_range,
                                colon,
                                value,
                            });
                        }
                        _ => return None,
                    }
                }
                let flow = style == StructureStyle::Flow;
                Content::Map { flow, entries }
            }
            _ => return None,
        };
        Some(Node { range, content })
    }

    /// Just after the colon of a key that ends at `from`.
    fn colon(&self, from: usize) -> Option<usize> {
        let rest = self.text.get(from..)?;
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest[blank..].starts_with(':').then_some(from + blank + 1)
    }

    /// The line above a block scalar's text, which says how to read it.
    fn header(&self, start: usize) -> &'a str {
        let above = self.text[..start].trim_end_matches([' ', '\t', '\r', '\n']);
        above.rsplit('\n').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_place_is_found_by_its_path() {
        let text = "# c\nspec:\n  list:\n  - a\n  - name: x   # here\n    deep: {k: v}\n";
        let root = Node::parse(text).unwrap();
        for (path, says) in [
            ("spec/list/1/name", "name: x"),
            ("spec/list/1/deep/k", "k: v"),
            ("spec/list/0", "a\n"),
            ("spec/nothing/there", "spec:"),
        ] {
            let (Ok(place) | Err(place)) = root.follow(path.split('/'));
            assert!(text[place..].starts_with(says), "{path}: {place}");
        }
    }

    #[test]
    fn ends_are_where_the_text_ends() {
        let text = "a:\n  - |\n    x\n\n# after\nb: |+\n  y\n\nc:\n";
        let root = Node::parse(text).unwrap();
        let Content::Map { entries, .. } = &root.content else {
            panic!("a map");
        };
        let upto = |index: usize| &text[..entries[index].end(text)];
        assert!(upto(0).ends_with("    x"), "{:?}", upto(0));
        assert!(upto(1).ends_with("  y\n"), "{:?}", upto(1));
        assert!(upto(2).ends_with("c:"), "{:?}", upto(2));
    }

    #[test]
    fn what_is_not_followed_is_no_tree() {
        for text in ["? [a]\n: b\n", "? a\n: b\n", "a: [", ""] {
            assert!(Node::parse(text).is_none(), "{text:?}");
        }
        let deep = "[".repeat(300) + &"]".repeat(300);
        assert!(Node::parse(&deep).is_none());
    }
}
