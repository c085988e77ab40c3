//! What is in force and hardly meant: each lint once where it must speak, and where it must not.

use super::*;
use crate::check::Code;

/// Codes with their lines, of the rules of a VirtualService for `reviews`. Line 7 is the first rule's.
fn of_rules(http: &str) -> Vec<(Code, u32)> {
    let indented: String = http.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: own, namespace: default}}\n\
         spec:\n  hosts: [reviews]\n  http:\n{indented}"
    );
    let services = REVIEWS.split("---\n").filter(|document| {
        let is = |kind: &str| document.contains(&format!("kind: {kind}\n"));
        is("Service") || is("Pod") || is("EndpointSlice") || is("DestinationRule")
    });
    let mut model = model(&services.collect::<Vec<_>>().join("---\n"));
    model.apply(batch(&text).changes);
    assert!(model.refusals().is_empty(), "{:?}", model.refusals());
    let found = model.warnings().into_iter().filter(|w| w.name == "own");
    let mut found: Vec<_> = found.map(|w| (w.code, w.at.line)).collect();
    found.sort();
    found
}

const ROUTE: &str = "route: [{destination: {host: reviews}}]";

#[test]
fn rules_that_an_earlier_one_hides() {
    for (earlier, later, dead) in [
        ("", "match: [{uri: {exact: /a}}]", true),
        (
            "match: [{uri: {prefix: /}}]",
            "match: [{headers: {x: {exact: a}}}]",
            true,
        ),
        (
            "match: [{uri: {prefix: /a}}]",
            "match: [{uri: {prefix: /ab}}, {uri: {exact: /a/c}}]",
            true,
        ),
        (
            "match: [{uri: {prefix: /a}}]",
            "match: [{uri: {prefix: /}}]",
            false,
        ),
        (
            "match: [{uri: {prefix: /A}, ignoreUriCase: true}]",
            "match: [{uri: {exact: /ab}}]",
            true,
        ),
        (
            "match: [{uri: {prefix: /A}}]",
            "match: [{uri: {exact: /ab}}]",
            false,
        ),
        (
            "match: [{uri: {regex: '/[a-z]+'}}]",
            "match: [{uri: {exact: /ab}}]",
            true,
        ),
        (
            "match: [{uri: {regex: '/[a-z]+'}}]",
            "match: [{uri: {exact: /a1}}]",
            false,
        ),
        (
            "match: [{uri: {regex: '/a/.*'}}]",
            "match: [{uri: {prefix: /a/b}}]",
            true,
        ),
        (
            "match: [{uri: {prefix: /a}, method: {exact: GET}}]",
            "match: [{uri: {prefix: /a}}]",
            false,
        ),
        (
            "match: [{headers: {x: {}}}]",
            "match: [{headers: {X: {regex: 'b+'}, z: {exact: c}}}]",
            true,
        ),
        (
            "match: [{headers: {x: {exact: a}}}]",
            "match: [{headers: {x: {}}}]",
            false,
        ),
        (
            "match: [{withoutHeaders: {x: {exact: a}}}]",
            "match: [{headers: {x: {exact: b}}}]",
            true,
        ),
        (
            "match: [{withoutHeaders: {x: {}}}]",
            "match: [{headers: {x: {exact: b}}}]",
            false,
        ),
        (
            "match: [{withoutHeaders: {x: {exact: a}}}]",
            "match: [{withoutHeaders: {x: {prefix: a}}}]",
            true,
        ),
        (
            "match: [{queryParams: {v: {exact: '1'}}}]",
            "match: [{queryParams: {v: {exact: '1'}}, port: 9080}]",
            true,
        ),
        (
            "match: [{port: 9080}]",
            "match: [{uri: {prefix: /a}}]",
            false,
        ),
        (
            "match: [{sourceNamespace: default}]",
            "match: [{uri: {prefix: /a}}]",
            false,
        ),
        (
            "match: [{authority: {exact: a}}]",
            "match: [{headers: {host: {exact: a}}}]",
            true,
        ),
        (
            "match: [{gateways: [elsewhere]}]",
            "match: [{uri: {prefix: /a}}]",
            false,
        ),
    ] {
        let first = if earlier.is_empty() {
            ROUTE.to_owned()
        } else {
            format!("{earlier}\n  {ROUTE}")
        };
        let found = of_rules(&format!("- {first}\n- {later}\n  {ROUTE}"));
        let found: Vec<Code> = found.into_iter().map(|(code, _)| code).collect();
        assert_eq!(
            found.contains(&Code::DeadRule),
            dead,
            "{earlier} then {later}: {found:?}"
        );
    }
}

