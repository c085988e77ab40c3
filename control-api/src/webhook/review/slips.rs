//! What people who are new to these kinds write, each told with its line, the reason and what to write
//! instead; in files as at admission, since both are one reader.

#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::{API_VERSION, KIND, answer};
use crate::{
    model::{Model, Settings, testing},
    push::Hub,
    resources::labels::Interner,
    source::{
        Change, Refusal,
        document::split,
        node::Node,
        read::{Item, read},
    },
};

const RENDER: &str =
    "render it first; a chart of Helm with `helm template CHART | heddle check -f -`";

/// What is written as the rules of a VirtualService, from line 7 on; the underlined line and column; a part of
/// the reason; what to write.
const RULES: &[(&str, (u32, u32), &str, &str)] = &[
    (
        "- {timeout: 5, @}",
        (7, 15),
        "the number 5",
        "write `timeout: 5s`",
    ),
    (
        "- {timeout: '5', @}",
        (7, 15),
        "\"5\"",
        "write `timeout: 5s`",
    ),
    (
        "- {timeout: 5 seconds, @}",
        (7, 15),
        "expected a duration",
        "write `timeout: 5s`",
    ),
    (
        "- {timeout: 3000, @}",
        (7, 15),
        "expected a duration",
        "write `timeout: 3000s`, or `timeout: 3000ms`",
    ),
    (
        "- {retries: 3, @}",
        (7, 15),
        "expected a mapping",
        "write `retries: {attempts: 3}`",
    ),
    (
        "- {retries: {attempts: 3, retryOn: [5xx, reset]}, @}",
        (7, 38),
        "found a list",
        "write `retryOn: \"5xx,reset\"`",
    ),
    (
        "- {match: [{headers: {end-user: jason}}], @}",
        (7, 35),
        "found \"jason\"",
        "write `end-user: {exact: jason}`",
    ),
    (
        "- {match: [{headers: {x-v: 2}}], @}",
        (7, 30),
        "the number 2",
        "write `x-v: {exact: \"2\"}`",
    ),
    (
        "- {match: [{headers: {x-v: {exact: yes}}}], @}",
        (7, 38),
        "found `true`",
        "put the value in quotes: `exact: \"yes\"`",
    ),
    (
        "- {match: [{headers: {x-v: {value: a}}}], @}",
        (7, 31),
        "unknown field `value`",
        "write `exact: a`",
    ),
    (
        "- {match: [{uri: /api}], @}",
        (7, 20),
        "found \"/api\"",
        "write `uri: {prefix: /api}`",
    ),
    (
        "- {match: [{path: /api}], @}",
        (7, 15),
        "unknown field `path`",
        "write `uri: {prefix: /api}`",
    ),
    (
        "- {match: [{method: GET}], @}",
        (7, 23),
        "found \"GET\"",
        "write `method: {exact: GET}`",
    ),
    (
        "- {match: {uri: {prefix: /a}}, @}",
        (7, 13),
        "expected a list",
        "write `match: [{uri: {prefix: /a}}]`",
    ),
    (
        "- match:\n    uri:\n      prefix: /a\n  route: []",
        (8, 7),
        "expected a list",
        "write `match: [{uri: {prefix: /a}}]`",
    ),
    (
        "- {match: [{port: {number: 80}}], @}",
        (7, 21),
        "found a mapping",
        "write `port: 80`",
    ),
    (
        "- route: [{destination: {host: cart, port: 80}}]",
        (7, 46),
        "the number 80",
        "write `port: {number: 80}`",
    ),
    (
        "- route: [{destination: {host: cart, port: http}}]",
        (7, 46),
        "\"http\"",
        "write `port: {number: 80}`",
    ),
    (
        "- route: [{destination: {host: cart, port: {number: '80'}}}]",
        (7, 55),
        "found \"80\"",
        "write `number: 80`",
    ),
    (
        "- route: [{destination: {host: 'cart:80'}}]",
        (7, 34),
        "no host name",
        "write `host: cart`; and beside it `port: {number: 80}`",
    ),
    (
        "- route: [{destination: {host: 'http://cart/a'}}]",
        (7, 34),
        "no host name",
        "write `host: cart`; the path is not the host's: `uri: {prefix: /a}` matches it",
    ),
    (
        "- route: [{destination: {host: cart-v2}}]",
        (7, 34),
        "no service",
        "if a version of `cart` is meant: `{host: cart, subset: v2}`",
    ),
    (
        "- route: [{destination: {host: cart, subset: v2}}]",
        (7, 48),
        "no DestinationRule",
        "define it in a DestinationRule: `spec: {host: cart, subsets: [{name: v2, labels: {version: v2}}]}`",
    ),
    (
        "- route: [{destination: cart}]",
        (7, 27),
        "found \"cart\"",
        "write `destination: {host: cart}`",
    ),
    (
        "- route: [{destination: 'cart:80'}]",
        (7, 27),
        "found \"cart:80\"",
        "write `destination: {host: cart, port: {number: 80}}`",
    ),
    (
        "- route:\n  - destination:\n      host:cart",
        (9, 9),
        "found \"host:cart\"",
        "write `destination: {host: cart}`",
    ),
    (
        "- route: [{host: cart}]",
        (7, 14),
        "unknown field `host`",
        "write `destination: {host: cart}`",
    ),
    (
        "- route: cart",
        (7, 12),
        "expected a list",
        "write `route: [{destination: {host: cart}}]`",
    ),
    (
        "- route: {destination: {host: cart}}",
        (7, 12),
        "expected a list",
        "write `route: [{destination: {host: cart}}]`",
    ),
    (
        "- route: [{destination: {host: cart}, weight: '90'}]",
        (7, 49),
        "found \"90\"",
        "write `weight: 90`",
    ),
    (
        "- route: [{destination: {host: cart}, weight: 90%}]",
        (7, 49),
        "found \"90%\"",
        "write `weight: 90`",
    ),
    (
        "- route: [{destination: {host: cart}, weight: 0.9}]",
        (7, 49),
        "the number 0.9",
        "write `weight: 90`",
    ),
    (
        "- {mirror: cart, @}",
        (7, 14),
        "found \"cart\"",
        "write `mirror: {host: cart}`",
    ),
    (
        "- {mirror: {host: cart}, mirrorPercentage: 10%, @}",
        (7, 46),
        "found \"10%\"",
        "write `mirrorPercentage: {value: 10}`",
    ),
    (
        "- {fault: {delay: {fixedDelay: 3s, percentage: 50}}, @}",
        (7, 50),
        "the number 50",
        "write `percentage: {value: 50}`",
    ),
    (
        "- {fault: {delay: {fixedDelay: 3s, percentage: {value: 50%}}}, @}",
        (7, 58),
        "\"50%\"",
        "write `value: 50`",
    ),
    (
        "- {fault: {abort: {httpStatus: '503'}}, @}",
        (7, 34),
        "\"503\"",
        "write `httpStatus: 503`",
    ),
    (
        "- {rewrite: /x, @}",
        (7, 15),
        "found \"/x\"",
        "write `rewrite: {uri: /x}`",
    ),
    (
        "- redirect: /x",
        (7, 15),
        "found \"/x\"",
        "write `redirect: {uri: /x}`",
    ),
    (
        "- {headers: {x-a: b}, @}",
        (7, 16),
        "unknown field `x-a`",
        "write `request: {set: {x-a: b}}`",
    ),
    (
        "- {headers: {request: {set: [x-a: b, x-c: d]}}, @}",
        (7, 31),
        "found a list",
        "write `set: {x-a: b, x-c: d}`",
    ),
    (
        "- {corsPolicy: {allowOrigins: ['https://a.example']}, @}",
        (7, 34),
        "expected a mapping",
        "write `{exact: \"https://a.example\"}`",
    ),
    (
        "  route:\n  - destination: {host: cart}",
        (7, 5),
        "expected a list",
        "write `http: [{route: [{destination: {host: cart}}]}]`",
    ),
    (
        "- route: [{destination: {host: \"{{ .Values.host }}\"}}]",
        (7, 34),
        "no host name",
        RENDER,
    ),
];

