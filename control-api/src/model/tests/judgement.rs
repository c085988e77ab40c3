//! Routes and rules that are not in force as they are written, and what is instead.

use super::*;

#[test]
fn a_subset_that_does_not_exist_is_refused_alone_and_comes_later() {
    let mut model = model(REVIEWS);
    let bad = document("VirtualService").replace("subset: v1", "subset: v9");
    model.apply(batch(&bad).changes);
    let refusals = model.refusals();
    assert_eq!(refusals.len(), 1);
    let refusal = &refusals[0];
    assert!(
        refusal
            .reason
            .contains("no DestinationRule defines the subset `v9`")
            && refusal.consequence.contains("last good version stays")
    );
    let line = bad.lines().position(|line| line.contains("v9")).unwrap() as u32 + 1;
    assert_eq!(
        (refusal.file.as_str(), refusal.at.line, refusal.at.column),
        ("test.yaml", line, 17)
    );
    assert_eq!(refusal.suggestion, "did you mean `v1`?");
    assert_eq!(
        routes(&model, "default/reviews", &client("default")).http[1].destinations[0].subset,
        "v1"
    );

    let rule = document("DestinationRule").replace("name: v1", "name: v9");
    let dirty = model.apply(batch(&rule).changes);
    assert!(dirty.services.contains("default/reviews"));
    assert!(model.refusals().is_empty());
    assert_eq!(
        routes(&model, "default/reviews", &client("default")).http[1].destinations[0].subset,
        "v9"
    );
}

#[test]
fn destination_rules_of_the_client_come_first_and_patterns_last() {
    let rule = |name: &str, namespace: &str, host: &str, subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{host: '{host}', subsets: [{{name: {subset}, labels: {{version: v1}}}}]}}\n"
        )
    };
    let mut model = model(REVIEWS);
    let names = |model: &Model, namespace: &str| {
        mesh::Endpoints::decode(
            &*model
                .endpoints(&name("default/ratings"), &client(namespace))
                .unwrap()
                .body,
        )
        .unwrap()
        .subset_names
    };
    model.apply(
        batch(&rule(
            "p",
            "default",
            "*.default.svc.cluster.local",
            "pattern",
        ))
        .changes,
    );
    assert_eq!(names(&model, "default"), ["pattern"]);
    model.apply(batch(&rule("d", "default", "ratings", "here")).changes);
    model.apply(batch(&rule("e", "default", "ratings", "too")).changes);
    model.apply(
        batch(&rule(
            "c",
            "shop",
            "ratings.default.svc.cluster.local",
            "client",
        ))
        .changes,
    );
    assert_eq!(names(&model, "default"), ["here", "too"]);
    assert_eq!(names(&model, "shop"), ["client"]);
    model.apply(remove(Kind::DestinationRule, "default/d"));
    model.apply(remove(Kind::DestinationRule, "default/e"));
    assert_eq!(names(&model, "default"), ["pattern"]);
}

/// The example's rule with these subsets, in a file of its own.
fn rule(host: &str, subsets: &[&str]) -> String {
    let subsets = subsets
        .iter()
        .map(|name| format!("  - {{name: {name}, labels: {{version: {name}}}}}\n"));
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews-destination}}\n\
         spec:\n  host: {host}\n  subsets:\n{}",
        subsets.collect::<String>()
    )
}