#[test]
fn one_match_of_several_may_be_hidden() {
    let found = of_rules(
        "- match: [{uri: {prefix: /a}}]
  route: [{destination: {host: reviews}}]
- match:
  - {uri: {exact: /a/b}}
  - {uri: {exact: /c}}
  - {uri: {exact: /c}, method: {exact: GET}}
  route: [{destination: {host: reviews}}]",
    );
    assert_eq!(found, [(Code::DeadMatch, 10), (Code::RepeatedMatch, 12)]);
}

#[test]
fn matches_that_nothing_fulfils() {
    for (wanted, code) in [
        ("uri: {exact: a}", Some(Code::VainMatch)),
        ("uri: {prefix: a/}", Some(Code::VainMatch)),
        ("uri: {regex: 'v1/.*'}", Some(Code::VainMatch)),
        ("uri: {regex: '/v1/.*'}", None),
        ("uri: {regex: '.*v1/.*'}", None),
        ("uri: {regex: '(/a|b)'}", None),
        ("uri: {exact: '*'}", None),
        ("uri: {exact: '/a?b=c'}", Some(Code::VainMatch)),
        ("uri: {prefix: '/a b'}", Some(Code::VainMatch)),
        ("uri: {exact: '/a%41'}", Some(Code::VainMatch)),
        ("uri: {exact: '/a%2Fb'}", None),
        ("uri: {prefix: /a/../b}", Some(Code::VainMatch)),
        ("uri: {prefix: /a/..}", None),
        ("uri: {exact: /a/..}", Some(Code::VainMatch)),
        ("uri: {exact: '/a\\b'}", Some(Code::VainMatch)),
        ("method: {exact: get}", Some(Code::VainMatch)),
        ("method: {exact: GET}", None),
        ("method: {exact: purge}", None),
        ("authority: {exact: 'http://a'}", Some(Code::VainMatch)),
        ("authority: {exact: 'a:80'}", None),
        ("scheme: {exact: ftp}", Some(Code::VainMatch)),
        ("headers: {x: {exact: ' a'}}", Some(Code::VainMatch)),
        ("headers: {x: {prefix: 'a '}}", None),
        (
            "headers: {x: {exact: a}}, withoutHeaders: {X: {}}",
            Some(Code::VainMatch),
        ),
        (
            "headers: {x: {exact: a}}, withoutHeaders: {x: {exact: b}}",
            None,
        ),
        (
            "authority: {exact: a}, headers: {host: {exact: b}}",
            Some(Code::VainMatch),
        ),
        ("headers: {x: {regex: '[^\\s\\S]'}}", Some(Code::VainMatch)),
        ("queryParams: {v: {exact: 'a b'}}", Some(Code::VainMatch)),
        ("queryParams: {'v=1': {}}", Some(Code::VainMatch)),
        ("headers: {connection: {}}", Some(Code::UnseenHeader)),
        (
            "headers: {Proxy-Authorization: {}}",
            Some(Code::UnseenHeader),
        ),
        ("headers: {te: {exact: gzip}}", Some(Code::UnseenHeader)),
        ("headers: {te: {exact: trailers}}", None),
        ("port: 80", Some(Code::PortOfNobody)),
        ("port: 9080", None),
        ("sourceLabels: {app: nobody}", Some(Code::ClientOfNobody)),
        ("sourceNamespace: nowhere", Some(Code::ClientOfNobody)),
        ("sourceNamespace: default", None),
        ("gateways: [a]", Some(Code::NotForSidecars)),
        ("gateways: [a, mesh]", None),
    ] {
        let found = of_rules(&format!("- match: [{{{wanted}}}]\n  {ROUTE}"));
        let found: Vec<Code> = found.into_iter().map(|(code, _)| code).collect();
        assert_eq!(found, code.into_iter().collect::<Vec<_>>(), "{wanted}");
    }
}

