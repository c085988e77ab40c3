//! Why a match takes no request at all, whoever sends it: a path that no path is, a value that no
//! header has, two conditions that exclude each other.

use super::{
    conditions::{Condition, Conditions, Part},
    pattern::Shape,
};

/// Methods that are written in capitals.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// Why nothing fulfils a match.
pub(crate) struct Vain {
    /// What of it.
    pub(crate) part: Part,
    /// In words that go after the match's place.
    pub(crate) reason: String,
    /// What to write.
    pub(crate) suggestion: &'static str,
}

/// Why nothing fulfils them, if so.
pub(crate) fn vain(conditions: &Conditions) -> Option<Vain> {
    let all = &conditions.0;
    let mut positive = all.iter().filter(|one| !one.negated);
    let single = positive.find_map(|one| Some(one.part.clone()).zip(of_one(one)));
    let single = single.map(|(part, (reason, suggestion))| Vain {
        part,
        reason,
        suggestion,
    });
    single.or_else(|| {
        let pairs = all.iter().enumerate();
        let mut pairs = pairs.flat_map(|(i, a)| all[i + 1..].iter().map(move |b| (a, b)));
        let (a, _) = pairs.find(|(a, b)| a.excludes(b))?;
        let reason = format!(
            "it asks for two things of {} that exclude each other",
            name(&a.part)
        );
        Some(Vain {
            part: a.part.clone(),
            reason,
            suggestion: "take one of them out, or write two matches",
        })
    })
}

fn of_one(one: &Condition) -> Option<(String, &'static str)> {
    if let Part::Query(name) = &one.part
        && name.contains(['&', '=', '#', ' '])
    {
        let reason = format!("no parameter is called \"{}\"", name.escape_debug());
        return Some((reason, "write its name alone"));
    }
    let (text, whole) = match &one.pattern.shape {
        Shape::Exact(text) => (text.as_str(), true),
        Shape::Prefix(text) | Shape::Segments(text) => (text.as_str(), false),
        Shape::Any => return None,
        Shape::Regex(regex) => return of_regex(&one.part, regex),
    };
    let shown = text.escape_debug();
    let stranger = |c: char| !c.is_ascii_graphic();
    match &one.part {
        Part::Path if whole && text == "*" => None,
        Part::Path if is_respelled(text, whole) => {
            let reason = format!(
                "a sidecar spells paths in one way before it looks at routes, and \"{shown}\" otherwise"
            );
            let instead = "write it without `.` and `..`, with `/` for `\\`, and letters, digits and `-._~` as they are";
            Some((reason, instead))
        }
        Part::Path if !text.starts_with('/') => Some((
            format!("every path begins with `/`, \"{shown}\" does not"),
            "begin it with `/`",
        )),
        Part::Path if text.contains('?') => {
            let reason = format!("the path is compared without its query, \"{shown}\" has one");
            Some((reason, "use `queryParams` for what comes after `?`"))
        }
        Part::Path
            if text.contains('#')
                || text
                    .chars()
                    .any(|c| c.is_ascii_whitespace() || c.is_ascii_control()) =>
        {
            let reason = format!("\"{shown}\" has characters that no path has");
            Some((reason, "write them percent-encoded, as clients send them"))
        }
        Part::Method
            if whole
                && METHODS.contains(&&*text.to_ascii_uppercase())
                && !METHODS.contains(&text) =>
        {
            let reason =
                format!("methods are compared with their case, and no client sends `{shown}`");
            Some((reason, "write it in capitals"))
        }
        Part::Authority
            if text.contains("://") || text.contains('/') || text.contains(stranger) =>
        {
            let reason = format!("\"{shown}\" is no authority: it is HOST or HOST:PORT");
            Some((reason, "write the host alone"))
        }
        Part::Scheme if whole && !matches!(text, "http" | "https") => Some((
            format!("there is no scheme \"{shown}\" here"),
            "write `http`",
        )),
        Part::Header(_) if text.chars().any(|c| c.is_control() && c != '\t') => Some((
            format!("no header has the value \"{shown}\""),
            "take the line break out",
        )),
        Part::Header(name)
            if name != "cookie"
                && (text.starts_with([' ', '\t']) || (whole && text.ends_with([' ', '\t']))) =>
        {
            let reason =
                format!("spaces around a header's value are not part of it, \"{shown}\" has some");
            Some((reason, "take the spaces out"))
        }
        Part::Query(_) if text.contains(['&', '#', ' ']) => {
            let reason = format!(
                "the value of a parameter is compared as it stands in the query, \"{shown}\" cannot stand there"
            );
            Some((reason, "write it percent-encoded, as clients send it"))
        }
        _ => None,
    }
}

/// Whether no path is spelled so any more when routes are looked at: dot segments are resolved, backslashes
/// turned, and escapes that are for nothing taken away.
fn is_respelled(text: &str, whole: bool) -> bool {
    let mut segments = text.split('/');
    if !whole {
        // What is begun may go on.
        segments.next_back();
    }
    let dots = segments.any(|segment| matches!(segment, "." | ".."));
    let mut escapes = text.split('%').skip(1).map(|rest| {
        let digits = rest
            .get(..2)
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        digits.and_then(|two| u8::from_str_radix(two, 16).ok())
    });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    dots || text.contains('\\') || escapes.any(|byte| byte.is_some_and(plain))
}

fn of_regex(part: &Part, regex: &str) -> Option<(String, &'static str)> {
    use regex_syntax::hir::literal::{ExtractKind, Extractor};
    let hir = regex_syntax::Parser::new()
        .parse(&format!("^(?:{regex})$"))
        .ok()?;
    let shown = regex.escape_debug();
    if hir.properties().minimum_len().is_none() {
        return Some((
            format!("the regex `{shown}` matches nothing"),
            "write what it should match",
        ));
    }
    let starts = Extractor::new().kind(ExtractKind::Prefix).extract(&hir);
    let starts = starts.literals()?;
    let is_elsewhere =
        |text: &[u8]| !text.is_empty() && !text.starts_with(b"/") && !text.starts_with(b"*");
    let never = *part == Part::Path
        && !starts.is_empty()
        && starts.iter().all(|one| is_elsewhere(one.as_bytes()));
    never.then(|| {
        let reason =
            format!("every path begins with `/`, what the regex `{shown}` matches does not");
        (
            reason,
            "a regex is for the whole path: begin it with `/`, or with `.*`",
        )
    })
}

fn name(part: &Part) -> String {
    match part {
        Part::Path | Part::PathAndQuery => "the path".into(),
        Part::Method => "the method".into(),
        Part::Authority => "the authority".into(),
        Part::Host => "the host".into(),
        Part::Scheme => "the scheme".into(),
        Part::Port => "the port".into(),
        Part::Header(name) => format!("the header {}", name.escape_debug()),
        Part::Query(name) => format!("the parameter {}", name.escape_debug()),
        Part::Label(name) => format!("the client's label {}", name.escape_debug()),
        Part::Namespace => "the client's namespace".into(),
    }
}
