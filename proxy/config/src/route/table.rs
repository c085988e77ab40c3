//! The rules of one service, in order, and the index that finds the first that matches.

use std::collections::BTreeSet;

use http::{HeaderMap, Method, Uri};

use super::index::{Item, List, Work};
use super::matcher::{HttpMatch, Request};
use super::pattern::StringMatch;
use crate::snapshot::{HttpRule, Name};

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
    index: List,
    services: Box<[Name]>,
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
        let treatments = rules.iter().filter_map(|(_, rule)| rule.treatment.as_ref());
        let regexes = regexes + treatments.map(|t| t.regexes()).sum::<usize>();
        if regexes > MAX_REGEXES {
            return Err(TableError::TooManyRegexes(regexes));
        }
        let mut table = Self {
            rules: Vec::with_capacity(rules.len()),
            entries: Vec::with_capacity(total),
            index: List::default(),
            services: services(&rules),
        };
        for (mut matches, rule) in rules {
            if matches.is_empty() {
                matches.push(HttpMatch::default());
            }
            // Fits: there are no more rules than matches, and at most MAX_MATCHES of those.
            let rule_index = table.rules.len() as u32;
            let entries = matches.into_iter().map(|matcher| Entry {
                rule: rule_index,
                matcher,
            });
            table.entries.extend(entries);
            table.rules.push(rule);
        }
        let items = (0..).zip(&table.entries).map(|(place, entry)| Item {
            place,
            conditions: entry.matcher.conditions(),
        });
        table.index = List::new(items.collect());
        Ok(table)
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    /// Every match with the place of its rule, in order.
    pub(super) fn matches(&self) -> impl Iterator<Item = (usize, &HttpMatch)> {
        let entries = self.entries.iter();
        entries.map(|entry| (entry.rule as usize, &entry.matcher))
    }

    /// Every service that a rule sends or mirrors to, once, in order.
    pub fn services(&self) -> &[Name] {
        &self.services
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
        self.find_counting(method, uri, authority, headers, port).0
    }

    /// As [`HttpTable::find`], and what it took.
    pub fn find_counting(
        &self,
        method: &Method,
        uri: &Uri,
        authority: &str,
        headers: &HeaderMap,
        port: u16,
    ) -> (Option<usize>, Work) {
        let request = Request {
            method,
            uri,
            authority,
            headers,
            port,
        };
        let matcher = |place: u32| &self.entries[place as usize].matcher;
        let (place, work) = self.index.find(&request, matcher);
        let rule = place.map(|place| self.entries[place as usize].rule as usize);
        (rule, work)
    }
}

fn services(rules: &[(Vec<HttpMatch>, HttpRule)]) -> Box<[Name]> {
    let destinations = rules.iter().flat_map(|(_, rule)| {
        let mirrors = rule.treatment.iter().flat_map(|t| &t.mirrors);
        let mirrors = mirrors.map(|mirror| &mirror.destination);
        rule.destinations.iter().chain(mirrors)
    });
    let names: BTreeSet<&Name> = destinations.map(|to| &to.service).collect();
    names.into_iter().cloned().collect()
}
