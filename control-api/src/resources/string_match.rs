//! Istio's StringMatch: exact, prefix or regex; an empty one, and the regex `*`, ask only for
//! presence. Regexes are full matches in a linear-time engine, bounded in length and in size.

use serde::Deserialize;

use super::at::At;

/// Longest regex, in bytes: Istio's limit.
pub const MAX_REGEX_LEN: usize = 1024;
/// Largest compiled regex, in bytes: RE2 programs that Envoy admits are smaller.
const MAX_REGEX_SIZE: usize = 256 * 1024;

/// As written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct StringMatch {
    /// The whole value.
    pub exact: Option<String>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// A full match.
    pub regex: Option<At<String>>,
}

/// As meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// Any value, if there is one.
    Present,
    /// This value.
    Exact(&'a str),
    /// Values that begin so.
    Prefix(&'a str),
    /// Values that match wholly.
    Regex(&'a str),
}

impl StringMatch {
    /// What it means.
    pub fn meaning(&self) -> Meaning<'_> {
        match self {
            Self {
                exact: Some(exact), ..
            } => Meaning::Exact(exact),
            Self {
                prefix: Some(prefix),
                ..
            } => Meaning::Prefix(prefix),
            Self {
                regex: Some(regex), ..
            } if regex.as_str() == "*" => Meaning::Present,
            Self {
                regex: Some(regex), ..
            } => Meaning::Regex(regex),
            _ => Meaning::Present,
        }
    }

    /// Why it cannot be used, if so.
    pub fn problem(&self) -> Option<String> {
        let given = [
            self.exact.is_some(),
            self.prefix.is_some(),
            self.regex.is_some(),
        ];
        if given.iter().filter(|given| **given).count() > 1 {
            return Some("only one of exact, prefix and regex may be given".into());
        }
        let Meaning::Regex(regex) = self.meaning() else {
            return None;
        };
        bad_regex(&format!("^(?:{regex})$"), regex.len()).err()
    }
}

/// Why a regex of so many bytes, as written, cannot be used; else how many groups it has.
pub fn bad_regex(regex: &str, written: usize) -> Result<usize, String> {
    if written > MAX_REGEX_LEN {
        return Err(format!(
            "the regex has {written} bytes; at most {MAX_REGEX_LEN} are allowed"
        ));
    }
    let built = regex::RegexBuilder::new(regex)
        .size_limit(MAX_REGEX_SIZE)
        .dfa_size_limit(MAX_REGEX_SIZE)
        .build();
    match built {
        Ok(regex) => Ok(regex.captures_len().saturating_sub(1)),
        Err(regex::Error::CompiledTooBig(limit)) => Err(format!(
            "the regex needs more than {limit} bytes when compiled"
        )),
        Err(error) => {
            let text = error.to_string();
            let last = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            Err(format!("the regex does not compile: {last}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> StringMatch {
        StringMatch {
            regex: Some(At::nowhere(text.to_owned())),
            ..StringMatch::default()
        }
    }

    #[test]
    fn hostile_regexes_are_refused() {
        assert_eq!(regex("/v[0-9]+/.*").problem(), None);
        assert_eq!(regex("*").meaning(), Meaning::Present);
        assert_eq!(regex("*").problem(), None);
        for bad in ["(", "a{1000}{1000}", "(?=x)", r"\1"] {
            assert!(regex(bad).problem().is_some(), "{bad}");
        }
        assert!(regex(&"a".repeat(1025)).problem().is_some());
    }
}