#[test]
fn what_a_rule_does_and_hardly_means() {
    let get = "match: [{method: {exact: GET}}]";
    for (rule, code) in [
        (
            format!("{ROUTE}\nmirror: {{host: reviews}}"),
            Some(Code::SelfMirror),
        ),
        (format!("{ROUTE}\nmirror: {{host: details}}"), None),
        (
            "redirect: {redirectCode: 302}".into(),
            Some(Code::RedirectLoop),
        ),
        ("redirect: {uri: /b}".into(), Some(Code::RedirectLoop)),
        (
            "match: [{uri: {prefix: /a}}]\nredirect: {uri: /a/b}".into(),
            Some(Code::RedirectLoop),
        ),
        (
            "match: [{uri: {exact: /a}}]\nredirect: {uri: /a/b}".into(),
            None,
        ),
        (
            "match: [{uri: {prefix: /a}}]\nredirect: {uri: /a/b, authority: b}".into(),
            None,
        ),
        ("redirect: {scheme: https}".into(), None),
        (
            format!("{ROUTE}\nretries: {{attempts: 2, retryOn: '5xx,connect-failure'}}"),
            Some(Code::UnsafeRetry),
        ),
        (
            format!("{get}\n{ROUTE}\nretries: {{attempts: 2, retryOn: 5xx}}"),
            None,
        ),
        (
            format!("{ROUTE}\nretries: {{attempts: 2, retryOn: connect-failure}}"),
            None,
        ),
        (
            format!("{ROUTE}\nretries: {{attempts: 0, retryOn: 5xx}}"),
            None,
        ),
        (
            format!("{ROUTE}\ntimeout: 1s\nretries: {{attempts: 2, perTryTimeout: 1s}}"),
            Some(Code::LateRetry),
        ),
        (
            format!("{ROUTE}\ntimeout: 2s\nretries: {{attempts: 2, perTryTimeout: 1s}}"),
            Some(Code::TightTimeout),
        ),
        (
            format!("{ROUTE}\ntimeout: 4s\nretries: {{attempts: 2, perTryTimeout: 1s}}"),
            None,
        ),
        (
            format!("{ROUTE}\nheaders: {{request: {{set: {{X-Forwarded-Client-Cert: a}}}}}}"),
            Some(Code::UnsentHeader),
        ),
        (
            format!("{ROUTE}\nheaders: {{request: {{set: {{x_under_score: a}}}}}}"),
            None,
        ),
        (
            format!("{ROUTE}\nfault: {{abort: {{httpStatus: 500}}}}"),
            Some(Code::FaultOfNobody),
        ),
        (
            format!("{ROUTE}\nfault: {{abort: {{httpStatus: 500, percentage: {{value: 1}}}}}}"),
            None,
        ),
    ] {
        let found = of_rules(&format!("- {}", rule.replace('\n', "\n  ")));
        let found: Vec<Code> = found.into_iter().map(|(code, _)| code).collect();
        assert_eq!(found, code.into_iter().collect::<Vec<_>>(), "{rule}");
    }
    let passed = "- match: [{uri: {exact: /login}}]\n  route: [{destination: {host: reviews}}]\n- redirect: {uri: /login}";
    assert_eq!(of_rules(passed), []);
}

/// Each of many rules is compared with few others.
#[test]
fn ten_thousand_rules_are_looked_at_without_each_meeting_each() {
    let rule = |n: usize| {
        format!("- match: [{{uri: {{prefix: /p{n}/}}, headers: {{x: {{exact: a}}}}}}]\n  {ROUTE}\n")
    };
    let rules: String = (0..10_000).map(rule).collect();
    let found = of_rules(
        &(rules + "- match: [{uri: {exact: /p7/a}, headers: {x: {exact: a}}}]\n  " + ROUTE),
    );
    assert_eq!(found, [(Code::DeadRule, 20_007)]);
}

const SHOP: &str = "apiVersion: v1
kind: Service
metadata: {name: cart, namespace: default}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
";

