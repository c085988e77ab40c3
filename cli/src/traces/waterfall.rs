//! Draws one trace: the spans as a tree by parent, a bar each to the trace's scale, status,
//! duration and the route taken. Fits the width it is given; plain ASCII where asked.
//! A span whose parent is missing is a root; a cycle of parents is cut.

mod rows;

use self::rows::rows;
use super::{Span, SpanKind, Trace};
use crate::terminal::{self, Style, duration, pad, truncate, width};

/// What can be drawn on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canvas {
    pub(crate) columns: usize,
    pub(crate) unicode: bool,
    pub(crate) style: Style,
}

struct Glyphs {
    branch: &'static str,
    last: &'static str,
    pass: &'static str,
    out: &'static str,
    full: &'static str,
    /// What stands for a bar thinner than half a column.
    tick: &'static str,
    left: &'static str,
    right: &'static str,
    dot: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    branch: "├─",
    last: "└─",
    pass: "│ ",
    out: "→",
    full: "█",
    tick: "▏",
    left: "▕",
    right: "▏",
    dot: "·",
};
const ASCII: Glyphs = Glyphs {
    branch: "|-",
    last: "`-",
    pass: "| ",
    out: ">",
    full: "=",
    tick: "|",
    left: "[",
    right: "]",
    dot: "-",
};

/// The drawing, ending in a line break.
pub(crate) fn draw(trace: &Trace, canvas: Canvas) -> String {
    let glyphs = if canvas.unicode { &UNICODE } else { &ASCII };
    let rows = rows(trace, glyphs);
    let status_width = rows
        .iter()
        .map(|row| width(&status(row.span)))
        .max()
        .unwrap_or(0);
    let longest_label = rows.iter().map(|row| width(&row.label)).max().unwrap_or(0);
    let longest_route = rows.iter().map(|row| width(&row.route)).max().unwrap_or(0);

    /// Columns of the duration, `999.9 ms`.
    const DURATION: usize = 8;
    /// Fewer columns than this make bars that say nothing.
    const MIN_BAR: usize = 16;
    let fixed = status_width + DURATION + 6;
    let label_width = longest_label
        .min((canvas.columns.saturating_sub(fixed)) * 55 / 100)
        .max(12);
    let mut bar_width = canvas
        .columns
        .saturating_sub(fixed + label_width)
        .max(MIN_BAR);
    let mut route_width = longest_route.min(36);
    if route_width > 0 && bar_width >= MIN_BAR * 2 + route_width + 2 {
        bar_width -= route_width + 2;
    } else {
        route_width = 0;
    }

    let mut out = header(trace, canvas, glyphs);
    for row in &rows {
        let bar = bar(row.span, trace, bar_width, glyphs);
        let paint = if row.span.error {
            Style::red
        } else {
            hue(row.span.kind)
        };
        let label = pad(
            &truncate(&row.label, label_width, canvas.unicode),
            label_width,
        );
        let status = terminal::pad_left(&status(row.span), status_width);
        let took = terminal::pad_left(&duration(row.span.duration_nanos), DURATION);
        let status = if row.span.error {
            canvas.style.red(&status)
        } else {
            status
        };
        let mut line = format!("{label}  {status}  {took}  {}", paint(canvas.style, &bar));
        if route_width > 0 && !row.route.is_empty() {
            line.push_str("  ");
            line.push_str(
                &canvas
                    .style
                    .dim(&truncate(&row.route, route_width, canvas.unicode)),
            );
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn hue(kind: SpanKind) -> fn(Style, &str) -> String {
    match kind {
        SpanKind::Client => Style::cyan,
        SpanKind::Server | SpanKind::Internal => Style::green,
    }
}

fn header(trace: &Trace, canvas: Canvas, glyphs: &Glyphs) -> String {
    let Some(summary) = trace.summary() else {
        return format!("trace {} is empty\n", trace.trace_id);
    };
    let plural =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let facts = [
        duration(summary.duration_nanos),
        plural(summary.spans, "span"),
        plural(summary.services.len(), "service"),
        terminal::clock(summary.start_unix_nanos),
    ];
    let separator = format!(" {} ", glyphs.dot);
    let flags = if summary.flags.is_empty() {
        String::new()
    } else {
        format!("  {}", summary.flags.join(" "))
    };
    let root = trace.root().and_then(|root| {
        let (method, path) = (
            root.attribute(&["http.request.method"])?,
            root.attribute(&["url.path"])?,
        );
        Some(format!("{method} {path}"))
    });
    let title = format!("{}  {}", root.unwrap_or(summary.root), summary.status);
    format!(
        "{}{}\n{}\n\n",
        canvas.style.bold(title.trim_end()),
        canvas.style.red(&flags),
        canvas.style.dim(&format!(
            "trace {}{separator}{}",
            trace.trace_id,
            facts.join(&separator)
        ))
    )
}

/// Status, and the word that says why where it failed.
fn status(span: &Span) -> String {
    match (span.status(), span.flags()) {
        (Some(status), Some(flags)) => format!("{status} {flags}"),
        (Some(status), None) => status,
        (None, Some(flags)) => flags,
        (None, None) => String::new(),
    }
}

fn bar(span: &Span, trace: &Trace, width: usize, glyphs: &Glyphs) -> String {
    let inner = width.saturating_sub(2).max(1);
    let (start, total) = (trace.start(), trace.duration().max(1));
    // Twice the columns, so that rounding goes to the nearest one.
    let column = |nanos: u64| {
        let scaled =
            u128::from(nanos.saturating_sub(start)) * inner as u128 * 2 / u128::from(total);
        usize::try_from(scaled.div_ceil(2))
            .unwrap_or(inner)
            .min(inner)
    };
    let from = column(span.start_unix_nanos).min(inner - 1);
    let to = column(span.end_unix_nanos());
    let (fill, filled) = match to.saturating_sub(from) {
        0 => (glyphs.tick, 1),
        columns => (glyphs.full, columns),
    };
    let rest = inner - from - filled;
    format!(
        "{}{}{}{}{}",
        glyphs.left,
        " ".repeat(from),
        fill.repeat(filled),
        " ".repeat(rest),
        glyphs.right
    )
}

#[cfg(test)]
mod tests;
