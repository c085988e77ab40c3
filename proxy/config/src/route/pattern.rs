//! How one value is compared: whole, by its beginning, by a regex, or only for being there.
//!
//! A header that occurs several times is compared as one value, joined as Envoy joins it, without
//! building the joined text (only a regex needs it, and gets it in a buffer kept per thread).

use std::cell::RefCell;

use http::HeaderValue;

use super::re2::{self, MAX_REGEX_BYTES, Regex, RegexError};

/// A comparison with one value.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// Equal, byte by byte.
    Exact(Box<str>),
    /// Begins with.
    Prefix(Box<str>),
    /// A path that is this one or below it. Without a slash at its end.
    Segments(Box<str>),
    /// Matches as a whole.
    Regex(Box<Regex>),
    /// Is there, whatever it is.
    Present,
}

thread_local! {
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl StringMatch {
    /// Equal to `text`.
    pub fn exact(text: &str) -> Self {
        Self::Exact(text.into())
    }

    /// Begins with `text`.
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(text.into())
    }

    /// A path that is `path` or below it, by whole segments; a slash at its end does not count.
    pub fn segments(path: &str) -> Self {
        match path.trim_end_matches('/') {
            "" => Self::Present,
            path => Self::Segments(path.into()),
        }
    }

    /// Matches `pattern` (RE2 syntax) as a whole. One that needs no automaton becomes what it
    /// amounts to: `/a/.*` is the prefix `/a/`.
    ///
    /// # Errors
    /// When the pattern is refused.
    pub fn regex(pattern: &str) -> Result<Self, RegexError> {
        if pattern.len() <= MAX_REGEX_BYTES
            && let Some(plain) = re2::plain(pattern)
        {
            return Ok(plain);
        }
        Ok(Self::Regex(Box::new(Regex::new(pattern)?)))
    }

    /// Does `value` match?
    pub fn is_match(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Segments(path) => value
                .strip_prefix(path.as_bytes())
                .is_some_and(ends_a_segment),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present => true,
        }
    }

    /// Does `value` match when ASCII case does not count? A regex has its own flag for that.
    pub(super) fn is_match_ignoring_case(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value.eq_ignore_ascii_case(text.as_bytes()),
            Self::Prefix(text) => value
                .get(..text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes())),
            Self::Segments(path) => {
                value
                    .split_at_checked(path.len())
                    .is_some_and(|(start, rest)| {
                        start.eq_ignore_ascii_case(path.as_bytes()) && ends_a_segment(rest)
                    })
            }
            Self::Regex(_) | Self::Present => self.is_match(value),
        }
    }

    /// Do these values, joined, match? No value: no match.
    pub(super) fn is_match_joined<'a>(
        &self,
        mut values: impl Iterator<Item = &'a HeaderValue>,
        separator: &'static [u8],
    ) -> bool {
        let Some(first) = values.next() else {
            return false;
        };
        let Some(second) = values.next() else {
            return self.is_match(first.as_bytes());
        };
        let mut pieces = joined([first, second].into_iter().chain(values), separator);
        match self {
            Self::Exact(text) => pieces
                .try_fold(text.as_bytes(), |rest, piece| rest.strip_prefix(piece))
                .is_some_and(<[u8]>::is_empty),
            Self::Prefix(text) => {
                let mut rest = text.as_bytes();
                for piece in pieces {
                    if piece.len() >= rest.len() {
                        return piece.starts_with(rest);
                    }
                    match rest.strip_prefix(piece) {
                        Some(after) => rest = after,
                        None => return false,
                    }
                }
                rest.is_empty()
            }
            Self::Regex(_) | Self::Segments(_) => JOINED.with_borrow_mut(|text| {
                text.clear();
                pieces.for_each(|piece| text.extend_from_slice(piece));
                self.is_match(text)
            }),
            Self::Present => true,
        }
    }
}

/// Whether a path segment ends before this rest of a path.
fn ends_a_segment(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'/'))
}

/// The pieces of several values joined.
pub(super) fn joined<'a>(
    values: impl Iterator<Item = &'a HeaderValue>,
    separator: &'static [u8],
) -> impl Iterator<Item = &'a [u8]> {
    let mut before: &'static [u8] = b"";
    values.flat_map(move |value| [std::mem::replace(&mut before, separator), value.as_bytes()])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn joined_values_match_as_their_joined_text_does() {
        let pieces = ["", "a", "b", "a,b", "ab"];
        let mut texts: Vec<String> = vec![
            String::new(),
            ",".into(),
            "a,".into(),
            "a,b,a".into(),
            "a,b,".into(),
        ];
        texts.extend(
            pieces
                .iter()
                .flat_map(|a| pieces.iter().map(move |b| format!("{a},{b}"))),
        );
        let lists: Vec<Vec<&str>> = pieces
            .iter()
            .flat_map(|a| {
                pieces
                    .iter()
                    .flat_map(move |b| [vec![*a], vec![*a, *b], vec![*a, *b, *a]])
            })
            .collect();
        for list in &lists {
            let values: Vec<HeaderValue> = list
                .iter()
                .map(|v| HeaderValue::from_str(v).unwrap())
                .collect();
            let joined = list.join(",");
            for text in &texts {
                for pattern in [
                    StringMatch::exact(text),
                    StringMatch::prefix(text),
                    StringMatch::regex(text).unwrap(),
                    StringMatch::Present,
                ] {
                    assert_eq!(
                        pattern.is_match_joined(values.iter(), b","),
                        pattern.is_match(joined.as_bytes()),
                        "{pattern:?} {list:?}"
                    );
                }
            }
        }
        assert!(!StringMatch::Present.is_match_joined([].into_iter(), b","));
    }

    #[test]
    fn segments_are_whole() {
        let foo = StringMatch::segments("/foo/");
        for (path, below) in [
            ("/foo", true),
            ("/foo/", true),
            ("/foo/bar", true),
            ("/foobar", false),
            ("/fo", false),
        ] {
            assert_eq!(foo.is_match(path.as_bytes()), below, "{path}");
            let other_case = path.to_ascii_uppercase();
            assert_eq!(foo.is_match_ignoring_case(other_case.as_bytes()), below);
        }
        assert!(StringMatch::segments("/").is_match(b"/anything"));
    }

    #[test]
    fn case_is_ignored_in_ascii_only_and_not_by_a_regex() {
        assert!(StringMatch::exact("/Foo").is_match_ignoring_case(b"/fOO"));
        assert!(StringMatch::prefix("/FOO").is_match_ignoring_case(b"/foobar"));
        assert!(!StringMatch::prefix("/FOO").is_match_ignoring_case(b"/fo"));
        assert!(!StringMatch::exact("é").is_match_ignoring_case("É".as_bytes()));
        assert!(
            !StringMatch::regex("/Fo+")
                .unwrap()
                .is_match_ignoring_case(b"/foo")
        );
    }
}