fn shop(pods: &[(&str, bool)]) -> String {
    let all = pods.iter().enumerate().map(|(n, (app, meshed))| {
        let text = super::testing::pod(
            &format!("{app}-{n}"),
            &format!("10.1.0.{}", n + 1),
            app,
            "v1",
        );
        match meshed {
            true => text,
            false => text.replace("heddle.io/status", "x"),
        }
    });
    SHOP.to_owned() + &all.collect::<Vec<_>>().join("---\n")
}

fn codes_of(pods: &[(&str, bool)], text: &str) -> Vec<Code> {
    let mut model = model(&shop(pods));
    model.apply(batch(text).changes);
    let found = model.warnings().into_iter().filter(|w| w.name == "own");
    let mut codes: Vec<_> = found.map(|w| w.code).collect();
    codes.sort_unstable();
    codes
}

#[test]
fn policies_for_the_mesh_in_the_namespace_of_another() {
    let pods = &[("cart", true)];
    let policy = |namespace: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
             metadata: {{name: own, namespace: {namespace}}}\nspec: {{mtls: {{mode: STRICT}}}}\n"
        )
    };
    assert_eq!(
        codes_of(pods, &policy("istio-system")),
        [Code::PolicyOfNobody]
    );
    assert_eq!(
        codes_of(&[], &policy("istio-system")),
        [Code::PolicyOfNobody]
    );
    assert_eq!(codes_of(pods, &policy("heddle-system")), []);
    assert_eq!(codes_of(pods, &policy("later")), []);
}

/// The namespace's own policy is theirs, not the mesh's.
#[test]
fn the_mesh_s_policy_is_not_told_of_pods_with_another() {
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
        metadata: {name: own, namespace: heddle-system}\nspec: {mtls: {mode: STRICT}}\n";
    let own = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
        metadata: {name: narrower, namespace: default}\nspec: {mtls: {mode: PERMISSIVE}}\n";
    let pods = &[("cart", true), ("web", false)];
    assert!(codes_of(pods, text).contains(&Code::StrictUnguarded));
    let both = codes_of(pods, &format!("{text}{own}"));
    assert!(!both.contains(&Code::StrictUnguarded), "{both:?}");
}

#[test]
fn policies_that_lock_out_or_guard_nothing() {
    let strict = "mtls: {mode: STRICT}";
    let selects = |app: &str| format!("selector: {{matchLabels: {{app: {app}}}}}, {strict}");
    for (pods, spec, codes) in [
        (&[("cart", true)][..], strict.to_owned(), vec![]),
        (
            &[("cart", true), ("web", false)],
            strict.to_owned(),
            vec![Code::StrictUnguarded, Code::LockedOut],
        ),
        (
            &[("cart", true), ("web", false)],
            selects("cart"),
            vec![Code::LockedOut],
        ),
        (
            &[("cart", true), ("web", false)],
            "mtls: {mode: PERMISSIVE}".into(),
            vec![],
        ),
        (
            &[("cart", true), ("web", true)],
            selects("nobody"),
            vec![Code::PolicyOfNobody],
        ),
        (
            &[("cart", false)],
            selects("cart"),
            vec![Code::StrictUnguarded],
        ),
        (
            &[("cart", true)],
            "selector: {matchLabels: {app: cart}}, portLevelMtls: {'80': {mode: STRICT}}".into(),
            vec![Code::PortOfNoPod],
        ),
        (
            &[("cart", true)],
            "selector: {matchLabels: {app: cart}}, portLevelMtls: {'9080': {mode: STRICT}}".into(),
            vec![],
        ),
        (&[], strict.to_owned(), vec![]),
    ] {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: own, namespace: default}}\n\
             spec: {{{spec}}}\n"
        );
        assert_eq!(codes_of(pods, &text), codes, "{pods:?} {spec}");
    }
}

#[test]
fn client_tls_that_pods_do_not_accept() {
    let strict = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: all, namespace: default}\n\
                  spec: {mtls: {mode: STRICT}}\n";
    for (meshed, policy, mode, codes) in [
        (true, "", "DISABLE", vec![]),
        (true, strict, "DISABLE", vec![Code::TlsMismatch]),
        (true, strict, "SIMPLE", vec![Code::TlsMismatch]),
        (true, strict, "ISTIO_MUTUAL", vec![]),
        (false, "", "ISTIO_MUTUAL", vec![Code::TlsMismatch]),
        (false, "", "DISABLE", vec![]),
    ] {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: own, namespace: default}}\n\
             spec: {{host: cart, trafficPolicy: {{tls: {{mode: {mode}}}}}}}\n{policy}"
        );
        assert_eq!(
            codes_of(&[("cart", meshed)], &text),
            codes,
            "{meshed} {policy} {mode}"
        );
    }
}

