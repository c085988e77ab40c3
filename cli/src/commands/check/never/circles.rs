//! A redirect that is said to lead in a circle does: random redirects are judged by the control plane, and
//! requests are put to the sidecar's own table and follow what it answers.

use std::collections::BTreeSet;

use heddle_control::check::Code;
use heddle_proxy_config::route::HttpTable;
use heddle_proxy_config::snapshot::Answer;
use http::{HeaderMap, Method, Uri};
use proptest::prelude::*;
use proptest::sample::select;

use super::{FIRST, SERVICE, made};

const MATCHES: [&str; 8] = [
    "",
    "match: [{uri: {exact: /a}}], ",
    "match: [{uri: {exact: /b}}], ",
    "match: [{uri: {prefix: /a}}], ",
    "match: [{uri: {prefix: /a/}}], ",
    "match: [{uri: {prefix: /b}, method: {exact: POST}}], ",
    "match: [{uri: {exact: /c}}, {uri: {prefix: /b/}}], ",
    "match: [{authority: {exact: web}}], ",
];
const ANSWERS: [&str; 9] = [
    "redirect: {uri: /a}",
    "redirect: {uri: /b}",
    "redirect: {uri: /c, redirectCode: 307}",
    "redirect: {uri: /a/b}",
    "redirect: {authority: cart, uri: /b}",
    "redirect: {authority: elsewhere, uri: /a}",
    "redirect: {port: 81}",
    "redirect: {scheme: https}",
    "route: [{destination: {host: cart}}]",
];

/// Rules of the table that are met again when what it answers is followed.
fn met_again(table: &HttpTable) -> BTreeSet<usize> {
    let mut again = BTreeSet::new();
    let paths = [
        "/", "/x", "/a", "/a/x", "/a/", "/ax", "/b", "/b/x", "/b/", "/c",
    ];
    for path in paths {
        for (method, authority, port) in [
            (Method::GET, "cart", 80),
            (Method::POST, "cart", 80),
            (Method::GET, "web", 80),
            (Method::GET, "cart:81", 81),
            (Method::POST, "cart:81", 81),
            (Method::GET, "web", 81),
        ] {
            let (mut method, mut authority, mut port) = (method, authority.to_owned(), port);
            let mut uri: Uri = path.parse().unwrap();
            let mut met = Vec::new();
            for _ in 0..40 {
                let found = table.find(&method, &uri, &authority, &HeaderMap::new(), port);
                let Some(place) = found else { break };
                let treatment = table.rules()[place].treatment.as_deref();
                let Some(Answer::Redirect(to)) = treatment.and_then(|one| one.answer.as_ref())
                else {
                    break;
                };
                if met.contains(&place) {
                    again.insert(place);
                }
                met.push(place);
                let location = to.location(&uri, &authority).unwrap();
                let Some(rest) = location.strip_prefix("http://") else {
                    break;
                };
                let (host, path) = rest.split_at(rest.find('/').unwrap());
                if !["cart", "cart:81", "web", "web:81"].contains(&host) {
                    break;
                }
                port = if host.ends_with(":81") { 81 } else { 80 };
                if to.status != 307 {
                    method = Method::GET;
                }
                (authority, uri) = (host.to_owned(), path.parse().unwrap());
            }
        }
    }
    again
}

/// Rules, and lines of those of which it is said.
fn judged(rules: &[(&str, &str)]) -> (HttpTable, Vec<u32>) {
    let mut text = SERVICE.to_owned();
    for (matches, answer) in rules {
        text += &format!("  - {{{matches}{answer}}}\n");
    }
    let (table, all) = made(&text);
    let said = all.iter().filter(|one| one.code == Code::RedirectLoop);
    (table, said.map(|one| one.at.line - FIRST).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_be_a_circle_is_one(
        rules in prop::collection::vec((select(&MATCHES[..]), select(&ANSWERS[..])), 1..6),
    ) {
        let (table, said) = judged(&rules);
        let again = met_again(&table);
        let again: BTreeSet<u32> = again
            .iter()
            .filter_map(|place| table.rules()[*place].origin.split('#').nth(1)?.parse().ok())
            .collect();
        for rule in said {
            prop_assert!(again.contains(&rule), "rule {rule} of {rules:#?}");
        }
    }
}

/// The property above speaks of something.
#[test]
fn circles_are_found_among_random_redirects() {
    let rules = [
        (MATCHES[1], "redirect: {uri: /b}"),
        (MATCHES[2], "redirect: {authority: cart, uri: /a}"),
        ("", "redirect: {uri: /a}"),
    ];
    assert_eq!(judged(&rules).1, [0, 1]);
}
