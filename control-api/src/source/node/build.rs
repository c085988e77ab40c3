//! The parser's events to a tree. Counts what aliases repeat, so that no text is worth more than it is
//! long.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span};

use super::{Key, MAX_DEPTH, MAX_NODES, Node, Position, Scalar, SyntaxError, Value};

/// As much text as counts as one node more when it is repeated.
const NODE_BYTES: usize = 64;

enum Open {
    Seq(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        seen: HashSet<Box<str>>,
        key: Option<Key>,
        merges: Vec<Node>,
    },
}

struct Frame {
    at: Position,
    anchor: usize,
    open: Open,
}

pub(super) struct Builder {
    line_offset: u32,
    stack: Vec<Frame>,
    /// By number: what was anchored, and its size.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder {
    pub(super) fn new(line_offset: u32) -> Self {
        Self {
            line_offset,
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            root: None,
        }
    }

    pub(super) fn run(mut self, text: &str) -> Result<Node, SyntaxError> {
        let mut options = Options::default();
        options.emit_comments = false;
        options.flow_nesting_limit = MAX_DEPTH;
        options.block_nesting_limit = MAX_DEPTH;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| {
                let at = self.position(error.marker().line(), error.marker().col());
                match error.kind() {
                    // Seen ahead of what is built.
                    ErrorKind::RecursionLimitExceeded => too_deep(at),
                    _ => SyntaxError {
                        at,
                        reason: format!("not valid YAML: {}", error.info()),
                        suggestion: String::new(),
                        is_too_much: false,
                    },
                }
            })?;
            self.event(event, &span)?;
        }
        Ok(self.root.unwrap_or(Node {
            at: Position::default(),
            value: Value::Plain("".into()),
        }))
    }

    fn position(&self, line: usize, column: usize) -> Position {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: narrow(line).saturating_add(self.line_offset),
            column: narrow(column).saturating_add(1),
        }
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), SyntaxError> {
        let at = self.position(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_string = tag.is_some_and(|tag| tag.core_suffix() == Some("str"));
                let value = if style == ScalarStyle::Plain && !is_string {
                    Value::Plain(text.as_ref().into())
                } else {
                    Value::Quoted(text.as_ref().into())
                };
                self.count(1, at)?;
                let node = Node { at, value };
                let size = if anchor == 0 { 1 } else { size(&node) };
                self.add(node, anchor, size)
            }
            Event::SequenceStart(_, anchor, _) => self.open(at, anchor, Open::Seq(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.open(
                at,
                anchor,
                Open::Map {
                    entries: Vec::new(),
                    seen: HashSet::new(),
                    key: None,
                    merges: Vec::new(),
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id) else {
                    return Err(SyntaxError {
                        at,
                        reason: "an alias to something that contains it".into(),
                        suggestion: String::new(),
                        is_too_much: false,
                    });
                };
                let (node, size) = (node.clone(), *size);
                self.count(size, at)?;
                if self.stack.len() + depth(&node, MAX_DEPTH) > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                self.add(node, 0, size)
            }
            Event::DocumentStart(..) if self.root.is_some() => Err(SyntaxError {
                at,
                reason: "a second document without a `---` line".into(),
                suggestion: String::new(),
                is_too_much: false,
            }),
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(SyntaxError {
                at,
                reason: format!("more than {MAX_NODES} values in one document"),
                suggestion: String::new(),
                is_too_much: true,
            });
        }
        Ok(())
    }

    fn open(&mut self, at: Position, anchor: usize, open: Open) -> Result<(), SyntaxError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.count(1, at)?;
        self.stack.push(Frame { at, anchor, open });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let value = match frame.open {
            Open::Seq(items) => Value::Seq(items),
            Open::Map {
                entries, merges, ..
            } if merges.is_empty() => Value::Map(entries),
            Open::Map {
                entries,
                merges,
                seen,
                ..
            } => Value::Map(merge(entries, seen, merges)?),
        };
        let node = Node {
            at: frame.at,
            value,
        };
        let size = if frame.anchor == 0 { 1 } else { size(&node) };
        self.add(node, frame.anchor, size)
    }

    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.count(size, node.at)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::Seq(items)) => items.push(node),
            Some(Open::Map {
                entries,
                seen,
                key,
                merges,
            }) => match key.take() {
                None => {
                    let Some((name, written)) = key_of(&node) else {
                        return Err(SyntaxError {
                            at: node.at,
                            reason: "a key must be a plain word".into(),
                            suggestion: String::new(),
                            is_too_much: false,
                        });
                    };
                    if !seen.insert(name.clone()) {
                        return Err(SyntaxError {
                            at: node.at,
                            reason: format!("the key `{name}` appears twice"),
                            suggestion: String::new(),
                            is_too_much: false,
                        });
                    }
                    *key = Some(Key {
                        name,
                        written,
                        at: node.at,
                    });
                }
                Some(name) if &*name.name == "<<" => merges.push(node),
                Some(name) => entries.push((name, node)),
            },
        }
        Ok(())
    }
}

fn too_deep(at: Position) -> SyntaxError {
    SyntaxError {
        at,
        reason: format!("nested more than {MAX_DEPTH} deep"),
        suggestion: String::new(),
        is_too_much: true,
    }
}

/// What a key is called, and how it is written where that is not the same.
fn key_of(node: &Node) -> Option<(Box<str>, Option<Box<str>>)> {
    match &node.value {
        Value::Quoted(text) => Some((text.clone(), None)),
        Value::Plain(text) => Some(match Scalar::key(text) {
            Some(name) => (name.into(), Some(text.clone())),
            None => (text.clone(), None),
        }),
        _ => None,
    }
}

/// `<<: *anchor` and `<<: [*a, *b]`: what is written in the mapping itself wins, then the first.
fn merge(
    mut entries: Vec<(Key, Node)>,
    mut seen: HashSet<Box<str>>,
    merges: Vec<Node>,
) -> Result<Vec<(Key, Node)>, SyntaxError> {
    for node in merges {
        let sources = match node.value {
            Value::Seq(items) => items,
            _ => vec![node],
        };
        for source in sources {
            let Value::Map(merged) = source.value else {
                return Err(SyntaxError {
                    at: source.at,
                    reason: "`<<` needs a mapping".into(),
                    suggestion: String::new(),
                    is_too_much: false,
                });
            };
            entries.extend(
                merged
                    .into_iter()
                    .filter(|(key, _)| seen.insert(key.name.clone())),
            );
        }
    }
    Ok(entries)
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Seq(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| 1 + key.name.len() / NODE_BYTES + size(node))
            .sum(),
        Value::Plain(text) | Value::Quoted(text) => text.len() / NODE_BYTES,
    }
}

/// Depth of the collections in `node`. Only an alias can bring some that the stack did not see.
fn depth(node: &Node, limit: usize) -> usize {
    let inner = |node: &Node| depth(node, limit.saturating_sub(1));
    match &node.value {
        _ if limit == 0 => 0,
        Value::Seq(items) => 1 + items.iter().map(inner).max().unwrap_or(0),
        Value::Map(entries) => {
            1 + entries
                .iter()
                .map(|(_, node)| inner(node))
                .max()
                .unwrap_or(0)
        }
        _ => 0,
    }
}
