//! One value's pattern against another's: whether each value of the one is a value of the other, and
//! whether none is.

use std::borrow::Cow;

use heddle_proto::mesh::{StringMatch, string_match::Kind};

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(super) shape: Shape,
    /// ASCII case does not count. Never of a regex.
    pub(super) any_case: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Anything.
    Any,
    Exact(String),
    Prefix(String),
    /// A path or what is below it; without a slash at its end.
    Segments(String),
    /// As a whole.
    Regex(String),
}

impl Pattern {
    /// As it is sent; a regex that is plain text is taken for what it amounts to.
    pub(super) fn new(sent: Option<&StringMatch>, any_case: bool) -> Self {
        let shape = match sent.and_then(|sent| sent.kind.as_ref()) {
            None | Some(Kind::Present(_)) => Shape::Any,
            Some(Kind::Exact(text)) => Shape::Exact(text.clone()),
            Some(Kind::Prefix(text)) if text.is_empty() => Shape::Any,
            Some(Kind::Prefix(text)) => Shape::Prefix(text.clone()),
            Some(Kind::Regex(regex)) => of_regex(regex),
        };
        let any_case = any_case && !matches!(shape, Shape::Regex(_));
        Self { shape, any_case }
    }

    pub(super) fn segments(path: &str) -> Self {
        let shape = match path.trim_end_matches('/') {
            "" => Shape::Any,
            path => Shape::Segments(path.to_owned()),
        };
        let any_case = false;
        Self { shape, any_case }
    }

    /// Whether every value of `self` is one of `wider`.
    pub(super) fn is_within(&self, wider: &Self) -> bool {
        if wider.shape == Shape::Any {
            return true;
        }
        if let (Shape::Regex(own), Shape::Regex(other)) = (&self.shape, &wider.shape) {
            return own == other;
        }
        if let (Shape::Exact(text), Shape::Regex(regex)) = (&self.shape, &wider.shape) {
            return !self.any_case && matches(regex, text) == Some(true);
        }
        // What may be in any case is not within what may not.
        if self.any_case && !wider.any_case {
            return false;
        }
        let fold = |text| fold(text, wider.any_case);
        match (&self.shape, &wider.shape) {
            (Shape::Exact(own), Shape::Exact(other)) => fold(own) == fold(other),
            (
                Shape::Exact(own) | Shape::Prefix(own) | Shape::Segments(own),
                Shape::Prefix(other),
            ) => fold(own).starts_with(&*fold(other)),
            (Shape::Exact(own) | Shape::Segments(own), Shape::Segments(other)) => {
                is_below(&fold(own), &fold(other))
            }
            (Shape::Prefix(own), Shape::Segments(other)) => {
                let (own, other) = (fold(own), fold(other));
                let rest = own.strip_prefix(&*other);
                rest.is_some_and(|rest| rest.starts_with('/'))
            }
            _ => false,
        }
    }

    /// Whether no value is one of both.
    pub(super) fn is_apart(&self, other: &Self) -> bool {
        let any_case = self.any_case || other.any_case;
        let fold = |text| fold(text, any_case);
        match (&self.shape, &other.shape) {
            (Shape::Exact(a), Shape::Exact(b)) => fold(a) != fold(b),
            (Shape::Exact(text), Shape::Prefix(start))
            | (Shape::Prefix(start), Shape::Exact(text)) => !fold(text).starts_with(&*fold(start)),
            (Shape::Prefix(a), Shape::Prefix(b)) => {
                let (a, b) = (fold(a), fold(b));
                !a.starts_with(&*b) && !b.starts_with(&*a)
            }
            (Shape::Exact(text), Shape::Regex(regex))
            | (Shape::Regex(regex), Shape::Exact(text)) => {
                !any_case && matches(regex, text) == Some(false)
            }
            _ => false,
        }
    }
}

pub(super) fn is_below(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn fold(text: &str, any_case: bool) -> Cow<'_, str> {
    match any_case {
        true => text.to_ascii_lowercase().into(),
        false => text.into(),
    }
}

/// Whether a regex matches the whole of a text. None: better not said.
fn matches(regex: &str, text: &str) -> Option<bool> {
    if !text.is_ascii() || !regex.is_ascii() {
        return None;
    }
    let whole = regex::RegexBuilder::new(&format!("^(?:{regex})$"))
        .size_limit(1 << 18)
        .build()
        .ok()?;
    Some(whole.is_match(text))
}

/// `/a` is itself, `/a/.*` a prefix.
fn of_regex(regex: &str) -> Shape {
    let is_plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/_-~:, =".contains(&b))
    };
    match regex.strip_suffix(".*") {
        _ if regex == "*" => Shape::Any,
        Some("") => Shape::Any,
        Some(start) if is_plain(start) => Shape::Prefix(start.to_owned()),
        None if is_plain(regex) => Shape::Exact(regex.to_owned()),
        _ => Shape::Regex(regex.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        let (text, any_case) = match text.strip_suffix('i') {
            Some(text) => (text, true),
            None => (text, false),
        };
        if let Some(path) = text.strip_suffix("//") {
            return Pattern::segments(path);
        }
        let kind = match (text.strip_prefix('~'), text.strip_suffix('*')) {
            (Some(regex), _) => Kind::Regex(regex.into()),
            (_, Some(start)) => Kind::Prefix(start.into()),
            _ => Kind::Exact(text.into()),
        };
        Pattern::new(Some(&StringMatch { kind: Some(kind) }), any_case)
    }

    #[test]
    fn what_lies_within_what() {
        for (narrow, wide, within) in [
            ("/a", "/a", true),
            ("/a", "/A", false),
            ("/a", "/Ai", true),
            ("/ai", "/a", false),
            ("/abc", "/a*", true),
            ("/ab*", "/a*", true),
            ("/a*", "/ab*", false),
            ("/a*", "/a", false),
            ("/AB*", "/a*i", true),
            ("/a*i", "/a*", false),
            ("/a/b", "/a//", true),
            ("/ab", "/a//", false),
            ("/a/*", "/a//", true),
            ("/a*", "/a//", false),
            ("/a//", "/a*", true),
            ("/a//", "/a/*", false),
            ("/a/b//", "/a//", true),
            ("/12", "~/[0-9]+", true),
            ("/1x", "~/[0-9]+", false),
            ("/12i", "~/[0-9]+", false),
            ("~/[0-9]+", "~/[0-9]+", true),
            ("~/[0-9]+", "/*", false),
            ("~/a/.*", "/a*", true),
            ("/a/b", "~/a/.*", true),
            ("~/[0-9]+", "~.*", true),
        ] {
            assert_eq!(
                pattern(narrow).is_within(&pattern(wide)),
                within,
                "{narrow} {wide}"
            );
        }
    }

    #[test]
    fn what_is_apart_from_what() {
        for (a, b, apart) in [
            ("a", "b", true),
            ("a", "A", true),
            ("a", "Ai", false),
            ("ab", "a*", false),
            ("b", "a*", true),
            ("a*", "b*", true),
            ("a*", "ab*", false),
            ("a", "~[0-9]", true),
            ("1", "~[0-9]", false),
            ("~[0-9]", "~[a-z]", false),
        ] {
            assert_eq!(pattern(a).is_apart(&pattern(b)), apart, "{a} {b}");
            assert_eq!(pattern(b).is_apart(&pattern(a)), apart, "{b} {a}");
        }
    }
}
