//! The command line as clap reads it: every command with what it is for and an example. Values are
//! parsed here once; what reaches a command is valid in itself.

mod cluster;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::cluster::{Definitions, Install, Place, Uninstall};
use crate::node::MeshName;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 it failed or something was refused; 2 the command line is wrong.
`heddle exec` exits as the command it ran.";

/// A service mesh, from manifests to traces, on this machine.
#[derive(Debug, Parser)]
#[command(name = "heddle", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    /// The mesh that is meant; several can run side by side.
    #[arg(
        long,
        global = true,
        env = "HEDDLE_MESH",
        default_value = "default",
        value_name = "NAME"
    )]
    pub(crate) mesh: MeshName,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a mesh on this machine from Kubernetes manifests.
    #[command(
        after_help = "Example:\n  heddle up examples/bookinfo\n  heddle up --detach app.yaml routes/"
    )]
    Up(Up),
    /// Take the mesh down; nothing is left behind. Works after a crash too, and twice.
    #[command(after_help = "Example:\n  heddle down")]
    Down,
    /// Add or change objects of a running mesh.
    #[command(after_help = "Example:\n  heddle apply -f routes/reviews.yaml")]
    Apply(Files),
    /// Remove objects of a running mesh.
    #[command(
        after_help = "Example:\n  heddle delete -f routes/reviews.yaml\n  heddle delete vs reviews-route"
    )]
    Delete(Delete),
    /// Show objects: pods, services, deployments, virtualservices, …
    #[command(after_help = "Example:\n  heddle get pods -A\n  heddle get vs reviews-route -o yaml")]
    Get(Get),
    /// Run a command inside a pod: its network, its names, its user.
    #[command(
        after_help = "Example:\n  heddle exec productpage-v1 -- curl -s http://reviews:9080/reviews/0"
    )]
    Exec(Exec),
    /// Show what sidecars have logged, or applications.
    #[command(
        after_help = "Example:\n  heddle logs productpage-v1\n  heddle logs -f --app reviews-v1\n  heddle logs\n\nIn a cluster: kubectl logs POD -c heddle-proxy"
    )]
    Logs(Logs),
    /// What runs, who it is, what was refused and why.
    #[command(
        after_help = "Example:\n  heddle status\n  heddle status -o json | jq '.pods[].identity'"
    )]
    Status(Output),
    /// Find mistakes in manifests, or in what a running mesh was told.
    #[command(
        after_help = "Example:\n  heddle check -f routes/\n  heddle check -f shop.yaml -o sarif > shop.sarif\n  heddle check --explain HDL0205\n  heddle check\n\nExits with 0 when nothing is wrong, 1 when something is, 2 when it could not check."
    )]
    Check(Check),
    /// Tell what becomes of a request, and why: which rule, which shares, which pods, who is expected.
    #[command(
        after_help = "Example:\n  heddle explain --from default/productpage-v1 -H 'user-type: premium' http://reviews:9080/\n  heddle explain -f shop/ --from shop/web -X POST http://cart/items\n  heddle explain --cluster --from shop/web http://cart/items"
    )]
    Explain(Explain),
    /// Decide recorded requests again under changed routes, and say what would move.
    #[command(
        after_help = "Example:\n  heddle what-if -f new-routes.yaml\n  heddle what-if --delete virtualservice/reviews\n  heddle what-if -f new.yaml --base shop/ --from-traces traces.json\n  heddle what-if -f new.yaml --cluster --from-traces traces.json"
    )]
    WhatIf(WhatIf),
    /// Write manifests with the sidecar injected to standard output.
    #[command(
        after_help = "Example:\n  heddle inject -f deployment.yaml > injected.yaml\n  cat *.yaml | heddle inject -f -\n  heddle inject -f deploy/ --dry-run"
    )]
    Inject(Inject),
    /// Print what a cluster needs to run the mesh: namespace, definitions, roles, servers, webhooks.
    #[command(
        after_help = "Example:\n  heddle install | kubectl apply --server-side -f -\n  heddle install --ha --set caSecret=mesh-ca > heddle.yaml"
    )]
    Install(Install),
    /// Print what was installed, in the order in which to delete it. The root's Secret stays.
    #[command(
        after_help = "Example:\n  heddle uninstall | kubectl delete --ignore-not-found -f -\n  heddle uninstall --purge | kubectl delete --ignore-not-found -f -"
    )]
    Uninstall(Uninstall),
    /// List traces, or draw one as a waterfall.
    #[command(
        after_help = "Example:\n  heddle traces --status 5xx\n  heddle traces --last\n  heddle traces 4bf92f35"
    )]
    Traces(Traces),
    /// Replace the pods of a workload one after the other, or wait until that is done.
    #[command(
        after_help = "Example:\n  heddle rollout restart deploy/reviews-v1\n  heddle rollout status deploy/reviews-v1"
    )]
    Rollout(Rollout),
    /// Change how many pods a workload has.
    #[command(after_help = "Example:\n  heddle scale deploy/reviews-v1 --replicas 3")]
    Scale(Scale),
    /// Stop, start or restart a part of the mesh itself, to see what holds without it; rotate its root.
    #[command(
        after_help = "Example:\n  heddle system restart control-plane\n  heddle system rotate-root"
    )]
    System {
        action: SystemAction,
        /// Of stop, start and restart.
        #[arg(required_if_eq_any([("action", "stop"), ("action", "start"), ("action", "restart")]))]
        component: Option<Component>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Rollout {
    #[command(subcommand)]
    pub(crate) action: RolloutAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutAction {
    /// Replace every pod by another of the same template, as the workload's strategy says.
    #[command(after_help = "Example:\n  heddle rollout restart deploy/reviews-v1")]
    Restart {
        #[command(flatten)]
        workload: WorkloadName,
    },
    /// Wait until every pod is ready and of the newest template.
    #[command(after_help = "Example:\n  heddle rollout status deploy/reviews-v1 --timeout 60s")]
    Status {
        #[command(flatten)]
        workload: WorkloadName,
        /// How long it may take.
        #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
        timeout: Duration,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) workload: WorkloadName,
    /// How many pods.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) replicas: u32,
}

/// A workload as it is typed: `deploy/web`.
#[derive(Debug, Args)]
pub(crate) struct WorkloadName {
    /// Kind and name: deployment/NAME, statefulset/NAME.
    #[arg(value_name = "KIND/NAME", value_parser = kind_and_name)]
    kind_and_name: (String, String),
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
}

impl WorkloadName {
    pub(crate) fn kind(&self) -> &str {
        &self.kind_and_name.0
    }

    pub(crate) fn name(&self) -> &str {
        &self.kind_and_name.1
    }
}

fn kind_and_name(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/');
    let parts = parts.filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
    let (kind, name) = parts.ok_or("write it as KIND/NAME, for example deploy/web")?;
    Ok((kind.to_owned(), name.to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Manifests: files or directories; watched, so that an edit is live.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The same, as kubectl spells it.
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    filenames: Vec<PathBuf>,
    /// Return once every pod is ready and leave the mesh running.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// How long pods may take to be ready.
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Send spans to this OTLP collector as well (http://HOST:PORT, gRPC).
    #[arg(long, env = "HEDDLE_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Share of requests that are traced.
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = percentage)]
    pub(crate) sampling_percentage: f64,
    /// Keep the mesh's root certificate here across `up` and `down`.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Lifetime that sidecars ask for in certificates.
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds)]
    pub(crate) cert_ttl: Option<u32>,
    /// How long a new root is in every trust bundle before it signs (`heddle system rotate-root`).
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = whole_seconds)]
    pub(crate) root_spread: u32,
    /// Trust domain of every identity.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) trust_domain: heddle_identity::TrustDomain,
    /// What the parts of the mesh log.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub(crate) log_level: String,
    /// Run as the detached daemon (used by --detach itself).
    #[arg(long, hide = true)]
    pub(crate) daemon: bool,
}

