//! Programs that no package provides, as hidden commands of this one: applications and load
//! generators. Each runs in a pod, for itself; a load generator's last line is JSON.

use std::io;
use std::net::SocketAddr;

use clap::Subcommand;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::app;
use crate::collector;
use crate::error::{Error, Result};
use crate::load::{certificates, connections, idle, streams};

/// Which.
#[derive(Debug, Subcommand)]
pub(crate) enum Own {
    /// An OpenTelemetry collector that counts spans
    #[command(hide = true)]
    Collector { on: SocketAddr },
    /// A TCP server that sends back what it is sent
    #[command(hide = true)]
    EchoServer { on: SocketAddr },
    /// A gRPC server that sends back what it is sent
    #[command(hide = true)]
    GrpcServer { on: SocketAddr, version: String },
    /// Asks for certificates
    #[command(hide = true)]
    LoadCertificates(certificates::Options),
    /// Opens short connections
    #[command(hide = true)]
    LoadConnections(connections::Options),
    /// Holds idle connections
    #[command(hide = true)]
    LoadIdle(idle::Options),
    /// Sends messages on gRPC streams
    #[command(hide = true)]
    LoadStreams(streams::Options),
}

/// Runs it to its end.
pub(crate) fn run(own: &Own) -> Result<()> {
    let done = match own {
        Own::Collector { on } => wait(collector::serve(*on)),
        Own::EchoServer { on } => {
            wait(async { app::echo::serve(TcpListener::bind(on).await?).await })
        }
        Own::GrpcServer { on, version } => {
            wait(async { app::grpc::serve(TcpListener::bind(on).await?, version).await })
        }
        Own::LoadCertificates(options) => wait(certificates::run(options)).and_then(tell),
        Own::LoadConnections(options) => connections::run(options).and_then(tell),
        Own::LoadIdle(options) => idle::run(options, &mut io::stdout()),
        Own::LoadStreams(options) => wait(streams::run(options)).and_then(tell),
    };
    done.map_err(|error| Error::Own(error.to_string()))
}

fn wait<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

fn tell(done: impl Serialize) -> io::Result<()> {
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}
