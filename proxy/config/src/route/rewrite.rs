//! What a path becomes: a whole new one, another beginning, or what a regex makes of it. The query
//! is none of its business.
//!
//! Invariant: what comes out begins with a slash, and is bounded whatever came in.

use http::Uri;

use super::re2::{Regex, RegexError};

/// Longest path that a rewrite may make, in bytes: what `http` takes in a target.
const LONGEST: usize = 32 * 1024;

/// What a path becomes.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// This.
    Full(Box<str>),
    /// What begins with `prefix` begins with `replacement` instead; anything else stays.
    Prefix {
        /// What the match named.
        prefix: Box<str>,
        /// What stands in its place.
        replacement: Box<str>,
        /// By whole segments, else by characters.
        segments: bool,
    },
    /// Every part that matches is replaced.
    Regex(Box<Substitution>),
}

/// A pattern, and what stands in the place of what it matches.
#[derive(Clone, Debug)]
pub struct Substitution {
    pattern: regex::bytes::Regex,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<str>),
    Group(usize),
}

/// Why a path cannot be rewritten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The pattern is refused.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// The substitution names a group that the pattern does not have.
    #[error("\\{0} stands for no group of the regex, which has {1}")]
    NoGroup(usize, usize),
    /// A backslash in the substitution that means nothing.
    #[error("in a substitution a backslash is followed by a digit or a backslash")]
    Backslash,
    /// A text that cannot stand in a path.
    #[error("{0:?} cannot stand in a path")]
    NotAPath(String),
    /// What comes out is too long.
    #[error("the rewritten path would have more than {LONGEST} bytes")]
    TooLong,
}

impl PathRewrite {
    /// This path, whatever came.
    ///
    /// # Errors
    /// When it is no path.
    pub fn full(path: &str) -> Result<Self, RewriteError> {
        Ok(Self::Full(rooted(checked(path)?.to_owned()).into()))
    }

    /// `replacement` in place of `prefix`.
    ///
    /// # Errors
    /// When the replacement cannot stand in a path.
    pub fn prefix(prefix: &str, replacement: &str, segments: bool) -> Result<Self, RewriteError> {
        Ok(Self::Prefix {
            prefix: prefix.into(),
            replacement: checked(replacement)?.into(),
            segments,
        })
    }

    /// `substitution` in place of every part that `pattern` (RE2 syntax) matches; `\1` is a group.
    ///
    /// # Errors
    /// When the pattern or the substitution is refused.
    pub fn regex(pattern: &str, substitution: &str) -> Result<Self, RewriteError> {
        let pattern = Regex::anywhere(pattern)?;
        let groups = pattern.captures_len() - 1;
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = substitution.chars();
        while let Some(next) = rest.next() {
            if next != '\\' {
                text.push(next);
                continue;
            }
            match rest.next() {
                Some('\\') => text.push('\\'),
                Some(digit @ '0'..='9') => {
                    let group = digit as usize - '0' as usize;
                    if group > groups {
                        return Err(RewriteError::NoGroup(group, groups));
                    }
                    if !text.is_empty() {
                        pieces.push(Piece::Text(checked(&text)?.into()));
                        text.clear();
                    }
                    pieces.push(Piece::Group(group));
                }
                _ => return Err(RewriteError::Backslash),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(checked(&text)?.into()));
        }
        Ok(Self::Regex(Box::new(Substitution { pattern, pieces })))
    }

    /// What a path becomes; `None`: it stays.
    ///
    /// # Errors
    /// When it would become too long.
    pub fn apply(&self, path: &str) -> Result<Option<String>, RewriteError> {
        let made = match self {
            Self::Full(path) => return Ok(Some(path.to_string())),
            Self::Prefix {
                prefix,
                replacement,
                segments,
            } => match below(path, prefix, *segments) {
                Some(rest) => joined(replacement, rest, *segments),
                None => return Ok(None),
            },
            Self::Regex(substitution) => match substitution.apply(path)? {
                Some(made) => made,
                None => return Ok(None),
            },
        };
        if made.len() > LONGEST {
            return Err(RewriteError::TooLong);
        }
        Ok(Some(rooted(made)))
    }

    /// What a target becomes: the new path with the query that came; `None`: it stays.
    ///
    /// # Errors
    /// When the path would become too long.
    pub fn target(&self, uri: &Uri) -> Result<Option<String>, RewriteError> {
        let made = self.apply(uri.path())?;
        Ok(made.map(|path| match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }))
    }
}

/// What follows the prefix, whose case does not count: the match has decided that.
fn below<'a>(path: &'a str, prefix: &str, segments: bool) -> Option<&'a str> {
    let prefix = if segments {
        prefix.trim_end_matches('/')
    } else {
        prefix
    };
    let (start, rest) = path.split_at_checked(prefix.len())?;
    let fits = start.eq_ignore_ascii_case(prefix)
        && (!segments || rest.is_empty() || rest.starts_with('/'));
    fits.then_some(rest)
}

fn joined(replacement: &str, rest: &str, segments: bool) -> String {
    // Nobody means two slashes: `/api` to `/` makes `/v1` of `/api/v1`.
    let doubled = segments || rest.starts_with('/');
    let replacement = match replacement.strip_suffix('/') {
        Some(shorter) if doubled => shorter,
        _ => replacement,
    };
    [replacement, rest].concat()
}

