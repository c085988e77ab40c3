//! docs/benchmarks.md and its charts: the figures of one run, with everything one needs to judge them
//! and to run it again.

mod peers;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};

use crate::chart;
use crate::error::{Error, Result};
use crate::report::{CaseReport, Report};
use crate::table;

/// Writes all to a directory; returns where.
pub(crate) fn write(report: &Report, docs: &Path) -> Result<Vec<PathBuf>> {
    let docs = fs::canonicalize(docs).map_err(Error::file("find", docs))?;
    let charts = docs.join("benchmarks");
    fs::create_dir_all(&charts).map_err(Error::file("make", &charts))?;
    let mut written = Vec::new();
    let mut write = |file: PathBuf, text: String| {
        fs::write(&file, text).map_err(Error::file("write", &file))?;
        written.push(file);
        Ok(())
    };
    for case in &report.cases {
        if let Some(svg) = chart::svg(case, &report.machine) {
            write(charts.join(format!("{}.svg", case.name)), svg)?;
        }
    }
    write(docs.join("benchmarks.md"), text(report))?;
    Ok(written)
}

fn text(report: &Report) -> String {
    let sections: Vec<String> = report
        .cases
        .iter()
        .map(|case| section(case, chart::svg(case, &report.machine).is_some()))
        .collect();
    format!(
        "# Heddle beside other sidecars\n\n\
         <!-- Written by `cargo xtask bench --write-docs`; edit bench/src/docs.rs instead. -->\n\n\
         What goes from a client to a server passes through the client's sidecar, over mutual TLS, and \
         through the server's sidecar. Here is what such a pair of sidecars costs, when it is Heddle and \
         when it is another; what is left when there is none; and what a bare relay of the same libraries \
         costs, which decides nothing, counts nothing and is no sidecar: the floor of the stack. What was \
         aimed at and not reached is said so.\n\n\
         ## What was aimed at, and what was reached\n\n\
         {summary}\n\n\
         ```sh\ncargo xtask bench --write-docs   # all of it; each case's own command stands with its figures\n```\n\n\
         The control plane is measured by a test of its own, which prints what it takes: \
         `cargo nextest run --release -p heddle-control --run-ignored only --no-capture -E 'test(large)'`. \
         Guards of what a request costs (instructions, allocations, bytes of an idle connection), which \
         hold on a noisy machine too, run with `cargo xtask test`.\n\n\
         ## The machine\n\n\
         {machine}\n\n\
         ## Who is compared\n\n\
         {peers}\n\n\
         {sections}\n\
         ## How they came about\n\n\
         {method}",
        summary = summary::markdown(report),
        machine = machine(report),
        peers = peers::markdown(report),
        sections = sections.join("\n"),
        method = method(report),
    )
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let kind = match machine.virtual_machine {
        true => "A virtual machine",
        false => "A machine",
    };
    format!(
        "{kind} with {} cores ({}), {} GiB of memory, Linux {} (TCP congestion control: {}); measured {}. \
         Load generators: wrk {}, h2load {}, iperf3 {}, and programs of `bench/src/load` where no package \
         has one.",
        machine.cores,
        machine.cpu,
        machine.memory_gib,
        machine.kernel,
        machine.congestion_control,
        machine.date,
        machine.wrk,
        machine.h2load,
        machine.iperf3,
    )
}

fn section(case: &CaseReport, charted: bool) -> String {
    let chart = match charted {
        true => format!("![{}](benchmarks/{}.svg)\n\n", case.title, case.name),
        false => String::new(),
    };
    let failures: Vec<String> = table::failures(case)
        .into_iter()
        .map(|line| format!("**{}**\n\n", fenceless(&line)))
        .collect();
    let disturbance = match table::disturbance(case) {
        none if none.is_empty() => none,
        says => format!("\n{}.\n", table::capital(&says)),
    };
    format!(
        "## {title}\n\n\
         {about}\n\n\
         ```sh\n{command}\n```\n\n\
         {chart}{failures}\
         Medians of {rounds} rounds (least–most); {seconds} seconds each.\n\n\
         {table}{disturbance}",
        title = case.title,
        about = case.about,
        command = case.command,
        failures = failures.concat(),
        rounds = case.rounds,
        seconds = case.seconds,
        table = table::markdown(case),
    )
}

