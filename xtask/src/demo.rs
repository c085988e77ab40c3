//! `cargo xtask demo`: a whole mesh on this machine. Everything it does, a person can do by the
//! same commands of `heddle`, which it prints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use crate::install::{self, ensure};
use crate::run::{Result, binaries, cargo, output, quietly, root, step};

/// Flags of the demo.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the mesh running and return
    #[arg(long)]
    detach: bool,
}

/// Requests without and with the header that the sample's route matches.
const PLAIN: usize = 1000;
const PREMIUM: usize = 100;

/// Runs the demo.
pub(crate) fn demo(args: &Args) -> Result<()> {
    if !install::is_root() {
        return Err(
            "a mesh on one machine makes a network namespace for each pod (CAP_SYS_ADMIN), connects \
             them and programs iptables inside them (CAP_NET_ADMIN), and runs sidecar and application \
             as different users (CAP_SETUID): run `sudo -E cargo xtask demo`"
                .into(),
        );
    }
    ensure(install::MESH)?;
    step(
        "Building (release)",
        cargo().args(["build", "--release", "--locked"]),
    )?;
    // Before any thread: the signals are waited for below.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    if !args.detach {
        signals.thread_block().map_err(|e| e.to_string())?;
    }
    let mesh = Mesh {
        heddle: binaries("release").join("heddle"),
    };
    step(
        "heddle up --detach examples/bookinfo",
        mesh.command(&["up", "--detach"])
            .arg(root().join("examples/bookinfo")),
    )?;
    let shown = show(&mesh);
    if args.detach {
        shown?;
        println!(
            "\nThe mesh stays up. Take it down with `{} down`.",
            mesh.heddle.display()
        );
        return Ok(());
    }
    if shown.is_ok() {
        println!("\nThe mesh stays up until Ctrl-C.");
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(signals.wait()));
        // An error: the thread is gone, and so is the reason to wait.
        let _ = ended.recv();
        println!();
    }
    let down = step("heddle down", &mut mesh.command(&["down"]));
    shown.and(down)
}

struct Mesh {
    heddle: PathBuf,
}

impl Mesh {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.heddle);
        // The terminal's Ctrl-C is for the demo, which then takes the mesh down.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.args(args);
        command
    }

    /// GETs a URL many times over one connection from within a pod.
    fn curl(&self, pod: &str, header: Option<&str>, url: &str) -> Result<String> {
        let mut command = self.command(&["exec", pod, "--", "curl", "-sS", "--fail"]);
        if let Some(header) = header {
            command.args(["-H", header]);
        }
        output(command.args(["-w", "\n", url]))
    }

    /// Waits until the sidecars have sent the spans of a trace: they do so in batches.
    fn wait_for_trace(&self, id: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let printed = self
                .command(&["traces", id, "-o", "json"])
                .output()
                .map_err(|e| e.to_string())?;
            let trace: serde_json::Value =
                serde_json::from_slice(&printed.stdout).unwrap_or_default();
            let spans = trace["spans"].as_array().map_or(0, Vec::len);
            // ratings → productpage → details and reviews, each hop with two spans.
            if spans >= 6 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "the trace {id} has {spans} of at least 6 spans after 10 s"
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn show(mesh: &Mesh) -> Result<()> {
    println!(
        "\n==> {PLAIN} requests from productpage to reviews, and {PREMIUM} with `user-type: premium`"
    );
    let url = |n| format!("http://reviews:9080/reviews/0?n=[1-{n}]");
    let plain = mesh.curl("productpage-v1", None, &url(PLAIN))?;
    let premium = mesh.curl("productpage-v1", Some("user-type: premium"), &url(PREMIUM))?;
    shares("everyone (90 % v1, 10 % v2)", &plain);
    shares("user-type: premium (v2)", &premium);

    println!("\n==> One request for the product page, as a trace");
    let trace = format!("{:032x}", std::process::id());
    let context = format!("traceparent: 00-{trace}-{:016x}-01", 1);
    mesh.curl(
        "ratings-v1",
        Some(&context),
        "http://productpage:9080/productpage",
    )?;
    mesh.wait_for_trace(&trace)?;
    quietly(&mut mesh.command(&["traces", &trace]))?;

    let heddle = mesh.heddle.display();
    println!("\n==> What to try next");
    println!("  {heddle} traces");
    println!("  {heddle} exec productpage-v1 -- curl -s http://reviews:9080/reviews/0");
    println!("  edit the weights in examples/bookinfo/reviews.yaml: they are live when you save");
    println!("  misspell a field in it, and look at: {heddle} status");
    println!("  {heddle} system stop control-plane, and see that nothing happens");
    Ok(())
}

/// Prints which versions answered.
fn shares(who: &str, answers: &str) {
    let mut counts = BTreeMap::new();
    let mut total = 0;
    for answer in answers.lines().filter(|line| !line.is_empty()) {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
        let version = answer["version"].as_str().unwrap_or("no answer").to_owned();
        *counts.entry(version).or_insert(0_usize) += 1;
        total += 1;
    }
    let shares: Vec<String> = counts
        .iter()
        .map(|(version, n)| format!("{version} {n} ({:.1} %)", 100.0 * *n as f64 / total as f64))
        .collect();
    println!("  {who:<28} {}", shares.join("   "));
}