fn rooted(path: String) -> String {
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

/// A text that may stand in a path.
fn checked(text: &str) -> Result<&str, RewriteError> {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>'));
    let parses = || {
        format!("/{text}")
            .parse::<http::uri::PathAndQuery>()
            .is_ok()
    };
    if fits && text.len() <= LONGEST && parses() {
        Ok(text)
    } else {
        Err(RewriteError::NotAPath(text.to_owned()))
    }
}

impl Substitution {
    fn apply(&self, path: &str) -> Result<Option<String>, RewriteError> {
        let mut made = Vec::new();
        let (mut from, mut matched) = (0, false);
        for found in self.pattern.captures_iter(path.as_bytes()) {
            let Some(whole) = found.get(0) else { continue };
            made.extend_from_slice(&path.as_bytes()[from..whole.start()]);
            (from, matched) = (whole.end(), true);
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => made.extend_from_slice(text.as_bytes()),
                    Piece::Group(group) => {
                        made.extend_from_slice(found.get(*group).map_or(b"", |g| g.as_bytes()));
                    }
                }
                if made.len() > LONGEST {
                    return Err(RewriteError::TooLong);
                }
            }
        }
        if !matched {
            return Ok(None);
        }
        made.extend_from_slice(&path.as_bytes()[from..]);
        // A pattern of bytes may cut a character that HTTP does not allow unescaped.
        Ok(Some(String::from_utf8_lossy(&made).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn made(rewrite: &PathRewrite, path: &str) -> String {
        rewrite
            .apply(path)
            .unwrap()
            .unwrap_or_else(|| path.to_owned())
    }

    #[test]
    fn prefixes_by_segments_as_the_gateway_api_says() {
        for (path, prefix, replacement, wanted) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foobar", "/foo", "/xyz", "/foobar"),
            ("/any", "/", "/xyz", "/xyz/any"),
        ] {
            let rewrite = PathRewrite::prefix(prefix, replacement, true).unwrap();
            assert_eq!(
                made(&rewrite, path),
                wanted,
                "{path} {prefix} {replacement}"
            );
        }
    }

    #[test]
    fn prefixes_by_characters_as_istio_says() {
        for (path, prefix, replacement, wanted) in [
            ("/foobar", "/foo", "/xyz", "/xyzbar"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/bar", "/foo/", "/", "/bar"),
            ("/foo", "/foo", "/", "/"),
            ("/FOO/Bar", "/foo", "/x", "/x/Bar"),
            ("/a", "/foo", "/xyz", "/a"),
        ] {
            let rewrite = PathRewrite::prefix(prefix, replacement, false).unwrap();
            assert_eq!(
                made(&rewrite, path),
                wanted,
                "{path} {prefix} {replacement}"
            );
        }
    }

    #[test]
    fn a_regex_replaces_every_part_that_matches() {
        for (pattern, substitution, path, wanted) in [
            (
                "^/service/([^/]+)(/.*)$",
                r"\2/instance/\1",
                "/service/foo/v1/api",
                "/v1/api/instance/foo",
            ),
            ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            (
                "^(.*?)one(.*)$",
                r"\1two\2",
                "/xxx/one/yyy/one/zzz",
                "/xxx/two/yyy/one/zzz",
            ),
            ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            ("none", "x", "/a", "/a"),
            ("^/a/", "", "/a/b", "/b"),
        ] {
            let rewrite = PathRewrite::regex(pattern, substitution).unwrap();
            assert_eq!(made(&rewrite, path), wanted, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let regex = |substitution| PathRewrite::regex("(a)", substitution).unwrap_err();
        assert_eq!(regex(r"\2"), RewriteError::NoGroup(2, 1));
        assert_eq!(regex(r"\x"), RewriteError::Backslash);
        assert_eq!(regex("a b"), RewriteError::NotAPath("a b".into()));
        for path in ["/a?b", "/a#b", "/a b", "/é\n"] {
            assert!(PathRewrite::full(path).is_err(), "{path}");
        }
        assert_eq!(made(&PathRewrite::full("a").unwrap(), "/x"), "/a");
    }

    #[test]
    fn a_path_does_not_grow_without_bound() {
        let tenfold = PathRewrite::regex("(.+)", &r"\1".repeat(10)).unwrap();
        let long = format!("/{}", "a".repeat(30_000));
        assert_eq!(tenfold.apply(&long), Err(RewriteError::TooLong));
    }

    proptest! {
        #[test]
        fn every_result_is_a_path(
            path in "/[a-zA-Z0-9/%._~-]{0,40}",
            prefix in "/[a-z/]{0,6}",
            replacement in "[a-z/]{0,6}",
            segments: bool,
        ) {
            let prefixed = PathRewrite::prefix(&prefix, &replacement, segments).unwrap();
            let by_regex = PathRewrite::regex("([a-z/]+)", r"\1/x\0").unwrap();
            for rewrite in [prefixed, by_regex] {
                let path = made(&rewrite, &path);
                prop_assert!(path.starts_with('/'));
                prop_assert!(path.parse::<http::uri::PathAndQuery>().is_ok());
            }
        }
    }
}