#[test]
fn sidecars_that_see_nobody() {
    for (spec, consequence) in [
        ("egress: [{hosts: ['./*']}]", None),
        (
            "egress: [{hosts: ['*/cart.default.svc.cluster.local', 'shop/*']}]",
            Some("its pods see none of what it names"),
        ),
        (
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['shop/*']}]",
            Some("with REGISTRY_ONLY its pods can call nothing at all"),
        ),
        (
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['~/*']}]",
            None,
        ),
        (
            "workloadSelector: {labels: {app: nobody}}",
            Some("it is for nobody until such a pod comes"),
        ),
        ("workloadSelector: {labels: {app: cart}}", None),
    ] {
        let mut model = model(&shop(&[("cart", true)]));
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: own, namespace: default}}\nspec: {{{spec}}}\n"
        );
        model.apply(batch(&text).changes);
        let found = model.warnings().into_iter().filter(|w| w.name == "own");
        let found: Vec<String> = found.map(|w| w.consequence).collect();
        assert_eq!(found, consequence.into_iter().collect::<Vec<_>>(), "{spec}");
    }
}

#[test]
fn services_that_declare_nothing_and_have_no_sidecars() {
    for (port, code) in [
        ("{name: web, port: 80}", Some(Code::UndeclaredPort)),
        ("{port: 80}", Some(Code::UndeclaredPort)),
        ("{name: http-web, port: 80}", None),
        ("{name: web, port: 80, appProtocol: http}", None),
        ("{name: db, port: 5432}", None),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: own, namespace: default}}\nspec: {{ports: [{port}]}}\n"
        );
        assert_eq!(
            codes_of(&[], &text),
            code.into_iter().collect::<Vec<_>>(),
            "{port}"
        );
    }
    let routes = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: own, namespace: default}\n\
                  spec: {hosts: [cart], http: [{route: [{destination: {host: cart}}]}]}\n";
    assert_eq!(codes_of(&[("cart", false)], routes), [Code::NotMeshed]);
    assert_eq!(codes_of(&[("cart", true), ("cart", false)], routes), []);
}

#[test]
fn admission_judges_one_object_and_changes_nothing() {
    use crate::check::{Severity, admission};
    let model = model(&shop(&[("cart", true)]));
    let before = (model.version, model.service_count(), model.refusals());
    let object = |text: &str| match batch(text).changes.remove(0) {
        crate::source::Change::Upsert(object) => object,
        crate::source::Change::Remove(_) => unreachable!(),
    };
    let routes = |subset: &str| {
        let to = format!("{{host: cart{subset}}}");
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: own, namespace: default}}\n\
             spec: {{hosts: [cart], http: [{{route: [{{destination: {to}}}]}}, {{route: [{{destination: {{host: cart}}}}]}}]}}\n"
        )
    };
    let told = |text: &str| -> Vec<(Code, Severity)> {
        admission(&model, &object(text))
            .iter()
            .map(|r| (r.code, r.severity))
            .collect()
    };
    assert_eq!(told(&routes("")), [(Code::DeadRule, Severity::Warning)]);
    assert_eq!(
        told(&routes(", subset: v1")),
        [
            (Code::NoSubset, Severity::Warning),
            (Code::DeadRule, Severity::Warning)
        ]
    );
    assert_eq!(
        (model.version, model.service_count(), model.refusals()),
        before
    );
    let mut model = model;
    let rule = |subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: cart, namespace: default}}\n\
             spec: {{host: cart, subsets: [{{name: {subset}, labels: {{version: v1}}}}]}}\n"
        )
    };
    model.apply(batch(&rule("v1")).changes);
    model.apply(batch(&routes(", subset: v1")).changes);
    let found = admission(&model, &object(&rule("v2")));
    assert_eq!(
        (found[0].code, found[0].severity),
        (Code::SubsetInUse, Severity::Error)
    );
}

