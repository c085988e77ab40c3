//! The requests that were recorded: client spans of sidecars, from the running mesh's store or from a
//! file that `heddle traces --spans -o json` or a collector of OpenTelemetry's wrote.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::api::Client;
use crate::args::WhatIf;
use crate::failure::{Failure, Outcome};
use crate::traces::{Span, SpanKind, Trace, TraceSummary};

use super::otlp;

/// How far back a running mesh is asked.
const WINDOW: Duration = Duration::from_secs(3600);

/// One request, as far as its span tells.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) trace_id: String,
    /// Who sent it.
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) authority: String,
    /// Name and port that were called.
    pub(super) host: String,
    pub(super) port: u16,
    /// The rule that took it: its place in the table then, and whose it was.
    pub(super) rule: Option<(usize, String)>,
    pub(super) status: Option<u16>,
    pub(super) start: SystemTime,
}

#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) requests: Vec<Request>,
    /// Client spans that are no request of a sidecar, or do not say enough.
    pub(super) unusable: usize,
}

pub(super) async fn read(client: &Client, asked: &WhatIf) -> Outcome<Recorded> {
    let traces = match &asked.from_traces {
        Some(file) => of_file(file)?,
        None if asked.place.cluster => {
            return Err(Failure::new("a cluster keeps no traces of its own: say where they are")
                .advise("--from-traces FILE: OTLP's JSON, as the file exporter of OpenTelemetry's collector writes it"));
        }
        None => {
            let since = SystemTime::now() - WINDOW;
            let since = since.duration_since(SystemTime::UNIX_EPOCH);
            let since = since.map_or(0, |since| since.as_nanos());
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            client.whole_traces(since).await?
        }
    };
    Ok(of(&traces))
}

fn of_file(file: &Path) -> Outcome<Vec<Trace>> {
    let cannot = || Failure::new(format!("cannot read {}", file.display()));
    let text = match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| cannot().because(&error))?;
    if let Some(traces) = otlp::traces(&text) {
        return traces.map_err(|error| cannot().because(&error));
    }
    let one = || serde_json::from_str::<Trace>(&text).map(|trace| vec![trace]);
    match serde_json::from_str::<Vec<Trace>>(&text).or_else(|_| one()) {
        Ok(traces) => Ok(traces),
        Err(_) if serde_json::from_str::<Vec<TraceSummary>>(&text).is_ok() => Err(Failure::new(
            format!("{} lists traces without their spans", file.display()),
        )
        .advise("heddle traces --spans --limit 10000 -o json  writes them whole")),
        Err(error) => Err(cannot().because(&error).advise(
            "heddle traces --spans -o json  writes what this reads; OTLP's JSON is read too",
        )),
    }
}

/// Every request that a sidecar sent on, of these traces.
pub(super) fn of(traces: &[Trace]) -> Recorded {
    let spans = traces.iter().flat_map(|trace| &trace.spans);
    let sent = spans.filter(|span| span.kind == SpanKind::Client);
    let mut recorded = Recorded::default();
    for span in sent {
        match request(span) {
            Some(request) => recorded.requests.push(request),
            None => recorded.unusable += 1,
        }
    }
    recorded
}

fn request(span: &Span) -> Option<Request> {
    let attribute = |name: &str| span.attribute(&[name]);
    let resource = |name: &str| span.resource.get(name)?.as_str().map(str::to_owned);
    let address = attribute("server.address")?;
    let port: Option<u16> = attribute("server.port").and_then(|port| port.parse().ok());
    let called = attribute("heddle.called");
    let called = called.as_deref().and_then(|called| called.rsplit_once(':'));
    let (host, called_port) = match called {
        // `NAMESPACE/NAME`, by which every pod can call it; a host outside has its own name.
        Some((service, port)) => {
            let (namespace, name) = service.split_once('/')?;
            let host = match name.contains('.') {
                true => name.to_owned(),
                false => format!("{name}.{namespace}"),
            };
            (host, port.parse().ok()?)
        }
        None => (address.clone(), port.unwrap_or(80)),
    };
    let rule = attribute("heddle.route.rule").and_then(|place| place.parse().ok());
    Some(Request {
        trace_id: span.trace_id.clone(),
        namespace: resource("k8s.namespace.name")?,
        pod: resource("k8s.pod.name")?,
        method: attribute("http.request.method")?,
        path: attribute("url.path")?,
        authority: match port {
            Some(port) => format!("{address}:{port}"),
            None => address,
        },
        host,
        port: called_port,
        rule: rule.zip(attribute("heddle.route")),
        status: span.status().and_then(|status| status.parse().ok()),
        start: SystemTime::UNIX_EPOCH + Duration::from_nanos(span.start_unix_nanos),
    })
}
