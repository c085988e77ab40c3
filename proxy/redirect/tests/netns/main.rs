//! The redirect in real network namespaces, with real sockets of the app, the sidecar and a neighbour; every case over
//! IPv4 and IPv6 and with both implementations of iptables.
#![allow(clippy::unwrap_used)]

mod dns;
mod lifecycle;
mod paths;
mod proof;
mod world;

use clap::Parser;
use heddle_proxy_redirect::Settings;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

fn settings(flags: &[&str]) -> Settings {
    Cli::parse_from(std::iter::once(&"redirect").chain(flags)).settings
}
