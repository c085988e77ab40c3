//! Regular expressions as users write them for Envoy: RE2 syntax, matched against the whole value.
//!
//! The engine is Rust's, linear in time as RE2 is. Where the two read the same text differently
//! (`[a&&b]`, `[[]`, `\Q…\E`) it is rewritten to mean what RE2 means, or refused. Perl classes are
//! ASCII as in RE2; unless a pattern names Unicode itself, `.` is one byte, which tells only on
//! values that HTTP does not allow unescaped. Length and compiled size are bounded.

mod literal;
mod syntax;

use std::fmt;

pub(super) use literal::plain;
use syntax::translate;

/// Longest pattern, in bytes (Istio's limit).
pub const MAX_REGEX_BYTES: usize = 1024;

/// Most memory that one compiled pattern may take, in bytes: 1,000 repetitions of a class of three
/// ranges fit, nested ones do not.
const COMPILED_BYTES: usize = 512 << 10;

/// Most memory of the lazily built automaton, per pattern and thread, in bytes.
const CACHE_BYTES: usize = 256 << 10;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// Longer than [`MAX_REGEX_BYTES`].
    #[error("the regex has {0} bytes; at most {MAX_REGEX_BYTES} are allowed")]
    TooLong(usize),
    /// Compiles to more than the size limit.
    #[error("the regex compiles to more than {COMPILED_BYTES} bytes; lower its repeat counts")]
    TooLarge,
    /// Not a regular expression.
    #[error("the regex {pattern:?} is malformed: {problem}")]
    Malformed {
        /// As the user wrote it.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A compiled pattern that matches whole values.
#[derive(Clone)]
pub struct Regex {
    source: Box<str>,
    compiled: regex::bytes::Regex,
}

impl Regex {
    /// Compiles a pattern in RE2 syntax.
    ///
    /// # Errors
    /// When it is too long, malformed, or too large when compiled.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, whole)
    }

    /// The same, for what matches any part of a value.
    pub(super) fn anywhere(pattern: &str) -> Result<regex::bytes::Regex, RegexError> {
        Ok(Self::compile(pattern, translate)?.compiled)
    }

    fn compile(
        pattern: &str,
        engines: fn(&str) -> Result<String, &'static str>,
    ) -> Result<Self, RegexError> {
        if pattern.len() > MAX_REGEX_BYTES {
            return Err(RegexError::TooLong(pattern.len()));
        }
        let malformed = |problem: &str| RegexError::Malformed {
            pattern: pattern.to_owned(),
            problem: problem.to_owned(),
        };
        let compiled = regex::bytes::RegexBuilder::new(&engines(pattern).map_err(malformed)?)
            .unicode(is_unicode(pattern))
            .size_limit(COMPILED_BYTES)
            .dfa_size_limit(CACHE_BYTES)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => RegexError::TooLarge,
                // The text is a drawing of several lines; the last says what is wrong.
                other => malformed(
                    other
                        .to_string()
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim_start_matches("error: "),
                ),
            })?;
        Ok(Self {
            source: pattern.into(),
            compiled,
        })
    }

    /// Does the whole of `value` match?
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.compiled.is_match(value)
    }

    /// What every value that matches begins with, in lower case; may be empty.
    pub(super) fn beginning(&self) -> Vec<u8> {
        literal::prefix(&self.source)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// The engine's pattern for the whole of a value.
fn whole(pattern: &str) -> Result<String, &'static str> {
    Ok(format!(r"\A(?:{})\z", translate(pattern)?))
}

/// Does the pattern name Unicode?
fn is_unicode(pattern: &str) -> bool {
    let escapes = [r"\p", r"\P", r"\x{"];
    !pattern.is_ascii() || escapes.iter().any(|escape| pattern.contains(escape))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whole_values_match_and_parts_do_not() {
        for (pattern, yes, no) in [
            ("a|ab", "ab", "abc"),
            ("/v[0-9]+/.*", "/v12/x", "/v/x"),
            ("(?i)Premium", "pREMIUM", "premium!"),
            ("a$", "a", "a\n"),
            (r"\d+", "42", "٤٢"),
            (r"\w{1,64}", "under_score", "with-dash"),
            (r"\Qa.b*\E+", "a.b**", "axb"),
            (r"\pL+", "é", "1"),
            ("é.", "éa", "é"),
        ] {
            let regex = Regex::new(pattern).unwrap();
            assert!(regex.is_match(yes.as_bytes()), "{pattern} {yes}");
            assert!(!regex.is_match(no.as_bytes()), "{pattern} {no}");
        }
    }

    #[test]
    fn classes_mean_what_re2_means() {
        let members = |pattern: &str| -> String {
            let regex = Regex::new(pattern).unwrap();
            (b' '..=b'~')
                .filter(|byte| regex.is_match(&[*byte]))
                .map(char::from)
                .collect()
        };
        assert_eq!(members("[a&&b]"), "&ab");
        assert_eq!(members("[[a~~b]"), "[ab~");
        assert_eq!(members("[]a]"), "]a");
        assert_eq!(members("[[:digit:]x]"), "0123456789x");
        assert_eq!(members("[a-c-]"), "-abc");
        assert_eq!(members(r"[\]\-)(]"), "()-]");
    }

    #[test]
    fn malformed_patterns_are_refused_with_the_reason() {
        for (pattern, part) in [
            ("a)|(?:b", "unopened group"),
            ("(a", "unclosed group"),
            ("[a", "unclosed character class"),
            ("a\\", "a backslash ends it"),
            ("*", "repetition operator missing expression"),
            ("[+--]", "ambiguous"),
            (r"(?<=a)b", "look-behind"),
            (r"(a)\1", "backreferences"),
        ] {
            let error = Regex::new(pattern).unwrap_err().to_string();
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }

    #[test]
    fn size_is_bounded() {
        assert_eq!(
            Regex::new(&"a".repeat(1025)).unwrap_err(),
            RegexError::TooLong(1025)
        );
        assert!(Regex::new(&"a".repeat(1024)).is_ok());
        assert!(Regex::new("[a-zA-Z0-9]{1,1000}").is_ok());
        for hostile in ["((a{100}){100}){100}", r"\pL{1000}", "(((a?){50}){50}){50}"] {
            assert_eq!(
                Regex::new(hostile).unwrap_err(),
                RegexError::TooLarge,
                "{hostile}"
            );
        }
    }
}
