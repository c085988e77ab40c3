//! What the terminal is and how to write on it: width, colour, Unicode or not, and the few text
//! forms (durations, clock, padding) that every table shares. Colour only where a person looks.

use std::io::IsTerminal;

use time::OffsetDateTime;

/// A line on standard error. That nobody reads it any more is no reason to end: a mesh may hang on
/// this process, and a panic would leave it behind.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{}\n", format_args!($($text)*)),
        );
    }};
}

/// The same without a line break.
macro_rules! say_part {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!($($text)*));
    }};
}
pub(crate) use {say, say_part};

/// Columns of something that is not a terminal.
const DEFAULT_COLUMNS: usize = 120;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };

    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && colour_wanted(),
        }
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self {
            colour: std::io::stderr().is_terminal() && colour_wanted(),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

fn colour_wanted() -> bool {
    // https://no-color.org
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of standard output; `COLUMNS` wins.
pub(crate) fn columns() -> usize {
    let set = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let asked = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    set.or_else(asked).unwrap_or(DEFAULT_COLUMNS).clamp(40, 400)
}

/// Whether the locale says UTF-8, by the rule of setlocale: LC_ALL, else LC_CTYPE, else LANG.
/// No locale at all counts as UTF-8: containers and CI have none, and show it.
pub(crate) fn unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    set.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// A table without lines, as kubectl's: columns three apart, no blanks at line ends.
#[derive(Debug)]
pub(crate) struct Table {
    style: Style,
    rows: Vec<Vec<(String, Paint)>>,
}

/// How a cell is coloured; applied after the padding, so that colour takes no room.
pub(crate) type Paint = fn(Style, &str) -> String;

/// No colour.
pub(crate) fn plain(_: Style, text: &str) -> String {
    text.to_owned()
}

impl Table {
    pub(crate) fn new(style: Style, header: &[&str]) -> Self {
        let header = header
            .iter()
            .map(|title| ((*title).to_owned(), Style::dim as Paint))
            .collect();
        Self {
            style,
            rows: vec![header],
        }
    }

    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.painted(cells.into_iter().map(|cell| (cell, plain as Paint)));
    }

    pub(crate) fn painted<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = (T, Paint)>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|(text, paint)| (text.into(), paint))
                .collect(),
        );
    }

    /// The table, each line ending in a line break.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|(text, _)| width(text))
                .max()
        };
        let widths: Vec<usize> = (0..columns)
            .map(|column| widest(column).unwrap_or(0))
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let filled = row
                .iter()
                .rposition(|(text, _)| !text.is_empty())
                .map_or(0, |last| last + 1);
            for (column, (text, paint)) in row.iter().take(filled).enumerate() {
                out.push_str(&paint(self.style, text));
                if column + 1 < filled {
                    out.push_str(&" ".repeat(widths[column] - width(text) + 3));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// The text with everything that could steer the terminal made visible, except colours: reasons,
/// logs and spans are written by others.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_steering) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(length) = colour(from) {
            out.push_str(&from[..length]);
            rest = &from[length..];
            continue;
        }
        let mut characters = from.chars();
        out.extend(characters.next().into_iter().flat_map(char::escape_unicode));
        rest = characters.as_str();
    }
    out + rest
}

/// Controls, and marks that reorder what is read.
fn is_steering(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of the colour sequence that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    rest[digits..].starts_with('m').then_some(digits + 3)
}

/// Columns a text takes. Names here are ASCII; box drawing and arrows are one column each.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

pub(crate) fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Cut to so many columns, with an ellipsis where something is missing.
pub(crate) fn truncate(text: &str, columns: usize, unicode: bool) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let ellipsis = if unicode { "…" } else { "~" };
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    kept + ellipsis
}

/// `0.81 ms`, `4.2 ms`, `1.3 s`: two or three digits, never below a hundredth of a millisecond.
pub(crate) fn duration(nanos: u64) -> String {
    let value = nanos as f64;
    match nanos {
        0..1_000_000 => format!("{:.2} ms", value / 1e6),
        1_000_000..100_000_000 => format!("{:.1} ms", value / 1e6),
        100_000_000..1_000_000_000 => format!("{:.0} ms", value / 1e6),
        _ => format!("{:.1} s", value / 1e9),
    }
}

/// `07:10:33.123` (UTC) of a time in nanoseconds since 1970.
pub(crate) fn clock(unix_nanos: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_nanos))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:02}:{:02}:{:02}.{:03} UTC",
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let shown: Vec<_> = [0, 812_345, 4_249_000, 250_000_000, 1_340_000_000]
            .map(duration)
            .into();
        assert_eq!(shown, ["0.00 ms", "0.81 ms", "4.2 ms", "250 ms", "1.3 s"]);
    }

    #[test]
    fn what_others_write_cannot_steer_the_terminal() {
        let colour = Style { colour: true }.red("REFUSED");
        for (text, shown) in [
            ("a\tb\nc é …", "a\tb\nc é …"),
            (&*colour, &*colour),
            ("\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("\r\u{9b}1A\x08\x1b", "\\u{d}\\u{9b}1A\\u{8}\\u{1b}"),
            ("\x1b[\x1b[31", "\\u{1b}[\\u{1b}[31"),
            ("user\u{202e}nimda", "user\\u{202e}nimda"),
        ] {
            assert_eq!(safe(text), shown);
            assert_eq!(safe(shown), shown);
        }
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        assert_eq!(truncate("productpage", 8, true), "product…");
        assert_eq!(truncate("productpage", 8, false), "product~");
        assert_eq!(truncate("short", 8, true), "short");
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let mut table = Table::new(Style { colour: true }, &["NAME", "READY"]);
        table.row(["a", "yes"]);
        table.painted([("longer", Style::red as Paint), ("", plain)]);
        let dim = |text: &str| format!("\x1b[2m{text}\x1b[0m");
        let expected = format!(
            "{}     {}\na        yes\n\x1b[31mlonger\x1b[0m\n",
            dim("NAME"),
            dim("READY")
        );
        assert_eq!(table.render(), expected);
    }
}
