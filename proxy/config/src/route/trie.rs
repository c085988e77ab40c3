//! Values by text: those filed under a whole text, and those filed under what a text begins with.
//!
//! A radix tree in a few flat vectors, two nodes per text at most. A walk enters at most one node
//! per byte of the text that it is given, however many texts there are. Case does not count: texts
//! are filed in lower case, ASCII.

use std::collections::VecDeque;
use std::ops::Range;

/// No value.
const NONE: u32 = u32::MAX;

/// A text in lower case, and what is filed under it.
#[derive(Debug)]
pub(super) struct Filed<T> {
    pub(super) text: Box<[u8]>,
    /// Found by this text alone; otherwise by every text that begins with it.
    pub(super) whole: bool,
    pub(super) value: T,
}

#[derive(Clone, Debug)]
pub(super) struct Trie<T> {
    /// The children of a node stand together.
    nodes: Box<[Node]>,
    /// First byte of each node's label; ascending among siblings.
    firsts: Box<[u8]>,
    /// All labels.
    labels: Box<[u8]>,
    values: Box<[T]>,
}

// Every number fits in 32 bits: texts come from one message, which is shorter than 4 GiB.
#[derive(Clone, Debug)]
struct Node {
    label: u32,
    label_len: u32,
    children: u32,
    /// Up to 256.
    child_count: u16,
    whole: u32,
    prefix: u32,
}

impl<T> Trie<T> {
    /// Files values; no two under the same text in the same way.
    pub(super) fn new(mut filed: Vec<Filed<T>>) -> Self {
        filed.sort_unstable_by(|a, b| (&a.text, a.whole).cmp(&(&b.text, b.whole)));
        let mut nodes = Vec::new();
        let mut firsts = vec![0];
        let mut labels = Vec::new();
        // What is below a node not made yet, and how many bytes stand above it.
        let mut below = VecDeque::from([(0..filed.len(), 0)]);
        while let Some((range, depth)) = below.pop_front() {
            let texts = &filed[range.clone()];
            let end = depth + common(texts, depth);
            let mut node = Node {
                label: labels.len() as u32,
                label_len: (end - depth) as u32,
                children: firsts.len() as u32,
                child_count: 0,
                whole: NONE,
                prefix: NONE,
            };
            if let Some(first) = texts.first() {
                labels.extend_from_slice(&first.text[depth..end]);
            }
            let here = texts.iter().take_while(|one| one.text.len() == end);
            let mut at = range.start;
            for one in here {
                *(if one.whole {
                    &mut node.whole
                } else {
                    &mut node.prefix
                }) = at as u32;
                at += 1;
            }
            for siblings in filed[at..range.end].chunk_by(|a, b| a.text[end] == b.text[end]) {
                firsts.push(siblings[0].text[end]);
                below.push_back((at..at + siblings.len(), end));
                node.child_count += 1;
                at += siblings.len();
            }
            nodes.push(node);
        }
        Self {
            nodes: nodes.into(),
            firsts: firsts.into(),
            labels: labels.into(),
            values: filed.into_iter().map(|one| one.value).collect(),
        }
    }

    /// Visits all that is filed under the text that `pieces` make, or under what it begins with.
    pub(super) fn walk<'t, 'p>(
        &'t self,
        pieces: impl Iterator<Item = &'p [u8]>,
        mut visit: impl FnMut(&'t T),
    ) {
        let mut node = &self.nodes[0];
        let mut label = self.label(node);
        if label.is_empty() {
            self.value(node.prefix).into_iter().for_each(&mut visit);
        }
        for mut piece in pieces {
            while let Some(first) = piece.first() {
                if label.is_empty() {
                    let Some(child) = self.child(node, first.to_ascii_lowercase()) else {
                        return;
                    };
                    (node, label) = (child, self.label(child));
                }
                let (now, later) = label.split_at(label.len().min(piece.len()));
                let (same, rest) = piece.split_at(now.len());
                if !same.eq_ignore_ascii_case(now) {
                    return;
                }
                (label, piece) = (later, rest);
                if label.is_empty() {
                    self.value(node.prefix).into_iter().for_each(&mut visit);
                }
            }
        }
        if label.is_empty() {
            self.value(node.whole).into_iter().for_each(&mut visit);
        }
    }

    fn label(&self, node: &Node) -> &[u8] {
        &self.labels[span(node.label, node.label_len)]
    }

    fn value(&self, index: u32) -> Option<&T> {
        self.values.get(index as usize)
    }

    fn child(&self, node: &Node, first: u8) -> Option<&Node> {
        let siblings = span(node.children, node.child_count.into());
        let at = self.firsts[siblings].binary_search(&first).ok()?;
        self.nodes.get(node.children as usize + at)
    }
}

fn span(start: u32, len: u32) -> Range<usize> {
    start as usize..start as usize + len as usize
}

/// How many bytes after `depth` sorted texts have in common.
fn common<T>(texts: &[Filed<T>], depth: usize) -> usize {
    let (Some(first), Some(last)) = (texts.first(), texts.last()) else {
        return 0;
    };
    let pairs = first.text[depth..].iter().zip(&last.text[depth..]);
    pairs.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(trie: &Trie<usize>, pieces: &[&str]) -> Vec<usize> {
        let mut found = Vec::new();
        trie.walk(pieces.iter().map(|piece| piece.as_bytes()), |value| {
            found.push(*value)
        });
        found.sort_unstable();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn finds_what_comparing_every_text_finds(
            texts in proptest::collection::btree_set(("[ab/]{0,5}", any::<bool>()), 0..40),
            asked in proptest::collection::vec("[abAB/]{0,7}", 1..20),
            cut in 0_usize..8,
        ) {
            let texts: Vec<(String, bool)> = texts.into_iter().collect();
            let filed = texts.iter().enumerate().map(|(value, (text, whole))| Filed {
                text: text.as_bytes().into(),
                whole: *whole,
                value,
            });
            let trie = Trie::new(filed.rev().collect());
            prop_assert!(trie.nodes.len() <= 2 * texts.len() + 1);
            for asked in asked {
                let lower = asked.to_lowercase();
                let expected: Vec<usize> = (0..texts.len())
                    .filter(|index| match &texts[*index] {
                        (text, true) => *text == lower,
                        (text, false) => lower.starts_with(text),
                    })
                    .collect();
                let (a, b) = asked.split_at(cut.min(asked.len()));
                prop_assert_eq!(&found(&trie, &[&asked]), &expected);
                prop_assert_eq!(&found(&trie, &[a, "", b]), &expected);
            }
        }
    }
}
