//! Rules against requests of which only a part was recorded: method, path, host and port, but neither
//! headers nor the query. What depends on the rest is said, never guessed; what a recorded outcome
//! proves of the rest is taken.

use std::collections::BTreeSet;

use http::{HeaderMap, Method, Uri};

use super::matcher::{Field, FieldMatch, HttpMatch, Request};
use super::table::HttpTable;

/// What is known of a request.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path; a query in it is not looked at.
    pub uri: &'a Uri,
    /// Its host.
    pub authority: &'a str,
    /// The port of the service.
    pub port: u16,
}

/// Which rule takes a request, as far as that can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partly {
    /// Rules that take it if something holds that was not recorded, in order, and what.
    pub maybe: Vec<(usize, Vec<String>)>,
    /// The rule that takes it if none of these does.
    pub otherwise: Option<usize>,
}

/// What recorded outcomes prove of what was not recorded: conditions in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    holds: BTreeSet<String>,
    /// Of each at least one does not hold.
    fails: BTreeSet<Vec<String>>,
}

/// How a condition begins that wants another not to hold.
const NOT: &str = "not: ";

impl HttpTable {
    /// Which rule takes a request.
    pub fn find_partly(&self, known: Known<'_>, proven: &Proven) -> Partly {
        let mut partly = Partly::default();
        for (rule, matcher) in self.matches() {
            let Some(needs) = matcher.needs(known) else {
                continue;
            };
            match proven.left_of(needs) {
                Left::Holds => {
                    partly.otherwise = Some(rule);
                    return partly;
                }
                Left::Fails => {}
                Left::Open(needs) => match partly.maybe.last_mut() {
                    Some((last, known)) if *last == rule => known.extend(needs),
                    _ => partly.maybe.push((rule, needs)),
                },
            }
        }
        partly
    }

    /// What it proves that a rule took a request, or that none did; `None`: by this table it cannot
    /// have been so.
    pub fn prove(&self, known: Known<'_>, taken: Option<usize>) -> Option<Proven> {
        let mut proven = Proven::default();
        let mut open: Vec<Vec<String>> = Vec::new();
        for (rule, matcher) in self.matches() {
            if taken.is_some_and(|taken| rule > taken) {
                break;
            }
            let Some(needs) = matcher.needs(known) else {
                continue;
            };
            match (taken == Some(rule), needs.is_empty()) {
                (true, _) => open.push(needs),
                (false, true) => return None,
                (false, false) => proven.fail(needs),
            }
        }
        match (taken, open.as_mut_slice()) {
            (Some(_), []) => return None,
            (Some(_), [only]) => proven.holds.extend(std::mem::take(only)),
            _ => {}
        }
        Some(proven)
    }
}

enum Left {
    Holds,
    Fails,
    Open(Vec<String>),
}

impl Proven {
    fn fail(&mut self, needs: Vec<String>) {
        if let [only] = needs.as_slice() {
            self.holds.insert(opposite(only));
        }
        self.fails.insert(needs);
    }

    /// What is left of conditions once those are taken off that are proven.
    fn left_of(&self, needs: Vec<String>) -> Left {
        let is_false = |one: &String| self.holds.contains(&opposite(one));
        if needs.iter().any(is_false) || self.fails.contains(&needs) {
            return Left::Fails;
        }
        let open: Vec<String> = needs
            .into_iter()
            .filter(|one| !self.holds.contains(one))
            .collect();
        match open.is_empty() {
            true => Left::Holds,
            false if self.fails.contains(&open) => Left::Fails,
            false => Left::Open(open),
        }
    }
}

fn opposite(condition: &str) -> String {
    match condition.strip_prefix(NOT) {
        Some(plain) => plain.to_owned(),
        None => format!("{NOT}{condition}"),
    }
}

impl HttpMatch {
    /// What of a request must hold beside what is known of it; `None`: what is known does not match.
    fn needs(&self, known: Known<'_>) -> Option<Vec<String>> {
        let is_open =
            |one: &&FieldMatch| matches!(one.field, Field::Header(_) | Field::PathAndQuery);
        let closed = |all: &[FieldMatch]| -> Vec<FieldMatch> {
            all.iter().filter(|one| !is_open(one)).cloned().collect()
        };
        let headers = HeaderMap::new();
        let request = Request {
            method: known.method,
            uri: known.uri,
            authority: known.authority,
            headers: &headers,
            port: known.port,
        };
        let of_known = Self {
            headers: closed(&self.headers),
            without_headers: closed(&self.without_headers),
            query: Vec::new(),
            ..self.clone()
        };
        if !of_known.is_match(&request) {
            return None;
        }
        let mut needs: Vec<String> = self.headers.iter().filter(is_open).map(words).collect();
        let without = self.without_headers.iter().filter(is_open);
        needs.extend(without.map(|one| format!("{NOT}{}", words(one))));
        let query = self.query.iter();
        needs.extend(query.map(|one| format!("query parameter {} {}", one.name, one.value)));
        needs.sort_unstable();
        needs.dedup();
        Some(needs)
    }
}