impl Up {
    /// Every manifest path, in the order given.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.iter().chain(&self.filenames)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A file or directory, or `-` for standard input; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Inject {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Show what would change, as a unified diff, instead of the injected manifests.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The mesh's configuration of injection (YAML); all defaults without.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Pods for `podman kube play`, which has no API server to project volumes from: DIR is a directory
    /// of its machine with `trust/root-cert.pem` and `tokens/NAMESPACE/SERVICE_ACCOUNT/token`.
    #[arg(long, value_name = "DIR")]
    pub(crate) podman: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A file or directory, or `-` for standard input; may be repeated. None: the running mesh.
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,
    /// The cluster of KUBECONFIG instead: whether the mesh can be installed there, or works.
    #[arg(long, conflicts_with = "files")]
    pub(crate) cluster: bool,
    /// Its context in KUBECONFIG; the current one unless given.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub(crate) context: Option<String>,
    /// Where the mesh's own parts run (--cluster).
    #[arg(
        short,
        long,
        value_name = "NS",
        default_value = "heddle-system",
        requires = "cluster"
    )]
    pub(crate) namespace: String,
    /// For people, or for programs.
    #[arg(short = 'o', long = "output", default_value = "table")]
    pub(crate) format: CheckFormat,
    /// Show what is at least as bad as this.
    #[arg(long, value_name = "SEVERITY", default_value = "note")]
    pub(crate) severity: Severity,
    /// Fail on warnings too.
    #[arg(long)]
    pub(crate) warnings_as_errors: bool,
    /// Say what a code means, with an example, and check nothing.
    #[arg(long, value_name = "CODE", conflicts_with = "files")]
    pub(crate) explain: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    Table,
    Json,
    Yaml,
    /// SARIF 2.1.0, which code hosts show at the lines.
    Sarif,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Severity {
    Note,
    Warning,
    Error,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Who asks: NAMESPACE/POD, or a workload in place of one of its pods.
    #[arg(long, value_name = "NS/POD")]
    pub(crate) from: String,
    /// The request's method.
    #[arg(
        short = 'X',
        long = "request",
        value_name = "METHOD",
        default_value = "GET"
    )]
    pub(crate) method: String,
    /// A header; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// What it asks for.
    pub(crate) url: String,
    /// Manifests to answer from, in place of the running mesh; may be repeated.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "PATH",
        conflicts_with = "cluster"
    )]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct WhatIf {
    /// Documents to lay over those in force, as `apply` would; may be repeated.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "PATH",
        required_unless_present = "delete"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// An object to take away: KIND/NAME or KIND/NAMESPACE/NAME; may be repeated.
    #[arg(long, value_name = "KIND/NAME")]
    pub(crate) delete: Vec<String>,
    /// Recorded traces, as `heddle traces --spans -o json` or OTLP's JSON has them, in place of the running mesh's.
    #[arg(long, value_name = "FILE")]
    pub(crate) from_traces: Option<PathBuf>,
    /// Manifests that are in force, in place of the running mesh's; may be repeated.
    #[arg(long, value_name = "PATH", conflicts_with = "cluster")]
    pub(crate) base: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// A file or directory whose objects are meant, or `-`; may be repeated.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "PATH",
        required_unless_present = "kind"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// Or: a kind …
    #[arg(conflicts_with = "files", requires = "names")]
    pub(crate) kind: Option<String>,
    /// … and names.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// pods, svc, deploy, vs, dr, …; several with commas; `all` for every object.
    pub(crate) kind: String,
    /// Only the one of this name.
    pub(crate) name: Option<String>,
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    /// Of every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    /// The container whose user and files are used; the first one of the app unless given.
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// A pod, or a Deployment (`reviews-v1`, `deploy/reviews-v1`) for its first ready pod.
    pub(crate) pod: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    /// What the application's containers wrote, in place of the sidecar.
    #[arg(long)]
    pub(crate) app: bool,
    /// Go on with what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// A pod, or a Deployment for its first ready pod; every pod of the namespace unless given.
    pub(crate) pod: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Traces {
    /// Draw this trace; the beginning of its id is enough.
    pub(crate) trace_id: Option<String>,
    /// Draw the newest trace.
    #[arg(long, conflicts_with = "trace_id")]
    pub(crate) last: bool,
    /// Whole traces with their spans, of the last hour, oldest first; for programs (`-o json`).
    #[arg(long, conflicts_with_all = ["trace_id", "last", "service", "status", "min_duration"])]
    pub(crate) spans: bool,
    /// At most so many, newest first.
    #[arg(long, default_value = "20")]
    pub(crate) limit: usize,
    /// Only traces that passed through this service.
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Only traces whose root answered so: 503, 5xx, or `error` for any failed span.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only traces that took at least this long.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) min_duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// For people, or for programs.
    #[arg(short = 'o', long = "output", default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SystemAction {
    Stop,
    Start,
    Restart,
    /// Announce a new root; after the spread it signs, and every workload gets a certificate of it.
    RotateRoot,
    /// Trust roots that sign no more no longer, before what they signed has expired.
    DropRoot,
}

/// A part of the mesh itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Component {
    ControlPlane,
    Identity,
    Injector,
}

impl Component {
    /// As it is typed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Identity => "identity",
            Self::Injector => "injector",
        }
    }
}

fn percentage(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim_end_matches('%')
        .parse()
        .map_err(|_| "a number from 0 to 100 is expected".to_owned())?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err("a number from 0 to 100 is expected".to_owned())
    }
}

/// `250ms`, `10s`, `2m`, `1.5s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write it as 250ms, 10s or 2m");
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text[..text.len() - unit.len()]
        .parse()
        .map_err(|_| wrong())?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// The same, in seconds from 1.
fn whole_seconds(text: &str) -> Result<u32, String> {
    let seconds = duration(text)?.as_secs_f64();
    if seconds < 1.0 || seconds.fract() != 0.0 || seconds > f64::from(u32::MAX) {
        return Err(format!("`{text}` is not a whole number of seconds from 1"));
    }
    Ok(seconds as u32)
}

#[cfg(test)]
mod tests;
