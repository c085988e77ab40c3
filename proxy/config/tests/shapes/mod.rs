//! Route tables of one shape and any size, with requests that they must answer.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use heddle_proxy_config::route::{
    Field, FieldMatch, HttpMatch, HttpTable, QueryMatch, StringMatch, Work,
};
use heddle_proxy_config::snapshot::{Destination, HttpRule, Name};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// A request, and the rule that must take it.
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
    authority: String,
    headers: HeaderMap,
    port: u16,
    rule: usize,
}

/// The rules of one shape, and requests for a rule of that number.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) most: usize,
    rule: fn(usize) -> HttpMatch,
    ask: fn(usize, &mut Asked),
}

impl Asked {
    /// Finds the rule in the table; false when it is not the one.
    pub(crate) fn find(&self, table: &HttpTable) -> (bool, Work) {
        let (found, work) = table.find_counting(
            &self.method,
            &self.uri,
            &self.authority,
            &self.headers,
            self.port,
        );
        (found == Some(self.rule), work)
    }

    fn path(&mut self, path: String) {
        self.uri = path.parse().unwrap();
    }

    fn header(&mut self, name: &str, value: String) {
        self.headers.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(&value).unwrap(),
        );
    }
}

impl Shape {
    /// `size` rules of this shape, and a last one that takes every request.
    pub(crate) fn table(&self, size: usize) -> HttpTable {
        let rules = (0..size).map(|n| (vec![(self.rule)(n)], rule()));
        HttpTable::new(rules.chain([(vec![], rule())]).collect()).unwrap()
    }

    /// Requests for the first rule, the last, some between, and one that fits none but the catch-all.
    pub(crate) fn requests(&self, size: usize) -> Vec<Asked> {
        let steps = (0..size).step_by((size / 100).max(1)).chain([size - 1]);
        let mut asked: Vec<Asked> = steps
            .map(|n| {
                let mut asked = plain(n);
                (self.ask)(n, &mut asked);
                asked
            })
            .collect();
        asked.push(plain(size));
        asked
    }
}

fn plain(rule: usize) -> Asked {
    let mut asked = Asked {
        method: Method::GET,
        uri: Uri::from_static("/none?q=1"),
        authority: "a:80".into(),
        headers: HeaderMap::new(),
        port: 80,
        rule,
    };
    for name in [
        "accept",
        "user-agent",
        "x-request-id",
        "content-type",
        "traceparent",
    ] {
        asked.header(name, "something".into());
    }
    asked
}

fn rule() -> HttpRule {
    HttpRule {
        origin: Arc::from("VirtualService/default/a#1 (a.yaml:1)"),
        destinations: vec![Destination {
            service: Name::new("default/a"),
            subset: None,
            port: None,
            weight: 1,
        }],
        ..HttpRule::default()
    }
}

fn path(path: StringMatch) -> HttpMatch {
    HttpMatch {
        path: Some(path),
        ..HttpMatch::default()
    }
}

fn with_header(mut matcher: HttpMatch, name: &str, value: StringMatch) -> HttpMatch {
    let field = Field::parse(name).unwrap();
    matcher.headers = vec![FieldMatch { field, value }];
    matcher
}