fn words(one: &FieldMatch) -> String {
    format!("{} {}", super::explain::name(&one.field), one.value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::pattern::StringMatch;
    use super::*;
    use crate::snapshot::HttpRule;

    fn matching(path: &str, header: Option<(&str, &str)>) -> HttpMatch {
        let header = header.map(|(name, value)| FieldMatch {
            field: Field::parse(name).unwrap(),
            value: StringMatch::exact(value),
        });
        HttpMatch {
            path: Some(StringMatch::prefix(path)),
            headers: Vec::from_iter(header),
            ..HttpMatch::default()
        }
    }

    fn table(rules: Vec<Vec<HttpMatch>>) -> HttpTable {
        let rules = rules.into_iter().map(|one| (one, HttpRule::default()));
        HttpTable::new(rules.collect()).unwrap()
    }

    fn known(uri: &Uri) -> Known<'_> {
        Known {
            method: &Method::GET,
            uri,
            authority: "web",
            port: 80,
        }
    }

    #[test]
    fn what_was_not_recorded_is_open_and_never_guessed() {
        let table = table(vec![
            vec![matching("/b", Some(("x-user", "a")))],
            vec![matching("/a", Some(("x-user", "a")))],
            vec![matching("/a", None)],
            vec![],
        ]);
        let uri = Uri::from_static("/a/1");
        let partly = table.find_partly(known(&uri), &Proven::default());
        let condition = "header x-user is \"a\"".to_owned();
        assert_eq!(partly.maybe, [(1, vec![condition])]);
        assert_eq!(partly.otherwise, Some(2));
        let uri = Uri::from_static("/c");
        let partly = table.find_partly(known(&uri), &Proven::default());
        assert_eq!((partly.maybe.len(), partly.otherwise), (0, Some(3)));
    }

    #[test]
    fn what_was_recorded_of_the_same_condition_decides() {
        let premium = || matching("/", Some(("user-type", "premium")));
        let before = table(vec![vec![premium()], vec![]]);
        let narrower = matching("/new", Some(("user-type", "premium")));
        let after = table(vec![vec![narrower], vec![premium()], vec![]]);
        let uri = Uri::from_static("/new/1");
        for (taken, now) in [(0, Some(0)), (1, Some(2))] {
            let proven = before.prove(known(&uri), Some(taken)).unwrap();
            let partly = after.find_partly(known(&uri), &proven);
            assert_eq!((partly.maybe.len(), partly.otherwise), (0, now), "{taken}");
        }
        let other = table(vec![
            vec![matching("/", Some(("user-type", "gold")))],
            vec![],
        ]);
        let proven = before.prove(known(&uri), Some(1)).unwrap();
        assert_eq!(other.find_partly(known(&uri), &proven).maybe.len(), 1);
        // By this table the catch-all comes first.
        let cannot = table(vec![vec![], vec![premium()]]);
        assert_eq!(cannot.prove(known(&uri), Some(1)), None);
        assert_eq!(before.prove(known(&uri), None), None);
    }

    #[test]
    fn the_opposite_of_what_holds_fails() {
        let user = || FieldMatch {
            field: Field::parse("x-user").unwrap(),
            value: StringMatch::Present,
        };
        let without = HttpMatch {
            without_headers: vec![user()],
            ..HttpMatch::default()
        };
        let with = HttpMatch {
            headers: vec![user()],
            ..HttpMatch::default()
        };
        let before = table(vec![vec![with], vec![]]);
        let after = table(vec![vec![without], vec![]]);
        let uri = Uri::from_static("/");
        let of = |taken| {
            let proven = before.prove(known(&uri), Some(taken)).unwrap();
            after.find_partly(known(&uri), &proven)
        };
        assert_eq!(of(0).otherwise, Some(1));
        assert_eq!(of(1).otherwise, Some(0));
        assert!(of(0).maybe.is_empty() && of(1).maybe.is_empty());
    }
}
