//! Points Prometheus' annotations at the sidecar, which serves the app's metrics with its own:
//! a scraper outside the mesh could not reach the app's port under STRICT.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::handler;
use crate::names;
use crate::view::PodView;

const SCRAPE: &str = "prometheus.io/scrape";
const PORT: &str = "prometheus.io/port";
const PATH: &str = "prometheus.io/path";
const SCHEME: &str = "prometheus.io/scheme";

/// What merging changes.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) annotations: BTreeMap<String, String>,
    /// Where the app's own metrics are, for the sidecar.
    pub(crate) app: Option<Value>,
}

pub(crate) fn merge(pod: &PodView, warnings: &mut Vec<String>) -> Merged {
    let scrape = pod.annotation(SCRAPE);
    if scrape.is_some_and(|scrape| scrape != "true") {
        return Merged::default();
    }
    if pod
        .annotation(SCHEME)
        .is_some_and(|scheme| scheme != "http")
    {
        warnings.push(format!("metrics are not merged: the sidecar does not scrape an app over {SCHEME} other than http"));
        return Merged::default();
    }
    let app = match scrape {
        Some(_) => match app_metrics(pod) {
            Ok(app) => Some(app),
            Err(reason) => {
                warnings.push(format!("metrics are not merged: {reason}"));
                return Merged::default();
            }
        },
        None => None,
    };
    let annotations = [
        (SCRAPE, "true".to_owned()),
        (PORT, names::PROBE_PORT.to_string()),
        (PATH, names::METRICS_PATH.into()),
    ];
    Merged {
        annotations: annotations
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        app,
    }
}

fn app_metrics(pod: &PodView) -> Result<Value, String> {
    let port = match pod.annotation(PORT) {
        Some(text) => text
            .trim()
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| {
                format!("annotation {PORT} has the value {text:?}, which is not a port")
            })?,
        None => only_port(pod)
            .ok_or_else(|| format!("the pod has not just one port and no annotation {PORT}"))?,
    };
    if port == names::PROBE_PORT {
        return Err(format!(
            "annotation {PORT} already is the sidecar's own {port}"
        ));
    }
    let path = pod
        .annotation(PATH)
        .filter(|path| !path.is_empty())
        .unwrap_or("/metrics");
    if !handler::is_sendable_path(path) {
        return Err(format!("annotation {PATH} is too long"));
    }
    Ok(json!({"port": port, "path": path}))
}

fn only_port(pod: &PodView) -> Option<u16> {
    let mut ports = pod
        .spec
        .containers
        .iter()
        .flat_map(|container| container.ports());
    let first = ports.next()?;
    if ports.next().is_some() {
        None
    } else {
        u16::try_from(first.container_port).ok()
    }
}
