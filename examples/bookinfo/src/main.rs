//! A small multi-service sample: `productpage` asks `details` and `reviews`; reviews v2 and v3 ask
//! `ratings`. One binary, one subcommand a service, plain HTTP/1.1. It passes a trace context on
//! only where `PROPAGATE_TRACE_CONTEXT` says so: everything else about the mesh it does not know.

mod client;
mod pages;

use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Client;

/// The Bookinfo sample.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Example: heddle-bookinfo reviews --service-version v2"
)]
struct Cli {
    /// Which service to be.
    service: Service,
    /// Port to listen on.
    #[arg(long, env = "PORT", default_value_t = 9080)]
    port: u16,
    /// Version of the service; reviews v2 and v3 show ratings.
    #[arg(long, env = "SERVICE_VERSION", default_value = "v1")]
    service_version: String,
    /// Pass the trace context of a request on to the calls that it causes.
    #[arg(long, env = "PROPAGATE_TRACE_CONTEXT", default_value_t = false, action = clap::ArgAction::Set)]
    propagate_trace_context: bool,
    /// Port of the other services.
    #[arg(long, env = "SERVICES_PORT", default_value_t = 9080)]
    services_port: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Service {
    Productpage,
    Details,
    Reviews,
    Ratings,
}

/// What every handler knows.
pub(crate) struct App {
    pub(crate) version: String,
    pub(crate) pod: String,
    pub(crate) services_port: u16,
    pub(crate) client: Client,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let app = Arc::new(App {
        version: cli.service_version,
        pod: std::env::var("HOSTNAME").unwrap_or_else(|_| "unknown".into()),
        services_port: cli.services_port,
        client: Client::new(cli.propagate_trace_context),
    });
    let router = match cli.service {
        Service::Productpage => Router::new()
            .route("/", get(pages::productpage))
            .route("/productpage", get(pages::productpage))
            .route("/api/v1/products/{id}", get(pages::product)),
        Service::Details => Router::new().route("/details/{id}", get(pages::details)),
        Service::Reviews => Router::new().route("/reviews/{id}", get(pages::reviews)),
        Service::Ratings => Router::new().route("/ratings/{id}", get(pages::ratings)),
    };
    let router = router
        .route("/health", get(|| async { "ok\n" }))
        .with_state(app);
    match serve(router, cli.port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-bookinfo: port {}: {error}", cli.port);
            ExitCode::FAILURE
        }
    }
}

async fn serve(router: Router, port: u16) -> std::io::Result<()> {
    let listener = match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => listener,
        // A pod without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await
}
