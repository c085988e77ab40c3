//! What was expected beside what was decided. What a case does not name must not happen.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::decide::Decision;
use super::mesh::Mesh;
use super::topic::{Request, Shares, What};
use super::words;

pub(super) fn faults(mesh: &Mesh, wanted: &Request, is: &Decision) -> Vec<String> {
    let mut wrong = Faults(Vec::new());
    let to = match &wanted.to {
        Shares::One(to) => BTreeMap::from([(to.clone(), 1)]),
        Shares::Several(shares) => shares.clone(),
        Shares::None if wanted.status.is_some() => BTreeMap::from([("nowhere".to_owned(), 1)]),
        Shares::None => BTreeMap::new(),
    };
    wrong.differ("to", &reduced(&to), &reduced(&is.to));
    let (path, host) = came(wanted);
    wrong.differ("path", wanted.path.as_ref().unwrap_or(&path), &is.path);
    wrong.differ("host", wanted.host.as_ref().unwrap_or(&host), &is.host);
    wrong.differ("status", &wanted.status, &is.status);
    wrong.differ("location", &wanted.location, &is.location);
    wrong.differ("body", &wanted.body, &is.body);
    wrong.differ("sends", &wanted.sends, &is.sends);
    wrong.differ("answers", &wanted.answers, &is.answers);
    wrong.differ("timeout", &wanted.timeout, &is.timeout);
    wrong.differ("retries", &wanted.retries, &is.retries);
    wrong.differ("delay", &wanted.delay, &is.delay);
    wrong.differ("abort", &wanted.abort, &is.abort);
    wrong.differ("mirrors", &wanted.mirrors, &is.mirrors);
    wrong.differ("cors", &wanted.cors, &is.cors);
    wrong.differ("sticky", &wanted.sticky, &is.sticky);
    if let Some(pods) = &wanted.pods {
        wrong.differ("pods", pods, &is.pods);
    }
    origin(mesh, wanted, is, &mut wrong);
    for (name, value) in &wanted.policy {
        let values: Vec<_> = is.policies.iter().map(|p| words::policy(p, name)).collect();
        if values.is_empty() && value != "none" {
            wrong
                .0
                .push(format!("{name}: wanted {value}, but there is no policy"));
        }
        for said in values {
            match said {
                Some(said) => wrong.differ(name, value, &said),
                None => wrong
                    .0
                    .push(format!("`{name}` is nothing that a policy has")),
            }
        }
    }
    wrong.0
}

/// The rule by name, and its line; every rule stands where a list's item begins.
fn origin(mesh: &Mesh, wanted: &Request, is: &Decision, wrong: &mut Faults) {
    let (rule, place) = is.origin.split_once(" (").unwrap_or((&is.origin, ""));
    let place = place.trim_end_matches(')').rsplit_once(':');
    let line = place.and_then(|(file, line)| mesh.line(file, line.parse().ok()?));
    if !rule.is_empty() && !line.is_some_and(|line| line.trim_start().starts_with("- ")) {
        wrong
            .0
            .push(format!("{} does not lead to a rule: {line:?}", is.origin));
    }
    if let Some(wanted) = &wanted.rule {
        let short = rule.split_once('/').map_or("none", |(_, name)| name);
        let short = short.strip_prefix("default/").unwrap_or(short);
        wrong.differ("rule", &wanted.as_str(), &short);
    }
    if let Some(wanted) = &wanted.line
        && !line.is_some_and(|line| line.contains(wanted))
    {
        wrong
            .0
            .push(format!("line: wanted {wanted:?}, decided by {line:?}"));
    }
}

struct Faults(Vec<String>);

impl Faults {
    fn differ<T: PartialEq + Debug>(&mut self, what: &str, wanted: &T, is: &T) {
        if wanted != is {
            self.0.push(format!("{what}: wanted {wanted:?}, is {is:?}"));
        }
    }
}

fn came(request: &Request) -> (String, String) {
    let What::Http(_, uri) = &request.ask.what else {
        return Default::default();
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let headers = request.header_map();
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|a| a.as_str()));
    (path.to_owned(), host.unwrap_or_default().to_owned())
}

/// Without the weights' common divisor.
fn reduced(shares: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    fn common(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { common(b, a % b) }
    }
    let divisor = shares.values().copied().fold(0, common).max(1);
    let parts = shares.iter().filter(|(_, weight)| **weight > 0);
    parts
        .map(|(to, weight)| (to.clone(), weight / divisor))
        .collect()
}