/// Whole documents: the underlined line and column, a part of the reason, what to write.
const DOCUMENTS: &[(&str, (u32, u32), &str, &str)] = &[
    (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: own}\nspec: {hosts: ['https://cart']}\n",
        (4, 16),
        "no host name",
        "write `cart`",
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: own}\nspec: {hosts: ['cart:80']}\n",
        (4, 16),
        "no host name",
        "write `cart`; one of its ports is asked for by `match: [{port: 80}]`",
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: own}\nspec: {hosts: cart}\n",
        (4, 15),
        "expected a list",
        "write `hosts: [cart]`",
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: own}\nspec: {host: 'cart:80'}\n",
        (4, 14),
        "no host name",
        "write `host: cart`; what is for one port alone is in `portLevelSettings: [{port: {number: 80}}]`",
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: own}\nspec: {host: cart, subsets: [{name: v1, version: v1}]}\n",
        (4, 41),
        "unknown field `version`",
        "write `labels: {version: v1}`",
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: own}\nspec: {host: cart, trafficPolicy: {loadBalancer: round_robin}}\n",
        (4, 50),
        "expected a mapping",
        "write `loadBalancer: {simple: ROUND_ROBIN}`",
    ),
    (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: own}\nspec: {mtls: STRICT}\n",
        (4, 14),
        "expected a mapping",
        "write `mtls: {mode: STRICT}`",
    ),
    (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: own}\nspec: {rules: [{timeouts: {request: 5}}]}\n",
        (4, 37),
        "the number 5",
        "write `request: 5s`",
    ),
    (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: own}\nspec: {rules: [{timeouts: {request: 1.5s}}]}\n",
        (4, 37),
        "no duration",
        "write `1500ms`",
    ),
    (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: own}\nspec: {rules: [{timeouts: 5s}]}\n",
        (4, 27),
        "expected a mapping",
        "write `timeouts: {request: 5s}`",
    ),
    (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: own}\nspec: {rules: [{matches: [{path: /api}]}]}\n",
        (4, 34),
        "expected a mapping",
        "write `path: {type: PathPrefix, value: /api}`",
    ),
    (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: own}\nspec: {rules: [{matches: [{headers: {end-user: jason}}]}]}\n",
        (4, 37),
        "expected a list",
        "write `headers: [{name: end-user, value: jason}]`",
    ),
];