/// Codes of redirects in a circle with their lines, and what is said, of documents beside `cart` (ports 80 and 8080) and `web`.
fn circles(documents: &str) -> Vec<(String, u32, String)> {
    circles_in(&[documents])
}

/// The same of several files.
fn circles_in(files: &[&str]) -> Vec<(String, u32, String)> {
    let services = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: default}\n\
                    spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: http-b, port: 8080}]}\n\
                    ---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
                    spec: {clusterIP: 10.0.0.2, ports: [{name: http, port: 80}]}\n";
    let mut model = model(services);
    for documents in files {
        model.apply(batch(documents).changes);
    }
    assert!(model.refusals().is_empty(), "{:?}", model.refusals());
    let found = model.warnings().into_iter();
    let found = found.filter(|one| one.code == Code::RedirectLoop);
    let mut found: Vec<_> = found
        .map(|one| (one.name, one.at.line, one.reason))
        .collect();
    found.sort();
    found
}

/// A VirtualService; its first rule stands in line 7.
fn redirecting(name: &str, host: &str, rules: &[&str]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|rule| format!("  - {{{rule}}}\n"))
        .collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  hosts: [{host}]\n  http:\n{}---\n",
        rules.concat()
    )
}

#[test]
fn redirects_in_a_circle_over_several_rules() {
    const CART: &str = "route: [{destination: {host: cart}}]";
    for (rules, lines) in [
        // From one to the other and back.
        (
            &[
                "match: [{uri: {exact: /a}}], redirect: {uri: /b}",
                "match: [{uri: {exact: /b}}], redirect: {uri: /a}",
            ][..],
            &[7, 8][..],
        ),
        // The first only leads to the circle.
        (
            &[
                "match: [{uri: {exact: /in}}], redirect: {uri: /a}",
                "match: [{uri: {exact: /a}}], redirect: {uri: /b}",
                "match: [{uri: {exact: /b}}], redirect: {uri: /c}",
                "match: [{uri: {exact: /c}}], redirect: {uri: /a}",
            ],
            &[8, 9, 10],
        ),
        // Somebody takes what would come back.
        (
            &[
                "match: [{uri: {exact: /a}, port: 80}], route: [{destination: {host: cart}}]",
                "match: [{uri: {exact: /a}}], redirect: {uri: /b}",
                "match: [{uri: {exact: /b}}], redirect: {uri: /a, port: 80}",
            ],
            &[],
        ),
        // One way only.
        (
            &[
                "match: [{uri: {exact: /a}}], redirect: {uri: /b}",
                "match: [{uri: {exact: /b}}], route: [{destination: {host: cart}}]",
                "redirect: {uri: /b}",
            ],
            &[],
        ),
        // Who asks for a header has it the next time too.
        (
            &[
                "match: [{headers: {x: {exact: '1'}}, uri: {prefix: /a}}], redirect: {uri: /b}",
                "match: [{headers: {x: {prefix: '1'}}, uri: {prefix: /b}}], redirect: {uri: /a}",
                CART,
            ],
            &[7, 8],
        ),
        (
            &[
                "match: [{headers: {x: {exact: '1'}}, uri: {prefix: /a}}], redirect: {uri: /b}",
                "match: [{headers: {x: {exact: '2'}}, uri: {prefix: /b}}], redirect: {uri: /a}",
                CART,
            ],
            &[],
        ),
        // After a 303 a POST is a GET.
        (
            &[
                "match: [{method: {exact: POST}}], redirect: {uri: /a, redirectCode: 303}",
                CART,
            ],
            &[],
        ),
        (
            &[
                "match: [{method: {exact: POST}}], redirect: {uri: /a, redirectCode: 307}",
                CART,
            ],
            &[7],
        ),
        // To TLS, of which nobody sees what follows; and what is never redirected.
        (&["redirect: {scheme: https}"], &[]),
        (
            &["redirect: {uri: /a}, fault: {abort: {httpStatus: 410, percentage: {value: 100}}}"],
            &[],
        ),
        // Who is given a cookie on the way has it the next time.
        (
            &[
                "match: [{withoutHeaders: {cookie: {}}}], redirect: {uri: /}, headers: {response: {add: {Set-Cookie: seen=1}}}",
                CART,
            ],
            &[],
        ),
        // Of certain clients.
        (
            &[
                "match: [{sourceLabels: {app: web}, uri: {prefix: /a}}], redirect: {uri: /a/b}",
                CART,
            ],
            &[7],
        ),
    ] {
        let found = circles(&redirecting("own", "cart", rules));
        let found: Vec<u32> = found.iter().map(|(_, line, _)| *line).collect();
        assert_eq!(found, lines, "{rules:#?}");
    }
}

