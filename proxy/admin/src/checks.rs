//! What the injector wrote down about the app: its probes and hooks by the path under which the kubelet asks the
//! sidecar for them, and where its metrics are. Parsed once, everything checked: an unknown key, a path of another
//! shape, a port that is none is refused by name, and nothing but what is written here is ever asked of the app.

mod raw;

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderMap;
use http::uri::PathAndQuery;

/// Five for each of more containers than a pod has.
const LIMIT: usize = 512;
/// The kubelet's own default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// A value that was refused: where, what, and what is allowed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);

/// The app's probes or hooks by path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppChecks(HashMap<String, Check>);

/// One probe or hook.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) action: Action,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Http(HttpGet),
    Tcp { port: u16 },
    Grpc { port: u16, service: String },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpGet {
    pub(crate) tls: bool,
    pub(crate) port: u16,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    /// What the app is called, when it is not called by its address.
    pub(crate) host: Option<String>,
}

/// Where the app serves its own metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppMetrics {
    pub(crate) port: u16,
    pub(crate) path: PathAndQuery,
}

impl AppChecks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn check(&self, path: &str) -> Option<&Check> {
        self.0.get(path)
    }
}

impl FromStr for AppChecks {
    type Err = Invalid;

    /// From the injector's JSON; empty text is none.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let checks = raw::checks(text)?;
        if checks.len() > LIMIT {
            return Err(Invalid(format!(
                "{} paths are more than the {LIMIT} that are allowed",
                checks.len()
            )));
        }
        let checked = checks.into_iter().map(|(path, raw)| {
            let named = |Invalid(reason)| Invalid(format!("{path}: {reason}"));
            let check = of_known_shape(&path)
                .and_then(|()| raw.check())
                .map_err(named)?;
            Ok((path, check))
        });
        checked.collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for AppMetrics {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        raw::metrics(text)
    }
}

fn of_known_shape(path: &str) -> Result<(), Invalid> {
    let words: Vec<&str> = path.split('/').collect();
    match words[..] {
        ["", "app-health", container, "readyz" | "livez" | "startupz"]
        | ["", "app-lifecycle", container, "prestopz" | "poststartz"]
            if is_container_name(container) =>
        {
            Ok(())
        }
        _ => Err(Invalid(
            "the path is none that the kubelet is sent to; allowed: /app-health/CONTAINER/{readyz,livez,startupz} and \
             /app-lifecycle/CONTAINER/{prestopz,poststartz}"
                .into(),
        )),
    }
}

fn is_container_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<AppChecks>().unwrap_err().to_string()
    }

    fn with(check: &str) -> String {
        format!(r#"{{"/app-health/web/readyz": {check}}}"#)
    }

    #[test]
    fn the_injectors_words_are_understood() {
        let checks: AppChecks = r#"{
            "/app-health/web/readyz": {"httpGet": {"path": "/ok?x=1", "port": 8080, "scheme": "HTTPS",
                "httpHeaders": [{"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}], "host": "web.test"},
                "timeoutSeconds": 3},
            "/app-health/web/livez": {"tcpSocket": {"port": 9}},
            "/app-health/web/startupz": {"grpc": {"port": 9, "service": "s"}},
            "/app-lifecycle/web/prestopz": {"httpGet": {"path": "/bye", "port": 1}, "timeoutSeconds": 30}}"#
            .parse()
            .unwrap();
        let check = checks.check("/app-health/web/readyz").unwrap();
        assert_eq!(check.timeout, Duration::from_secs(3));
        let Action::Http(get) = &check.action else {
            panic!("{check:?}")
        };
        assert!(get.tls);
        assert_eq!(
            (get.path.as_str(), get.port, get.host.as_deref()),
            ("/ok?x=1", 8080, Some("web.test"))
        );
        assert_eq!(get.headers.get_all("x-a").iter().count(), 2);
        let live = checks.check("/app-health/web/livez").unwrap();
        assert_eq!(
            (&live.action, live.timeout),
            (&Action::Tcp { port: 9 }, Duration::from_secs(1))
        );
        assert!(checks.check("/app-health/other/livez").is_none());
    }

    #[test]
    fn nothing_written_down_is_nothing_to_ask() {
        assert!("".parse::<AppChecks>().unwrap().is_empty());
        assert!("{}".parse::<AppChecks>().unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for (text, expected) in [
            ("[]", "expected a map"),
            (
                r#"{"/x": {"tcpSocket": {"port": 1}}}"#,
                "/x: the path is none that the kubelet is sent to",
            ),
            (
                r#"{"/app-health/a/b/readyz": {"tcpSocket": {"port": 1}}}"#,
                "the path is none",
            ),
            (
                &with("{}"),
                "/app-health/web/readyz: asks nothing; one of httpGet, tcpSocket, grpc",
            ),
            (
                &with(r#"{"tcpSocket": {"port": 1}, "grpc": {"port": 1}}"#),
                "asks more than one thing",
            ),
            (
                &with(r#"{"tcpSocket": {"port": 0}}"#),
                "port 0 is not between 1 and 65535",
            ),
            (&with(r#"{"tcpSocket": {"port": 70000}}"#), "70000"),
            (
                &with(r#"{"tcpSockets": {"port": 1}}"#),
                "unknown field `tcpSockets`",
            ),
            (
                &with(r#"{"tcpSocket": {"port": 1}, "timeoutSeconds": 0}"#),
                "timeoutSeconds 0 is not between 1 and 3600",
            ),
            (
                &with(r#"{"httpGet": {"port": 1, "scheme": "ftp"}}"#),
                "scheme \"ftp\" is not HTTP or HTTPS",
            ),
            (
                &with(r#"{"httpGet": {"port": 1, "httpHeaders": [{"name": "a b", "value": ""}]}}"#),
                "header \"a b\" is not a header's name",
            ),
            (
                &with(r#"{"httpGet": {"port": 1, "httpHeaders": [{"name": "a", "value": "\n"}]}}"#),
                "header \"a\" has a value that cannot be sent",
            ),
        ] {
            let message = refusal(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_path_is_sent_as_the_kubelet_would() {
        for (given, sent) in [
            ("healthz", "/healthz"),
            ("/a b", "/a%20b"),
            ("/a#top", "/a"),
            ("/é", "/%C3%A9"),
            ("", "/"),
        ] {
            let text = with(&format!(
                r#"{{"httpGet": {{"port": 1, "path": "{given}"}}}}"#
            ));
            let checks: AppChecks = text.parse().unwrap();
            let Action::Http(get) = &checks.check("/app-health/web/readyz").unwrap().action else {
                panic!()
            };
            assert_eq!(get.path.as_str(), sent);
        }
    }

    #[test]
    fn metrics_have_a_port_and_a_path() {
        let metrics: AppMetrics = r#"{"port": 9102, "path": "/m"}"#.parse().unwrap();
        assert_eq!((metrics.port, metrics.path.as_str()), (9102, "/m"));
        assert_eq!(
            r#"{"port": 9102}"#.parse::<AppMetrics>().unwrap().path.as_str(),
            "/metrics"
        );
        let refused =
            r#"{"port": 9102, "paht": "/m"}"#.parse::<AppMetrics>().unwrap_err().to_string();
        assert!(refused.contains("unknown field `paht`"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,64}", path in "\\PC{0,16}") {
            let _ = text.parse::<AppChecks>();
            let _ = text.parse::<AppMetrics>();
            let get = serde_json::json!({"/app-health/a/livez": {"httpGet": {"port": 1, "path": path}}});
            prop_assert!(get.to_string().parse::<AppChecks>().is_ok());
        }
    }
}
