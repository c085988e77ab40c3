//! Cuts the difference between two values into the text of the first, so that everything else in
//! it (comments, order, spacing, quotes) stays as its author wrote it. Where an edit is not certain
//! to mean what it should (an alias, a tag, an odd layout), it gives up; the caller reads the result
//! anew in any case.

mod change;

use std::ops::Range;

use serde_json::{Map, Value};

use self::change::{ListChange, MapChange, Step};
use super::tree::{Content, Entry, Node};
use super::write;
use crate::patch;

/// The text cannot be edited in place.
pub(super) struct GaveUp;

type Edited = Result<(), GaveUp>;

/// `text`, which says `from`, edited so that it says `to`.
pub(super) fn splice(text: &str, root: &Node, from: &Value, to: &Value) -> Result<String, GaveUp> {
    let crlf = text.find('\n').is_some_and(|at| text[..at].ends_with('\r'));
    let mut splice = Splice {
        text,
        newline: if crlf { "\r\n" } else { "\n" },
        edits: Vec::new(),
    };
    splice.node(root, None, from, to)?;
    splice.apply()
}

struct Splice<'a> {
    text: &'a str,
    newline: &'static str,
    edits: Vec<(Range<usize>, String)>,
}

/// Where a block value hangs: after a colon or a dash, and the column of that key or dash.
#[derive(Clone, Copy)]
struct Hook {
    after: usize,
    column: usize,
}

