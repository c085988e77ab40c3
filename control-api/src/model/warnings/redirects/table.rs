//! Rules of one service as one client has them, made for looking up many requests: each match under the
//! path, or the beginning of one, that it asks for.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use heddle_proto::mesh::{HttpMatch, HttpRule};

use crate::{
    check::rules::{Asked, Conditions, Regexes, Source},
    model::{Client, Model},
    name::NsName,
};

/// Matches that are held against requests in one look at everything; then no more is followed.
const BUDGET: usize = 2_000_000;

/// Tables by service and client, each made once.
pub(in crate::model::warnings) struct Tables {
    known: HashMap<(NsName, String), Rc<Table>>,
    pub(super) regexes: Regexes,
    /// Matches that may still be looked at.
    pub(super) left: usize,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            regexes: Regexes::default(),
            left: BUDGET,
        }
    }
}

impl Tables {
    pub(super) fn of(&mut self, model: &Model, service: &NsName, client: &Client) -> Rc<Table> {
        let key = format!("{}/{:?}", client.namespace, client.labels);
        let known = self.known.entry((service.clone(), key));
        known
            .or_insert_with(|| {
                let winner = model.route_for(service, &client.namespace);
                let table = model.rules_for_client(service, winner, client);
                Rc::new(Table::new(table.http, table.http_ports))
            })
            .clone()
    }
}

/// The rules.
pub(super) struct Table {
    pub(super) rules: Vec<HttpRule>,
    /// Ports that they are for; none: all.
    ports: Vec<u32>,
    /// Places of rules by the text of their origin, without file and line.
    pub(super) origins: HashMap<String, Vec<usize>>,
    /// Each with the place of its rule, in order.
    matches: Vec<(usize, Conditions)>,
    exact: HashMap<String, Vec<usize>>,
    beginnings: HashMap<String, Vec<usize>>,
    lengths: BTreeSet<usize>,
    others: Vec<usize>,
}

impl Table {
    fn new(rules: Vec<HttpRule>, ports: Vec<u32>) -> Self {
        let mut table = Self {
            rules: Vec::new(),
            ports,
            origins: HashMap::new(),
            matches: Vec::new(),
            exact: HashMap::new(),
            beginnings: HashMap::new(),
            lengths: BTreeSet::new(),
            others: Vec::new(),
        };
        for (place, rule) in rules.iter().enumerate() {
            let origin = rule.origin.split(" (").next().unwrap_or_default();
            table
                .origins
                .entry(origin.to_owned())
                .or_default()
                .push(place);
            let every = [HttpMatch::default()];
            let all = match rule.matches.as_slice() {
                [] => &every,
                all => all,
            };
            for one in all {
                table.file(place, Conditions::new(one, Source::default()));
            }
        }
        table.rules = rules;
        table
    }

    fn file(&mut self, rule: usize, conditions: Conditions) {
        let number = self.matches.len();
        let path = conditions.path();
        let path = path.map(|(text, whole)| (text.to_ascii_lowercase(), whole));
        match path {
            Some((text, true)) => self.exact.entry(text).or_default().push(number),
            Some((text, false)) => {
                self.lengths.insert(text.len());
                self.beginnings.entry(text).or_default().push(number);
            }
            None => self.others.push(number),
        }
        self.matches.push((rule, conditions));
    }

    /// The place of the rule that takes it. None: none does, or too much was looked at.
    pub(super) fn find(
        &self,
        asked: &Asked,
        regexes: &mut Regexes,
        left: &mut usize,
    ) -> Option<usize> {
        if !self.ports.is_empty() && !self.ports.contains(&asked.port.into()) {
            return None;
        }
        let path = asked.path.to_ascii_lowercase();
        let beginnings = self.lengths.range(..=path.len());
        let beginnings = beginnings.filter_map(|length| self.beginnings.get(path.get(..*length)?));
        let lists = self.exact.get(&path).into_iter().chain(beginnings);
        let lists = lists.chain(std::iter::once(&self.others));
        let mut first: Option<usize> = None;
        for number in lists.flatten().copied() {
            if first.is_some_and(|first| first <= number) {
                continue;
            }
            *left = left.checked_sub(1)?;
            if self.matches[number].1.hold(asked, regexes) {
                first = Some(number);
            }
        }
        first.map(|number| self.matches[number].0)
    }

    /// Requests that a rule asks for.
    pub(super) fn examples(
        &self,
        place: usize,
        authority: &str,
        port: u16,
        regexes: &mut Regexes,
    ) -> Vec<Asked> {
        let from = self.matches.partition_point(|(rule, _)| *rule < place);
        let own = self.matches[from..].iter();
        let own = own.take_while(|(rule, _)| *rule == place);
        own.flat_map(|(_, conditions)| conditions.examples(authority, port, regexes))
            .collect()
    }
}
