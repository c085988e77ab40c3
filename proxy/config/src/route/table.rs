//! The rules of one service, in order, with an index by exact path.
//!
//! Invariant: entries keep the order of the rules, and the lists of the index are sorted; `find`
//! merges the few lists that can match, so the answer is that of walking every rule.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use http::{HeaderMap, Method, Uri};

use super::matcher::{HttpMatch, Request};
use super::pattern::StringMatch;
use crate::snapshot::HttpRule;

/// Most matches in one table.
pub const MAX_MATCHES: usize = 100_000;

/// Most regexes in one table: each may take hundreds of kilobytes.
pub const MAX_REGEXES: usize = 2_000;

/// Why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More matches than [`MAX_MATCHES`].
    #[error("the routes have {0} matches; at most {MAX_MATCHES} are allowed")]
    TooManyMatches(usize),
    /// More regexes than [`MAX_REGEXES`].
    #[error("the routes have {0} regexes; at most {MAX_REGEXES} are allowed")]
    TooManyRegexes(usize),
}

/// The HTTP rules of one service, compiled.
#[derive(Clone, Debug, Default)]
pub struct HttpTable {
    rules: Vec<HttpRule>,
    entries: Vec<Entry>,
    /// Entries with an exact path, by that path.
    exact: HashMap<Box<str>, Vec<u32>>,
    /// Entries with an exact path in any case, by a hash of the path in lower case; each still
    /// compares its path.
    any_case: HashMap<u64, Vec<u32>>,
    hasher: RandomState,
    /// Every other entry.
    rest: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Entry {
    rule: u32,
    matcher: HttpMatch,
}

impl HttpTable {
    /// Compiles rules with their matches; a rule without any takes every request.
    ///
    /// # Errors
    /// When there are more matches or regexes than a sidecar should hold.
    pub fn new(rules: Vec<(Vec<HttpMatch>, HttpRule)>) -> Result<Self, TableError> {
        let total = rules.iter().map(|(matches, _)| matches.len().max(1)).sum();
        if total > MAX_MATCHES {
            return Err(TableError::TooManyMatches(total));
        }
        let regexes = rules
            .iter()
            .flat_map(|(matches, _)| matches)
            .flat_map(HttpMatch::patterns)
            .filter(|pattern| matches!(pattern, StringMatch::Regex(_)))
            .count();
        if regexes > MAX_REGEXES {
            return Err(TableError::TooManyRegexes(regexes));
        }
        let mut table = Self::default();
        for (mut matches, rule) in rules {
            if matches.is_empty() {
                matches.push(HttpMatch::default());
            }
            matches.into_iter().for_each(|matcher| table.add(matcher));
            table.rules.push(rule);
        }
        Ok(table)
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    /// Index of the first rule that takes the request. `port` is that of the service.
    pub fn find(
        &self,
        method: &Method,
        uri: &Uri,
        authority: &str,
        headers: &HeaderMap,
        port: u16,
    ) -> Option<usize> {
        let request = Request {
            method,
            uri,
            authority,
            headers,
            port,
        };
        let mut candidates: [&[u32]; 3] = [
            list(self.exact.get(uri.path())),
            if self.any_case.is_empty() {
                &[]
            } else {
                list(self.any_case.get(&self.hash_lower(uri.path())))
            },
            &self.rest,
        ];
        loop {
            let list = candidates
                .iter_mut()
                .filter(|list| !list.is_empty())
                .min_by_key(|list| list[0])?;
            let (first, after) = list.split_first()?;
            *list = after;
            let entry = &self.entries[*first as usize];
            if entry.matcher.is_match(&request) {
                return Some(entry.rule as usize);
            }
        }
    }

    fn add(&mut self, mut matcher: HttpMatch) {
        // Both counts fit: a table has at most MAX_MATCHES entries, and no more rules than that.
        let (index, rule) = (self.entries.len() as u32, self.rules.len() as u32);
        match (matcher.path.take(), matcher.ignore_path_case) {
            (Some(StringMatch::Exact(path)), false) => {
                self.exact.entry(path).or_default().push(index)
            }
            (Some(StringMatch::Exact(path)), true) => {
                let hash = self.hash_lower(&path);
                self.any_case.entry(hash).or_default().push(index);
                matcher.path = Some(StringMatch::Exact(path));
            }
            (path, _) => {
                matcher.path = path;
                self.rest.push(index);
            }
        }
        self.entries.push(Entry { rule, matcher });
    }

    fn hash_lower(&self, path: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for chunk in path.as_bytes().chunks(64) {
            let mut lower = [0; 64];
            let lower = &mut lower[..chunk.len()];
            lower.copy_from_slice(chunk);
            lower.make_ascii_lowercase();
            hasher.write(lower);
        }
        hasher.finish()
    }
}

fn list(found: Option<&Vec<u32>>) -> &[u32] {
    found.map_or(&[], Vec::as_slice)
}
