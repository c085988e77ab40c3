//! One request's way through an index: every part of it that matches ask for is looked up, and what
//! is found there is compared, as long as it comes before the best match so far.

use http::{HeaderMap, HeaderName};

use super::{Index, List, Work};
use crate::route::condition::{Part, port_text};
use crate::route::matcher::{self, HttpMatch, Request};
use crate::route::pattern;
use crate::route::trie::Trie;

/// The lowest match that holds, so far.
pub(super) struct Search<'a, M> {
    request: &'a Request<'a>,
    matcher: M,
    best: u32,
    work: Work,
}

impl<'a, M: Fn(u32) -> &'a HttpMatch> Search<'a, M> {
    /// `matcher` gives a match by its place.
    pub(super) fn new(request: &'a Request<'a>, matcher: M) -> Self {
        Self {
            request,
            matcher,
            best: u32::MAX,
            work: Work::default(),
        }
    }

    pub(super) fn run(mut self, list: &List) -> (Option<u32>, Work) {
        self.list(list);
        ((self.best != u32::MAX).then_some(self.best), self.work)
    }

    fn list(&mut self, list: &List) {
        match list {
            List::One(place) => self.compare(std::slice::from_ref(place)),
            List::Walked(places) => self.compare(places),
            List::Indexed(index) if index.first < self.best => self.index(index),
            List::Indexed(_) => {}
        }
    }

    fn index(&mut self, index: &Index) {
        let request = self.request;
        self.work.lookups += index.single.len();
        for (part, trie) in &index.single {
            let port;
            let value = match part {
                Part::Path => request.uri.path().as_bytes(),
                Part::PathAndQuery => request.path_and_query().as_bytes(),
                Part::Method => request.method.as_str().as_bytes(),
                Part::Authority => request.authority.as_bytes(),
                Part::Port => {
                    port = port_text(request.port);
                    &port[..]
                }
                Part::Header(_) | Part::Query(_) => continue,
            };
            self.look_up(trie, std::iter::once(value));
        }
        if index.headers.len() <= request.headers.keys_len() {
            self.work.lookups += index.headers.len();
            for (name, trie) in &index.headers {
                self.header(trie, request.headers, name);
            }
        } else {
            self.work.lookups += request.headers.keys_len();
            for name in request.headers.keys() {
                if let Some(trie) = index.headers.get(name) {
                    self.header(trie, request.headers, name);
                }
            }
        }
        if !index.query.is_empty() {
            for (name, value) in matcher::parameters(request.uri.query().unwrap_or_default()) {
                self.work.lookups += 1;
                if let Some(trie) = index.query.get(name) {
                    self.look_up(trie, std::iter::once(value.as_bytes()));
                }
            }
        }
        self.compare(&index.rest);
    }

    fn header(&mut self, trie: &Trie<List>, headers: &HeaderMap, name: &HeaderName) {
        let mut values = headers.get_all(name).iter();
        if let Some(first) = values.next() {
            let values = std::iter::once(first).chain(values);
            self.look_up(trie, pattern::joined(values, matcher::separator(name)));
        }
    }

    fn look_up<'p>(&mut self, trie: &Trie<List>, value: impl Iterator<Item = &'p [u8]>) {
        trie.walk(value, |list| self.list(list));
    }

    fn compare(&mut self, places: &[u32]) {
        for place in places.iter().take_while(|place| **place < self.best) {
            self.work.compared += 1;
            if (self.matcher)(*place).is_match(self.request) {
                self.best = *place;
                return;
            }
        }
    }
}