impl Splice<'_> {
    fn apply(mut self) -> Result<String, GaveUp> {
        self.edits
            .sort_by_key(|(range, _)| (range.start, range.end));
        let (mut output, mut done) = (String::with_capacity(self.text.len() + 8192), 0);
        for (range, new) in self.edits {
            output.push_str(self.text.get(done..range.start).ok_or(GaveUp)?);
            output.push_str(&new);
            done = range.end;
        }
        output.push_str(self.text.get(done..).ok_or(GaveUp)?);
        Ok(output)
    }

    fn node(&mut self, node: &Node, hook: Option<Hook>, from: &Value, to: &Value) -> Edited {
        if from == to {
            return Ok(());
        }
        match (&node.content, from, to) {
            (Content::Map { flow, entries }, Value::Object(from), Value::Object(to))
                if to.keys().any(|key| from.contains_key(key)) =>
            {
                let change = MapChange::between(entries, from, to)?;
                if *flow {
                    self.flow_map(&change)
                } else {
                    self.block_map(&change)
                }
            }
            (Content::List { flow, items }, Value::Array(old), Value::Array(new))
                if items.len() == old.len() =>
            {
                let mut kept = patch::kept(old, new).ok_or(GaveUp)?;
                // As many as before, but some have no name to be known by.
                if old.len() == new.len() && kept.len() < old.len() {
                    kept = (0..old.len()).map(|index| (index, index)).collect();
                }
                if kept.is_empty() {
                    return self.replace(node, hook, to);
                }
                let change = ListChange {
                    items,
                    old,
                    new,
                    kept,
                };
                if *flow {
                    self.flow_list(&change)
                } else {
                    self.block_list(&change, hook)
                }
            }
            _ => self.replace(node, hook, to),
        }
    }

    fn replace(&mut self, node: &Node, hook: Option<Hook>, to: &Value) -> Edited {
        let Some(hook) = hook else {
            if matches!(node.content, Content::Empty | Content::Literal { .. }) {
                return Err(GaveUp);
            }
            self.edits.push((node.range.clone(), write::flow(to)));
            return Ok(());
        };
        let end = node.end(self.text).max(hook.after);
        let new = match write::one_line(to) {
            Some(line) => format!(" {line}"),
            None => format!(
                "{}{}",
                self.newline,
                self.block(to, hook.column + 2).trim_end()
            ),
        };
        self.edits.push((hook.after..end, new));
        Ok(())
    }

    fn block_map(&mut self, change: &MapChange<'_>) -> Edited {
        let text = self.text;
        for (entry, old, new) in &change.kept {
            let hook = Hook {
                after: entry.colon,
                column: self.column(entry.key_range.start),
            };
            self.node(&entry.value, Some(hook), old, new)?;
        }
        for (entry, added) in &change.swapped {
            let column = self.column(entry.key_range.start);
            let new = self.entry(added, column);
            let range = entry.key_range.start..entry.end(text);
            self.edits.push((range, new.trim_start().to_owned()));
        }
        for removed in &change.removed {
            let entry = removed.entry;
            let range = if self.is_first_on_line(entry.key_range.start) {
                self.lines(entry.key_range.start, entry.end(text))?
            } else {
                let next = removed.next.ok_or(GaveUp)?;
                entry.key_range.start..next.key_range.start
            };
            self.edits.push((range, String::new()));
        }
        for (entry, added) in &change.added {
            let column = self.column(entry.key_range.start);
            let mut new = String::new();
            for pair in added {
                new.push_str(self.newline);
                new.push_str(&self.entry(pair, column));
            }
            let place = self.line_end(entry.end(text));
            self.edits.push((place..place, new));
        }
        Ok(())
    }

    fn flow_map(&mut self, change: &MapChange<'_>) -> Edited {
        let text = self.text;
        for (entry, old, new) in &change.kept {
            self.node(&entry.value, None, old, new)?;
        }
        for (entry, added) in &change.swapped {
            let new = self.flow_entry(entry, added);
            self.edits
                .push((entry.key_range.start..entry.end(text), new));
        }
        for removed in &change.removed {
            let entry = removed.entry;
            let range = match (removed.next, removed.before) {
                (Some(next), _) if !removed.trailing => entry.key_range.start..next.key_range.start,
                (_, Some(before)) => before.end(text)..entry.end(text),
                _ => return Err(GaveUp),
            };
            self.edits.push((range, String::new()));
        }
        for (entry, added) in &change.added {
            let separator = self.separator(entry.key_range.start);
            let added = added.iter().map(|pair| self.flow_entry(entry, pair));
            let new: String = added.map(|pair| format!("{separator}{pair}")).collect();
            let place = entry.end(text);
            self.edits.push((place..place, new));
        }
        Ok(())
    }

    fn block_list(&mut self, change: &ListChange<'_>, hook: Option<Hook>) -> Edited {
        let dashes = self.dashes(change.items, hook.ok_or(GaveUp)?.after)?;
        let column = self.column(dashes[0]);
        for step in change.steps() {
            match step {
                Step::Same { old, new } => {
                    let hook = Hook {
                        after: dashes[old] + 1,
                        column,
                    };
                    let (before, after) = (&change.old[old], &change.new[new]);
                    self.node(&change.items[old], Some(hook), before, after)?;
                }
                Step::Remove { old } => {
                    if !self.is_first_on_line(dashes[old]) {
                        return Err(GaveUp);
                    }
                    let end = change.items[old].end(self.text).max(dashes[old] + 1);
                    let range = self.lines(dashes[old], end)?;
                    self.edits.push((range, String::new()));
                }
                Step::AddBefore { old, new } => {
                    let added = self.items(&change.new[new], column);
                    let (place, added) = if self.is_first_on_line(dashes[old]) {
                        (self.above_comments(dashes[old]), added)
                    } else {
                        let indent = " ".repeat(column);
                        (dashes[old], format!("{}{indent}", added.trim_start()))
                    };
                    self.edits.push((place..place, added));
                }
                Step::AddAfter { old, new } => {
                    let end = change.items[old].end(self.text).max(dashes[old] + 1);
                    let place = self.line_end(end);
                    let added = self.items(&change.new[new], column);
                    let added = format!("{}{}", self.newline, added.trim_end());
                    self.edits.push((place..place, added));
                }
            }
        }
        Ok(())
    }

    fn flow_list(&mut self, change: &ListChange<'_>) -> Edited {
        let items = change.items;
        for step in change.steps() {
            match step {
                Step::Same { old, new } => {
                    self.node(&items[old], None, &change.old[old], &change.new[new])?;
                }
                Step::Remove { old } => {
                    let range = match (items.get(old + 1), old.checked_sub(1)) {
                        (Some(next), _) => items[old].range.start..next.range.start,
                        (None, Some(before)) => items[before].range.end..items[old].range.end,
                        (None, None) => return Err(GaveUp),
                    };
                    self.edits.push((range, String::new()));
                }
                Step::AddBefore { old, new } => {
                    let place = items[old].range.start;
                    let separator = self.separator(place);
                    let added = change.new[new].iter().map(|item| self.flow(item, place));
                    let added: String = added.map(|item| format!("{item}{separator}")).collect();
                    self.edits.push((place..place, added));
                }
                Step::AddAfter { old, new } => {
                    let beside = items[old].range.start;
                    let separator = self.separator(beside);
                    let added = change.new[new].iter().map(|item| self.flow(item, beside));
                    let added: String = added.map(|item| format!("{separator}{item}")).collect();
                    let place = items[old].end(self.text);
                    self.edits.push((place..place, added));
                }
            }
        }
        Ok(())
    }

    /// Where each item's dash stands.
    fn dashes(&self, items: &[Node], mut from: usize) -> Result<Vec<usize>, GaveUp> {
        let mut dashes = Vec::with_capacity(items.len());
        for item in items {
            let dash = self.skip_comments(from);
            if !self.text[dash..].starts_with('-') {
                return Err(GaveUp);
            }
            dashes.push(dash);
            from = item.end(self.text).max(dash + 1);
        }
        Ok(dashes)
    }

    fn skip_comments(&self, mut from: usize) -> usize {
        loop {
            let rest = &self.text[from..];
            from += rest.len() - rest.trim_start().len();
            if !self.text[from..].starts_with('#') {
                return from;
            }
            from = self.line_end(from);
        }
    }

    /// The first of the comment lines right above the line of `place`, or that line.
    fn above_comments(&self, place: usize) -> usize {
        let mut start = self.line_start(place);
        while start > 0 {
            let above = self.line_start(start - 1);
            if !self.text[above..start].trim_start().starts_with('#') {
                break;
            }
            start = above;
        }
        start
    }

    fn entry(&self, (key, value): &(&str, &Value), column: usize) -> String {
        let mut pair = Map::new();
        pair.insert((*key).to_owned(), (*value).clone());
        let block = self.block(&Value::Object(pair), column);
        block.trim_end().to_owned()
    }

    fn flow_entry(&self, beside: &Entry, (key, value): &(&str, &Value)) -> String {
        let quoted = self.text[beside.key_range.clone()].starts_with('"');
        let key = if quoted {
            Value::from(*key).to_string()
        } else {
            write::flow_key(key)
        };
        format!("{key}: {}", self.flow(value, beside.key_range.start))
    }

    /// A value between braces, beside what stands at `beside`: on one line, or, where each entry
    /// has lines of its own, on several.
    fn flow(&self, value: &Value, beside: usize) -> String {
        match self.own_line(beside) {
            Some(indent) => {
                format!("{value:#}").replace('\n', &format!("{}{indent}", self.newline))
            }
            None => write::flow(value),
        }
    }

    fn separator(&self, beside: usize) -> String {
        match self.own_line(beside) {
            Some(indent) => format!(",{}{indent}", self.newline),
            None => ", ".to_owned(),
        }
    }

    /// What stands before `place` on its line, if that is only space.
    fn own_line(&self, place: usize) -> Option<&str> {
        let before = &self.text[self.line_start(place)..place];
        (before.trim().is_empty() && self.line_start(place) > 0).then_some(before)
    }

    /// List items with their dashes at `column`, each line ended.
    fn items(&self, values: &[Value], column: usize) -> String {
        self.block(&Value::Array(values.to_vec()), column)
    }

    fn block(&self, value: &Value, column: usize) -> String {
        let indent = " ".repeat(column);
        let mut block = String::new();
        for line in write::yaml(value).lines() {
            if !line.is_empty() {
                block.push_str(&indent);
                block.push_str(line);
            }
            block.push_str(self.newline);
        }
        block
    }

    fn column(&self, place: usize) -> usize {
        let before = &self.text[self.line_start(place)..place];
        before.trim_start_matches('\u{feff}').chars().count()
    }

    fn line_start(&self, place: usize) -> usize {
        self.text[..place].rfind('\n').map_or(0, |at| at + 1)
    }

    /// Whole lines with the line break before them, so that what is added after them is not in it.
    fn lines(&self, from: usize, to: usize) -> Result<Range<usize>, GaveUp> {
        let start = self.line_start(from).checked_sub(1).ok_or(GaveUp)?;
        let start = start - usize::from(self.text[..start].ends_with('\r'));
        Ok(start..self.line_end(to))
    }

    fn is_first_on_line(&self, place: usize) -> bool {
        self.text[self.line_start(place)..place].trim().is_empty()
    }

    /// Before the line break.
    fn line_end(&self, place: usize) -> usize {
        let end = self.next_line(place);
        let line = &self.text[place..end];
        let line = line.strip_suffix('\n').unwrap_or(line);
        place + line.strip_suffix('\r').unwrap_or(line).len()
    }

    /// After the line break.
    fn next_line(&self, place: usize) -> usize {
        let found = self.text[place..].find('\n');
        found.map_or(self.text.len(), |at| place + at + 1)
    }
}