/// What no API server passes on, since it is no object.
const TEXTS: &[(&str, (u32, u32), &str, &str)] = &[
    (
        "  timeout: {{ .Values.timeout }}\n",
        (4, 12),
        "not rendered: `{{ .Values.timeout }}`",
        RENDER,
    ),
    (
        "  {{- range .Values.routes }}\n  a: b\n  {{- end }}\n",
        (4, 3),
        "not rendered: `{{- range .Values.routes }}`",
        RENDER,
    ),
    (
        "  hosts: [{{ .Values.host }}]\n",
        (4, 11),
        "not rendered: `{{ .Values.host }}`",
        RENDER,
    ),
    (
        "\thosts: [cart]\n",
        (4, 1),
        "begins with a tab",
        "write two spaces for each tab: `  hosts: [cart]`",
    ),
    (
        "  hosts:\n\t- cart\n",
        (5, 1),
        "begins with a tab",
        "write two spaces for each tab: `  - cart`",
    ),
    // A comment's braces, and those of a text, are none of a template's.
    (
        "  # {{ .Values.x }}\n  hosts: ['{{ .Values.x }}']\n\n  http: [\n",
        (7, 9),
        "not valid YAML",
        "",
    ),
];

/// The first line of what `kind:` and `apiVersion:` may be misspelt as.
const KINDS: &[(&str, &str, (u32, u32), &str)] = &[
    (
        "networking.istio.io/v1",
        "VirtualSerivce",
        (2, 7),
        "did you mean `VirtualService`?",
    ),
    (
        "networking.istio.io/v1",
        "virtualservice",
        (2, 7),
        "did you mean `VirtualService`?",
    ),
    (
        "networking.istio.io/v1alpha4",
        "VirtualService",
        (1, 13),
        "write `apiVersion: networking.istio.io/v1`",
    ),
    (
        "networking.istio.io",
        "VirtualService",
        (1, 13),
        "write `apiVersion: networking.istio.io/v1`",
    ),
    (
        "networking.istoi.io/v1",
        "VirtualService",
        (1, 13),
        "write `apiVersion: networking.istio.io/v1`",
    ),
    (
        "gateway.networking.k8s.io/v1alpha2",
        "HTTPRoute",
        (1, 13),
        "write `apiVersion: gateway.networking.k8s.io/v1`",
    ),
];

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: cart}\nspec: {ports: [{name: http, port: 80}]}\n";