/// What a program said, on one line that Markdown leaves alone.
fn fenceless(text: &str) -> String {
    let harmless = text.replace(['*', '`', '<', '|'], " ");
    harmless.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn method(report: &Report) -> String {
    format!(
        "**The same for all.** Three pods (client, v1, v2), each a network namespace on one bridge; the \
         same redirect rules, by `heddle-proxy redirect apply`; one certificate authority, P-256 leaves of \
         24 hours; TLS 1.3 with certificates verified on both sides: the client's sidecar accepts one exact \
         identity, the server's any of the trust domain (STRICT); the routes of \
         `examples/bookinfo/reviews.yaml` (a header to v2, everyone else 90/10) where requests are carried, \
         but for the bare relay; one worker thread; keep-alive everywhere; metrics on, tracing at 0 % unless \
         a case says otherwise, no access log. Rounds alternate: in each, every peer after the other, with \
         fresh sidecars and applications each time.\n\n\
         **Checked before each measurement**, else there is none. Where requests are carried: 100 requests \
         with the header all go to v2; of 1,000 without, about a tenth; every answer is right; the client's \
         sidecar has counted all of them in its metrics, where it has metrics. Always: nothing readable was \
         on the network, by a look at every packet; clear text and a certificate of another authority are \
         refused, one of the mesh is not. One failed request under load ends the measurement. A measurement \
         during which others took more than a tenth of the machine is made again, at most twice, whoever's \
         it is; the quietest counts.\n\n\
         **Not the same.** Heddle's sidecar is laid out by its compiler from a record of what it executes \
         under loads like these (`cargo xtask profile`), as it is shipped; the others are the programs that \
         their projects and Debian release, and the bare relay is compiled without such a record. \
         The other sidecars' configuration is static; Heddle is told by its control plane, \
         which idles meanwhile and is not counted. Envoy counts its own statistics (all its defaults); \
         Heddle counts Istio's standard metrics with their labels, for which Istio's build of Envoy has \
         filters that cost more and are not in this one. Whether the root has signed a certificate Heddle \
         finds out once for the same bytes (names, dates and the proof of the key: each time). Where Istio's settings and cheaper ones differ, \
         Envoy has the cheaper: no request id, no retry policy, no stream idle timer, no path normalisation, \
         no TLS inspection. HAProxy and nginx know no SPIFFE ids and do not ask where a redirected \
         connection was going: they are TLS relays with the same routes, not sidecars of a mesh. The key \
         exchange is what each one's TLS library chooses by itself: see the table above.\n\n\
         **How to read them.** Load generator (one thread), applications (one process each) and three \
         sidecars share the {cores} cores. So throughput and latency at many connections show what all of \
         them cost together; the CPU of the sidecars (from the kernel's own accounting of every thread, its \
         network work included) is the figure that carries over to other machines. The load generators are \
         closed loops: a connection's next request is sent after the answer to the one before, so p99 hides \
         what an open loop would show. wrk alone makes up for that: where a request took more than twice \
         the usual, it counts as late those too that could have been sent meanwhile, so that its p99 at one \
         connection, with no sidecar at all ten times the p50, says how long this machine stood still. RSS counts pages of the program file that other processes share; PSS \
         shares them out. A ratio is one of medians. One run on one machine is an indication, not a law: run \
         it on yours.\n",
        cores = report.machine.cores,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Description;
    use crate::peers::Peer;
    use crate::report::{Failure, tests::sample};

    #[test]
    fn the_page_says_what_was_missed_and_what_failed() {
        let mut case = sample();
        case.failures.push(Failure {
            peer: Peer::Nginx,
            round: 1,
            setup: String::new(),
            why: "it\nended | `early`".into(),
        });
        let mut report = Report::new(Description::default());
        report.cases.push(case);
        let text = text(&report);
        for part in [
            "| HTTP/1.1: CPU | ≤ 0.40 of Envoy | 0.36 (16 connections) | met | `--case http1` |",
            "| HTTP/1.1: CPU | ≤ 1.05 of 16 connections | 1.10 (64 connections) | **missed** |",
            "| – (16 connections) | **not measured** |",
            "**nginx could not be measured in round 1: it ended early**",
            "cargo xtask bench --case http1",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
