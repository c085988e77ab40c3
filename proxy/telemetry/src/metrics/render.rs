//! The Prometheus text format of the series: shards with the same labels are summed, families are
//! written together, in a stable order.

use super::histogram::{LE, Summed};
use super::labels::Labels;
use super::registry::ShardSeries;
use super::series::{HttpCells, Outcome, TcpCells};
use crate::flag::ResponseFlag;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// `# HELP` and `# TYPE`.
pub(super) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value, escaped.
pub(super) fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[derive(Default)]
struct HttpSum {
    duration: Summed,
    request: Summed,
    response: Summed,
}

impl HttpSum {
    fn add(&mut self, cells: &HttpCells) {
        self.duration.add(&cells.duration);
        self.request.add(&cells.request);
        self.response.add(&cells.response);
    }
}

#[derive(Default)]
struct TcpSum {
    opened: u64,
    sent: u64,
    received: u64,
    closed: [u64; ResponseFlag::ALL.len()],
}

impl TcpSum {
    fn add(&mut self, cells: &TcpCells) {
        self.opened += cells.opened.load(Relaxed);
        self.sent += cells.sent.load(Relaxed);
        self.received += cells.received.load(Relaxed);
        for (sum, cell) in self.closed.iter_mut().zip(&cells.closed) {
            *sum += cell.load(Relaxed);
        }
    }
}

pub(super) fn series(shards: &[Arc<ShardSeries>], out: &mut String) {
    http(shards, out);
    tcp(shards, out);
}

fn http(shards: &[Arc<ShardSeries>], out: &mut String) {
    let mut sums: BTreeMap<(Labels, Outcome), HttpSum> = BTreeMap::new();
    let mut other = HttpSum::default();
    for shard in shards {
        for (labels, entry) in super::lock(&shard.http).iter() {
            for (outcome, cells) in entry.series.outcomes() {
                sums.entry((labels.clone(), outcome))
                    .or_default()
                    .add(&cells);
            }
        }
        other.add(&shard.other_http);
    }
    let mut rows: Vec<(String, HttpSum)> = sums
        .into_iter()
        .map(|((labels, outcome), sum)| (http_labels(&labels, outcome), sum))
        .collect();
    if other.duration.count() > 0 {
        rows.push((other_labels("http"), other));
    }
    if rows.is_empty() {
        return;
    }
    head(out, "istio_requests_total", "counter", "Requests.");
    for (labels, sum) in &rows {
        let _ = writeln!(
            out,
            "istio_requests_total{{{labels}}} {}",
            sum.duration.count()
        );
    }
    type Pick = fn(&HttpSum) -> &Summed;
    let histograms: [(&str, &str, f64, Pick); 3] = [
        (
            "istio_request_duration_milliseconds",
            "Duration of requests.",
            1000.0,
            |sum| &sum.duration,
        ),
        (
            "istio_request_bytes",
            "Size of request bodies.",
            1.0,
            |sum| &sum.request,
        ),
        (
            "istio_response_bytes",
            "Size of response bodies.",
            1.0,
            |sum| &sum.response,
        ),
    ];
    for (name, help, scale, pick) in histograms {
        head(out, name, "histogram", help);
        for (labels, sum) in &rows {
            histogram(out, name, labels, pick(sum), scale);
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, summed: &Summed, scale: f64) {
    let mut below = 0;
    for (le, bucket) in LE.iter().zip(&summed.buckets) {
        below += bucket;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {below}");
    }
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", summed.sum as f64 / scale);
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", summed.count());
}

fn tcp(shards: &[Arc<ShardSeries>], out: &mut String) {
    let mut sums: BTreeMap<Labels, TcpSum> = BTreeMap::new();
    let mut other = TcpSum::default();
    for shard in shards {
        for (labels, entry) in super::lock(&shard.tcp).iter() {
            sums.entry(labels.clone()).or_default().add(&entry.series);
        }
        other.add(&shard.other_tcp);
    }
    let mut rows: Vec<(String, TcpSum)> = sums
        .into_iter()
        .map(|(labels, sum)| (labels.text(), sum))
        .collect();
    if other.opened > 0 {
        rows.push((other_labels("tcp"), other));
    }
    if rows.is_empty() {
        return;
    }
    type Pick = fn(&TcpSum) -> u64;
    let plain: [(&str, &str, Pick); 3] = [
        (
            "istio_tcp_connections_opened_total",
            "Connections opened.",
            |sum| sum.opened,
        ),
        (
            "istio_tcp_sent_bytes_total",
            "Bytes sent to clients.",
            |sum| sum.sent,
        ),
        (
            "istio_tcp_received_bytes_total",
            "Bytes received from clients.",
            |sum| sum.received,
        ),
    ];
    for (name, help, pick) in plain {
        head(out, name, "counter", help);
        for (labels, sum) in &rows {
            let _ = writeln!(out, "{name}{{{labels},response_flags=\"-\"}} {}", pick(sum));
        }
    }
    head(
        out,
        "istio_tcp_connections_closed_total",
        "counter",
        "Connections closed.",
    );
    for (labels, sum) in &rows {
        for (flag, count) in ResponseFlag::ALL.iter().zip(sum.closed) {
            if count > 0 || flag.is_none() {
                let _ = writeln!(
                    out,
                    "istio_tcp_connections_closed_total{{{labels},response_flags=\"{flag}\"}} {count}"
                );
            }
        }
    }
}

fn http_labels(labels: &Labels, outcome: Outcome) -> String {
    let mut text = labels.text();
    let _ = write!(
        text,
        ",response_code=\"{}\",response_flags=\"{}\"",
        outcome.status, outcome.flag
    );
    if let Some(code) = outcome.grpc {
        let _ = write!(text, ",grpc_response_status=\"{code}\"");
    }
    text
}

fn other_labels(protocol: &str) -> String {
    format!("reporter=\"other\",destination_service=\"other\",request_protocol=\"{protocol}\"")
}