/// In files, and in a cluster all the more, many objects say the same at the same place.
#[test]
fn redirects_in_a_circle_of_routes_that_are_written_alike() {
    let rules = ["match: [{uri: {exact: /a}}], redirect: {uri: /a}"];
    let cart = redirecting("one", "cart", &rules);
    let web = redirecting("two", "web.shop.svc.cluster.local", &rules);
    let found = circles_in(&[&cart, &web]);
    let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["one", "two"], "{found:#?}");
    assert_eq!(found[0].1, found[1].1);
}

#[test]
fn redirects_in_a_circle_over_hosts_and_languages() {
    let cart = redirecting(
        "own",
        "cart",
        &[
            "match: [{uri: {prefix: /shop}}], redirect: {authority: web.shop.svc.cluster.local, uri: /cart}",
        ],
    );
    let route = |namespace: &str, to: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: {namespace}}}\n\
             spec:\n  parentRefs: [{{group: '', kind: Service, name: web, namespace: shop}}]\n  rules:\n\
             \x20 - matches: [{{path: {{value: /cart}}}}]\n\
             \x20   filters: [{{type: RequestRedirect, requestRedirect: {{hostname: {to}, \
             path: {{type: ReplacePrefixMatch, replacePrefixMatch: /shop}}}}}}]\n"
        )
    };
    let there_and_back = cart.clone() + &route("shop", "cart.default");
    let found = circles(&there_and_back);
    let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["own", "web"], "{found:#?}");
    assert!(found[0].2.contains("HTTPRoute/shop/web#0"), "{found:#?}");
    // Only clients of that namespace meet these routes; and a host of nobody's is not followed.
    let found = circles(&(cart.clone() + &route("elsewhere", "cart.default")));
    let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["web"], "{found:#?}");
    assert_eq!(circles(&(cart + &route("shop", "cart.elsewhere"))), []);
}

#[test]
fn redirects_to_ever_longer_paths() {
    let route = |prefix: &str, to: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: own, namespace: default}}\n\
             spec:\n  parentRefs: [{{group: '', kind: Service, name: cart}}]\n  rules:\n\
             \x20 - matches: [{{path: {{value: {prefix}}}}}]\n\
             \x20   filters: [{{type: RequestRedirect, requestRedirect: {{\
             path: {{type: ReplacePrefixMatch, replacePrefixMatch: {to}}}}}}}]\n"
        )
    };
    for (prefix, to, grows) in [
        ("/", "/v1", true),
        ("/a", "/a/b", true),
        ("/a", "/b", false),
        ("/a", "/", false),
        ("/a/b", "/a", false),
    ] {
        let found = circles(&route(prefix, to));
        assert_eq!(found.len(), usize::from(grows), "{prefix} {to}: {found:?}");
        assert!(
            found.iter().all(|(.., said)| said.contains("never ends")),
            "{found:?}"
        );
    }
}

/// Each of many redirects is followed, without each being held against each.
#[test]
fn ten_thousand_redirects_are_followed() {
    let mut rules: Vec<String> = (0..10_000)
        .map(|n| format!("match: [{{uri: {{exact: /p{n}}}}}], redirect: {{uri: /q{n}}}"))
        .collect();
    rules.push("match: [{uri: {exact: /q7}}], redirect: {uri: /p7}".to_owned());
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let found = circles(&redirecting("own", "cart", &rules));
    let lines: Vec<u32> = found.iter().map(|(_, line, _)| *line).collect();
    assert_eq!(lines, [14, 10_007]);
}
