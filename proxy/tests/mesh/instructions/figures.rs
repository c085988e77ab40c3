//! The file of committed figures: lines that people read in a diff, and comments that say what they are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Figures by architecture, case and side.
pub(super) type Figures = BTreeMap<String, u64>;

/// Lines of the form `x86_64.http1-plain.outbound = 1234`.
pub(super) fn read(file: &Path) -> Figures {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(" = "))
        .filter_map(|(name, figure)| Some((name.to_owned(), figure.parse().ok()?)))
        .collect()
}

/// The committed figures with these in their places.
pub(super) fn write(compiler: &str, committed: &Figures, measured: &Figures) -> String {
    let mut all = committed.clone();
    all.extend(measured.clone());
    let mut text = format!(
        "# Instructions (callgrind) that a sidecar of the release profile executes for one\n\
         # request: GET and a response of 1 KiB on a kept-alive connection, a route of the\n\
         # table matched by a header; grpc-stream: for a message of 64 bytes there and back\n\
         # on one stream, -streams: on 64 of 16 connections. Written by `cargo xtask guard --update`, with\n\
         # {compiler}.\n"
    );
    for (name, figure) in all {
        let _ = writeln!(text, "{name} = {figure}");
    }
    text
}