fn rules(http: &str) -> String {
    let http = http.replace('@', "route: [{destination: {host: cart}}]");
    let http: String = http.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: own}}\nspec:\n  hosts: [cart]\n  \
         http:\n{http}"
    )
}

/// What a file is told, first by the reader and then by the model.
fn in_a_file(text: &str) -> Vec<Refusal> {
    let mut model = Model::new(Settings::default());
    model.apply(testing::batch(SERVICE).changes);
    let mut found = Vec::new();
    for document in split(text) {
        for item in read(&document, None, &mut Interner::default()) {
            match item {
                Item::Good(object) => drop(model.apply(vec![Change::Upsert(object)])),
                Item::Bad { refusals, .. } => found.extend(refusals),
            }
        }
    }
    found.extend(model.refusals());
    found
}

#[track_caller]
fn is_told(text: &str, place: (u32, u32), reason: &str, suggestion: &str) {
    let found = in_a_file(text);
    let first = found
        .first()
        .unwrap_or_else(|| panic!("nothing is told of\n{text}"));
    assert_eq!((first.at.line, first.at.column), place, "{first:?}\n{text}");
    assert!(first.reason.contains(reason), "{first:?}\n{text}");
    assert_eq!(first.suggestion, suggestion, "{first:?}\n{text}");
}

/// What the API server passes on of it to whoever writes the object.
fn at_admission(text: &str) -> String {
    let hub = Hub::new(Model::new(Settings::default()));
    hub.apply(testing::batch(SERVICE));
    let object = Node::parse(text, 0).unwrap().to_json();
    let request =
        json!({"uid": "1", "operation": "CREATE", "namespace": "default", "object": object});
    let review = json!({"apiVersion": API_VERSION, "kind": KIND, "request": request});
    answer(review.to_string().as_bytes(), &hub).unwrap()["response"].to_string()
}

#[test]
fn a_beginners_slip_is_told_with_what_to_write() {
    let documents = DOCUMENTS
        .iter()
        .map(|(text, place, reason, say)| (text.to_string(), place, reason, say));
    let rules = RULES
        .iter()
        .map(|(http, place, reason, say)| (rules(http), place, reason, say));
    for (text, place, reason, suggestion) in documents.chain(rules) {
        is_told(&text, *place, reason, suggestion);
        let response = at_admission(&text);
        let suggestion = suggestion.replace('"', "\\\"");
        let text_alone = suggestion.starts_with("put the value in quotes");
        assert!(
            text_alone || response.contains(&suggestion),
            "{response}\n{text}"
        );
    }
    for (body, place, reason, suggestion) in TEXTS {
        let text =
            format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec:\n{body}");
        is_told(&text, *place, reason, suggestion);
    }
    for (version, kind, place, suggestion) in KINDS {
        let text =
            format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: own}}\nspec: {{}}\n");
        is_told(&text, *place, "unknown", suggestion);
    }
}

/// What is suggested for a value is what the reader then takes, except where it is of a field beside it.
#[test]
fn what_is_suggested_is_read() {
    let mut tried = 0;
    for (http, _, _, suggestion) in RULES {
        let Some(written) = suggestion
            .strip_prefix("write `")
            .and_then(|rest| rest.strip_suffix('`'))
        else {
            continue;
        };
        let Some((key, value)) = written
            .split_once(": ")
            .filter(|_| !written.contains("`, or `"))
        else {
            continue;
        };
        let slip = ["port: {number: '80'}", "port: {number: 80}", "port: 80"];
        let slip = slip
            .iter()
            .find(|slip| http.contains(**slip) && written.contains("80"));
        let mended = match (key, slip) {
            // The value stands behind its key, up to what closes it.
            (_, None) if http.starts_with("- {") && http.contains(&format!("- {{{key}: ")) => {
                let start = http.find(&format!("{key}: ")).unwrap();
                let end = http.rfind(", @").unwrap();
                http.replace(&http[start..end], written)
            }
            ("port", Some(slip)) => http.replace(slip, written),
            ("number", Some(_)) => http.replace("'80'", value),
            _ => continue,
        };
        let found = in_a_file(&rules(&mended));
        assert!(
            found.iter().all(|one| one.suggestion.is_empty()),
            "{found:?}\n{mended}"
        );
        tried += 1;
    }
    assert!(tried >= 8, "{tried}");
}