/// Names of the subsets in the endpoints, and of those that the split goes to.
fn subsets(model: &Model) -> (Vec<String>, Vec<String>) {
    let table = routes(model, "default/reviews", &client("default"));
    let last = table.http.last().map(|rule| rule.destinations.clone());
    let used = last.unwrap_or_default();
    (
        endpoints(model, "default/reviews").subset_names,
        used.into_iter().map(|to| to.subset).collect(),
    )
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_subset_that_a_route_uses_is_not_taken_away() {
    let both = || (list(&["v1", "v2"]), list(&["v1", "v2"]));
    let (v1, host) = (rule("reviews", &["v1"]), rule("revews", &["v1", "v2"]));
    for bad in [&v1, &host] {
        let mut model = model(REVIEWS);
        model.apply(batch(bad).changes);
        assert_eq!(subsets(&model), both());
        let refusals = model.refusals();
        assert_eq!(
            (&*refusals[0].kind, &*refusals[0].name, refusals[0].at.line),
            ("DestinationRule", "reviews-destination", 5)
        );
        let reason = &refusals[0].reason;
        assert!(
            reason.contains("VirtualService default/reviews-route (test.yaml:"),
            "{reason}"
        );
        // Something else changes; the rule is written anew, as bad; then it is mended.
        model.apply(batch(&pod("reviews-v1-9", "10.1.0.9", "reviews", "v1")).changes);
        model.apply(batch(bad).changes);
        assert_eq!((model.refusals(), subsets(&model)), (refusals, both()));
        // Over a restart too.
        let mut after = Model::new(Settings::default()).with_last_good(model.kept());
        let written = REVIEWS.replace(document("DestinationRule"), bad);
        after.apply(batch(&written).changes);
        assert_eq!(subsets(&after), both());
        assert_eq!(after.refusals().len(), model.refusals().len());
        after.apply(batch(&rule("reviews", &["v1", "v2", "v3"])).changes);
        assert!(after.refusals().is_empty() && after.kept().is_empty());
        assert_eq!(subsets(&after).0, ["v1", "v2", "v3"]);
        // Removing it is no slip.
        model.apply(remove(Kind::DestinationRule, "default/reviews-destination"));
        assert!(subsets(&model).0.is_empty());
        assert!(model.refusals().iter().all(|r| r.kind == "VirtualService"));
        // The route stays as it was in force, over a restart too.
        assert_eq!(subsets(&model).1, ["v1", "v2"]);
        let mut after = Model::new(Settings::default()).with_last_good(model.kept());
        let written = REVIEWS.replace(document("DestinationRule"), "# none\n");
        after.apply(batch(&written).changes);
        assert_eq!(
            (subsets(&after), after.refusals().len()),
            (subsets(&model), model.refusals().len())
        );
    }
}

#[test]
fn a_subset_moves_with_its_routes_in_any_order() {
    let route = document("VirtualService").replace("v2", "v3");
    let moved = rule("reviews", &["v1", "v3"]);
    let both = format!("{route}---\n{moved}");
    let bad_first = (list(&["v1", "v2"]), list(&["v1", "v2"]));
    for edits in [vec![&both], vec![&moved, &route], vec![&route, &moved]] {
        let mut model = model(REVIEWS);
        let (last, first) = edits.split_last().unwrap();
        for edit in first {
            model.apply(batch(edit).changes);
            assert_eq!(subsets(&model), bad_first);
            assert!(!model.refusals().is_empty());
            // A restart in between.
            let mut after = Model::new(Settings::default()).with_last_good(model.kept());
            let kind = if *edit == &route {
                "VirtualService"
            } else {
                "DestinationRule"
            };
            after.apply(batch(&REVIEWS.replace(document(kind), edit)).changes);
            assert_eq!(subsets(&after), bad_first);
            model = after;
        }
        model.apply(batch(last).changes);
        assert_eq!(subsets(&model), (list(&["v1", "v3"]), list(&["v1", "v3"])));
        assert!(
            model.refusals().is_empty() && model.kept().is_empty(),
            "{:?}",
            model.refusals()
        );
    }
    // A route that goes frees the subset.
    let mut model = model(REVIEWS);
    model.apply(batch(&moved).changes);
    model.apply(remove(Kind::VirtualService, "default/reviews-route"));
    assert!(model.refusals().is_empty() && model.kept().is_empty());
    assert_eq!(subsets(&model).0, ["v1", "v3"]);
}

#[test]
fn what_a_refused_rule_would_have_brought_is_not_counted_on() {
    // One route moves to v3, another stays on v2, which the rule takes away for it.
    let other = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other}\n\
                 spec:\n  hosts: [details]\n  http:\n  - route:\n    - destination: {host: reviews, subset: v2}\n";
    let mut model = model(&format!("{REVIEWS}---\n{other}"));
    let route = document("VirtualService").replace("v2", "v3");
    let moved = rule("reviews", &["v1", "v3"]);
    model.apply(batch(&format!("{route}---\n{moved}")).changes);
    assert_eq!(subsets(&model), (list(&["v1", "v2"]), list(&["v1", "v2"])));
    let kinds: Vec<String> = model.refusals().into_iter().map(|r| r.kind).collect();
    assert!(
        kinds.contains(&"DestinationRule".to_owned())
            && kinds.contains(&"VirtualService".to_owned()),
        "{kinds:?}"
    );
    // The other one moves too: all at once.
    model.apply(batch(&other.replace("v2", "v1")).changes);
    assert_eq!(subsets(&model), (list(&["v1", "v3"]), list(&["v1", "v3"])));
    assert!(model.refusals().is_empty() && model.kept().is_empty());
}

#[test]
fn what_was_held_back_before_a_restart_is_held_back_after_it() {
    let bad = REVIEWS
        .replace("subset: v1", "subset: v7")
        .replace("weight: 90", "weight: 91");
    let weights = |model: &Model| {
        let table = routes(model, "default/reviews", &client("default"));
        let weight = |rule: &mesh::HttpRule| rule.destinations[0].weight;
        table.http.last().map(weight)
    };
    let mut before = model(REVIEWS);
    assert!(before.kept().is_empty());
    before.apply(batch(&bad).changes);
    let kept = before.kept();
    assert_eq!((kept.len(), weights(&before)), (1, Some(90)));

    let start = |yaml: &str| {
        let mut model = Model::new(Settings::default()).with_last_good(before.kept());
        model.apply(batch(yaml).changes);
        model
    };
    let mut after = start(&bad);
    assert_eq!(weights(&after), Some(90));
    assert_eq!(after.refusals(), before.refusals());
    assert!(
        after
            .kept()
            .iter()
            .zip(&kept)
            .all(|(a, b)| Arc::ptr_eq(a, b))
    );
    // Good again, in this life or the next; gone, in this life or the next.
    for model in [
        start(REVIEWS),
        start(&REVIEWS.replace("weight: 90", "weight: 80")),
    ] {
        assert!(model.refusals().is_empty() && model.kept().is_empty());
    }
    let without = REVIEWS.replace(document("VirtualService"), "");
    assert_eq!(weights(&start(&without)), None);
    after.apply(remove(Kind::VirtualService, "default/reviews-route"));
    assert!(after.kept().is_empty() && weights(&after).is_none());
    // Only the first batch is a beginning.
    after.apply(batch(&bad).changes);
    assert_eq!(weights(&after), None);
    // Before there was anything good, nothing is.
    assert_eq!(weights(&model(&bad)), None);
}