/// Every shape whose cost must not grow.
pub(crate) const SHAPES: [Shape; 14] = [
    Shape {
        name: "exact path",
        most: usize::MAX,
        rule: |n| path(StringMatch::exact(&format!("/items/{n}"))),
        ask: |n, asked| asked.path(format!("/items/{n}?q")),
    },
    Shape {
        name: "exact path in any case",
        most: usize::MAX,
        rule: |n| HttpMatch {
            ignore_path_case: true,
            ..path(StringMatch::exact(&format!("/Items/{n}")))
        },
        ask: |n, asked| asked.path(format!("/iTEMS/{n}")),
    },
    Shape {
        name: "prefix",
        most: usize::MAX,
        rule: |n| path(StringMatch::prefix(&format!("/svc-{n}/"))),
        ask: |n, asked| asked.path(format!("/svc-{n}/orders/12345")),
    },
    Shape {
        name: "prefixes of many lengths, longest first",
        most: usize::MAX,
        rule: |n| {
            let text = format!("/team-{}/{}", n / 2, "service/".repeat(n / 2 % 40));
            path(StringMatch::prefix(&format!(
                "{text}{}",
                ["v1/", ""][n % 2]
            )))
        },
        ask: |n, asked| {
            let text = format!("/team-{}/{}", n / 2, "service/".repeat(n / 2 % 40));
            asked.path(format!("{text}{}", ["v1/x", "v2/x"][n % 2]));
        },
    },
    Shape {
        name: "prefix / and a header",
        most: usize::MAX,
        rule: |n| {
            let value = StringMatch::exact(&format!("tenant-{n}"));
            with_header(path(StringMatch::prefix("/")), "x-tenant", value)
        },
        ask: |n, asked| asked.header("x-tenant", format!("tenant-{n}")),
    },
    Shape {
        name: "a header of its own",
        most: usize::MAX,
        rule: |n| {
            let name = format!("x-canary-{n}");
            with_header(HttpMatch::default(), &name, StringMatch::Present)
        },
        ask: |n, asked| asked.header(&format!("x-canary-{n}"), "1".into()),
    },
    Shape {
        name: "the beginning of a header",
        most: usize::MAX,
        rule: |n| {
            let value = StringMatch::prefix(&format!("Bearer {n}."));
            with_header(HttpMatch::default(), "authorization", value)
        },
        ask: |n, asked| asked.header("authorization", format!("Bearer {n}.abc.def")),
    },
    Shape {
        name: "authority",
        most: usize::MAX,
        rule: |n| HttpMatch {
            authority: Some(StringMatch::exact(&format!("t{n}.example.com"))),
            ..path(StringMatch::prefix("/"))
        },
        ask: |n, asked| asked.authority = format!("t{n}.example.com"),
    },
    Shape {
        name: "query parameter",
        most: usize::MAX,
        rule: |n| HttpMatch {
            query: vec![QueryMatch {
                name: "user".into(),
                value: StringMatch::exact(&n.to_string()),
            }],
            ..HttpMatch::default()
        },
        ask: |n, asked| asked.path(format!("/x?a=b&user={n}&c")),
    },
    Shape {
        name: "port and method",
        most: usize::MAX,
        rule: |n| HttpMatch {
            port: Some(1000 + (n / 4) as u16),
            method: Some(StringMatch::exact(["GET", "POST", "PUT", "DELETE"][n % 4])),
            ..HttpMatch::default()
        },
        ask: |n, asked| {
            asked.port = 1000 + (n / 4) as u16;
            asked.method = [Method::GET, Method::POST, Method::PUT, Method::DELETE][n % 4].clone();
        },
    },
    Shape {
        name: "100 prefixes by 100 headers",
        most: usize::MAX,
        rule: |n| {
            let value = StringMatch::exact(&format!("tenant-{}", n % 100));
            let prefix = StringMatch::prefix(&format!("/svc-{}/", n / 100));
            with_header(path(prefix), "x-tenant", value)
        },
        ask: |n, asked| {
            asked.path(format!("/svc-{}/x", n / 100));
            asked.header("x-tenant", format!("tenant-{}", n % 100));
        },
    },
    Shape {
        name: "one path, with and without a header",
        most: usize::MAX,
        rule: |n| {
            let matcher = path(StringMatch::exact(&format!("/items/{}", n / 2)));
            if n % 2 == 0 {
                with_header(matcher, "user-type", StringMatch::exact("premium"))
            } else {
                matcher
            }
        },
        ask: |n, asked| {
            asked.path(format!("/items/{}", n / 2));
            if n % 2 == 0 {
                asked.header("user-type", "premium".into());
            }
        },
    },
    Shape {
        name: "regex that is a prefix",
        most: usize::MAX,
        rule: |n| path(StringMatch::regex(&format!("/svc-{n}/.*")).unwrap()),
        ask: |n, asked| asked.path(format!("/svc-{n}/orders")),
    },
    Shape {
        name: "regex with a beginning of its own",
        most: 1000,
        rule: |n| path(StringMatch::regex(&format!("/svc-{n}/[a-z]+")).unwrap()),
        ask: |n, asked| asked.path(format!("/svc-{n}/orders")),
    },
];
