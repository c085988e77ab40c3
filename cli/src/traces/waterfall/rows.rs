//! The rows of a waterfall: spans in tree order, each with what it is called and the route it took.

use std::collections::{BTreeMap, BTreeSet};

use super::Glyphs;
use crate::traces::{Span, SpanKind, Trace};

pub(super) struct Row<'a> {
    pub(super) span: &'a Span,
    pub(super) label: String,
    pub(super) route: String,
}

pub(super) fn rows<'a>(trace: &'a Trace, glyphs: &Glyphs) -> Vec<Row<'a>> {
    let known: BTreeSet<&str> = trace
        .spans
        .iter()
        .map(|span| span.span_id.as_str())
        .collect();
    let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    let mut roots = Vec::new();
    for span in &trace.spans {
        match span
            .parent_id
            .as_deref()
            .filter(|parent| known.contains(parent) && *parent != span.span_id)
        {
            Some(parent) => children.entry(parent).or_default().push(span),
            None => roots.push(span),
        }
    }
    let mut tree = Tree {
        children,
        seen: BTreeSet::new(),
        rows: Vec::new(),
        glyphs,
    };
    for root in roots {
        tree.visit(root, None, "", "");
    }
    // Spans whose parents form a cycle hang from no root.
    for span in &trace.spans {
        tree.visit(span, None, "", "");
    }
    tree.rows
}

struct Tree<'a, 'g> {
    children: BTreeMap<&'a str, Vec<&'a Span>>,
    seen: BTreeSet<&'a str>,
    rows: Vec<Row<'a>>,
    glyphs: &'g Glyphs,
}

impl<'a> Tree<'a, '_> {
    /// Depth is bounded by the store's bound on the spans of one trace.
    fn visit(&mut self, span: &'a Span, parent: Option<&Span>, prefix: &str, branch: &str) {
        if !self.seen.insert(&span.span_id) {
            return;
        }
        let label = format!(
            "{prefix}{branch}{}{}",
            if branch.is_empty() { "" } else { " " },
            self.name(span, parent)
        );
        self.rows.push(Row {
            span,
            label,
            route: route(span),
        });
        let children = self
            .children
            .remove(span.span_id.as_str())
            .unwrap_or_default();
        let below = match branch {
            "" => prefix.to_owned(),
            branch if branch == self.glyphs.last => format!("{prefix}   "),
            _ => format!("{prefix}{} ", self.glyphs.pass),
        };
        let last = children.len().saturating_sub(1);
        for (index, child) in children.into_iter().enumerate() {
            let branch = if index == last {
                self.glyphs.last
            } else {
                self.glyphs.branch
            };
            self.visit(child, Some(span), &below, branch);
        }
    }

    /// `productpage GET /products` for a server, `→ reviews v2` for a client below its own service's
    /// span, `productpage → reviews v2` elsewhere.
    fn name(&self, span: &Span, parent: Option<&Span>) -> String {
        let method = span.attribute(&["http.request.method"]);
        let path = span.attribute(&["url.path"]);
        match (span.kind, method, path) {
            (SpanKind::Client, _, path) => {
                let to = span.attribute(&["heddle.destination.service"]);
                let host = || {
                    span.attribute(&["server.address"])
                        .unwrap_or_else(|| span.name.clone())
                };
                let to = to.unwrap_or_else(host);
                let to = to.strip_suffix(".default").unwrap_or(&to);
                let subset = span
                    .attribute(&["heddle.subset"])
                    .map(|subset| format!(" {subset}"))
                    .unwrap_or_default();
                let path = path.map(|path| format!(" {path}")).unwrap_or_default();
                let below_own = parent.is_some_and(|parent| parent.service == span.service);
                let from = if below_own {
                    String::new()
                } else {
                    format!("{} ", span.service)
                };
                format!("{from}{} {to}{subset}{path}", self.glyphs.out)
            }
            (_, Some(method), Some(path)) => format!("{} {method} {path}", span.service),
            _ if span.name.is_empty() => span.service.clone(),
            _ => format!("{} {}", span.service, span.name),
        }
    }
}

/// `reviews-route#0`: the last part of where the route was written is what people recognise.
fn route(span: &Span) -> String {
    let route = span.attribute(&["heddle.route"]).unwrap_or_default();
    let named = route.split(" (").next().unwrap_or_default();
    named.rsplit('/').next().unwrap_or_default().to_owned()
}
