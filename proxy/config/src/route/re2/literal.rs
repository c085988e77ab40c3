//! What a regex says in plain text: the whole of it where it needs no automaton (`/a`, `/a/.*`),
//! and else the text that every value it matches begins with, so that an index can file it.
//!
//! Says nothing rather than too much. `.` counts as anything because no value of HTTP has a line
//! feed in it.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Dot, Hir, HirKind, Look};

use super::{is_unicode, whole};
use crate::route::pattern::StringMatch;

/// The comparison that a pattern amounts to, if it is not a regex in earnest.
pub(in crate::route) fn plain(pattern: &str) -> Option<StringMatch> {
    let hir = parse(pattern)?;
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let starts = |part: &&Hir| matches!(part.kind(), HirKind::Look(Look::Start));
    let ends = |part: &&Hir| matches!(part.kind(), HirKind::Look(Look::End));
    let from = parts.iter().take_while(starts).count();
    let to = parts.len() - parts[from..].iter().rev().take_while(ends).count();
    match &parts[from..to] {
        [] => Some(StringMatch::exact("")),
        [one] if is_anything(one) => Some(StringMatch::Present),
        [one] => Some(StringMatch::exact(text(one)?)),
        [start, rest] if is_anything(rest) => Some(StringMatch::prefix(text(start)?)),
        _ => None,
    }
}

/// What every value that the pattern matches begins with, in lower case; may be empty.
pub(super) fn prefix(pattern: &str) -> Vec<u8> {
    let Some(hir) = parse(pattern) else {
        return Vec::new();
    };
    let found = Extractor::new().kind(ExtractKind::Prefix).extract(&hir);
    let Some((first, others)) = found.literals().and_then(|all| all.split_first()) else {
        return Vec::new();
    };
    let mut common = first.as_bytes().to_ascii_lowercase();
    for other in others {
        let same = common
            .iter()
            .zip(other.as_bytes())
            .take_while(|(a, b)| **a == b.to_ascii_lowercase())
            .count();
        common.truncate(same);
    }
    common
}

fn parse(pattern: &str) -> Option<Hir> {
    ParserBuilder::new()
        .utf8(false)
        .unicode(is_unicode(pattern))
        .build()
        .parse(&whole(pattern).ok()?)
        .ok()
}

fn text(part: &Hir) -> Option<&str> {
    match part.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        _ => None,
    }
}

/// `.*`, of bytes.
fn is_anything(part: &Hir) -> bool {
    let HirKind::Repetition(repeated) = part.kind() else {
        return false;
    };
    let dots = [Dot::AnyByteExceptLF, Dot::AnyByte];
    repeated.min == 0
        && repeated.max.is_none()
        && dots.into_iter().any(|dot| *repeated.sub == Hir::dot(dot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Regex;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() })]
        #[test]
        fn what_is_told_agrees_with_the_regex(
            pattern in r"(\^|\(\?[isx]\)|\\Q)?([abA.]|\.\*|[|+?*]|\(|\)|a\{2\}|\[ab\]|\\\.|\\E|é){0,7}\$?",
            values in proptest::collection::vec("[abABé.#|]{0,5}", 20),
        ) {
            let Ok(regex) = Regex::new(&pattern) else {
                prop_assert!(plain(&pattern).is_none(), "refused: {}", pattern);
                return Ok(());
            };
            let (plain, beginning) = (plain(&pattern), regex.beginning());
            for value in values.iter().map(String::as_bytes) {
                let matches = regex.is_match(value);
                if let Some(plain) = &plain {
                    prop_assert_eq!(plain.is_match(value), matches, "{} {:?}", pattern, value);
                }
                let begins = value.to_ascii_lowercase().starts_with(&beginning);
                prop_assert!(begins || !matches, "{} {:?}", pattern, value);
            }
        }
    }

    #[test]
    fn patterns_that_need_no_automaton_are_told() {
        for (pattern, amounts_to) in [
            ("/a", "Some(Exact(\"/a\"))"),
            ("^/a$", "Some(Exact(\"/a\"))"),
            (r"a\.b", "Some(Exact(\"a.b\"))"),
            ("", "Some(Exact(\"\"))"),
            ("/a/.*", "Some(Prefix(\"/a/\"))"),
            ("^/a/.*$", "Some(Prefix(\"/a/\"))"),
            (r"(?s)/a.*?", "Some(Prefix(\"/a\"))"),
            (".*", "Some(Present)"),
            (r"é\x{e9}", "Some(Exact(\"éé\"))"),
        ] {
            assert_eq!(format!("{:?}", plain(pattern)), amounts_to, "{pattern}");
        }
        // `.` is a character in `é.*`, and not every value is text.
        for pattern in [
            "/a/.+",
            "(?i)/a",
            "/a|/b",
            "/a/.*/b",
            ".*a",
            "é.*",
            "(?m)^a$",
            "(?x)a # b",
            "(a",
            "a{2",
        ] {
            assert!(plain(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn the_beginning_of_every_match_is_told() {
        for (pattern, beginning) in [
            ("/api/v[0-9]+/.*", "/api/v"),
            ("(?i)/Api/[a-z]+", "/api/"),
            ("/(foo|foobar)/x", "/foo"),
            ("/a?b", "/"),
            ("/a|/b", "/"),
            ("a|/b", ""),
            (".*x", ""),
            ("[^/]+", ""),
            ("a{0}b", "b"),
            ("[a&&[^a]]", ""),
        ] {
            assert_eq!(prefix(pattern), beginning.as_bytes(), "{pattern}");
        }
    }
}
