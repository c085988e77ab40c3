//! Every case of the comparison. A case names itself, says what must stand around its load, and
//! measures one peer at a time; `run` calls it for each of its peers in each round.

mod connections;
mod growth;
mod http1;
mod http2;
mod identity;
mod idle;
mod size;
mod streams;
mod tcp;
mod tracing;

use crate::app::App;
use crate::error::Result;
use crate::peers::Peer;
use crate::stage::Stage;

/// The routes that every comparison of requests has.
const EXAMPLE: &str = include_str!("../../examples/bookinfo/reviews.yaml");

/// Every case, in the order in which they run and are shown.
pub(crate) fn registry() -> Vec<Box<dyn Case>> {
    vec![
        Box::new(http1::Http1),
        Box::new(http2::Http2),
        Box::new(http2::Unary),
        Box::new(streams::Streams),
        Box::new(connections::Connections),
        Box::new(idle::Idle::Http),
        Box::new(idle::Idle::Tcp),
        Box::new(tcp::Tcp),
        Box::new(growth::Growth),
        Box::new(tracing::Tracing),
        Box::new(identity::Identity),
        Box::new(size::Size),
    ]
}

/// Something that is compared.
pub(crate) trait Case {
    /// For `--case`: one word.
    fn name(&self) -> &'static str;

    /// A heading.
    fn title(&self) -> &'static str;

    /// What is sent and what it is measured with: a sentence or two, in Markdown.
    fn about(&self) -> String;

    /// What the pods are given. Sidecars and applications are fresh for each; [`Case::measure`] is
    /// called for each.
    fn setups(&self) -> Vec<Setup>;

    /// Whom to compare, in the order of a round.
    fn peers(&self) -> Vec<Peer> {
        let setups = self.setups();
        Peer::able(setups.first().map_or(Traffic::Http1, |s| s.traffic))
    }

    /// Measures one peer in one round: applications and sidecars are ready, and have been seen to do
    /// the work that is compared.
    fn measure(&self, stage: &mut Stage<'_>) -> Result<()>;
}

/// What the server pods offer at the one Service, so what its port is declared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    Http1,
    Http2,
    Grpc,
    Tcp,
}

impl Traffic {
    /// The name of the Service's port, which declares its protocol.
    pub(crate) fn port_name(self) -> &'static str {
        match self {
            Traffic::Http1 => "http",
            Traffic::Http2 => "http2",
            Traffic::Grpc => "grpc",
            Traffic::Tcp => "tcp",
        }
    }
}

/// What stands around a load: one Service (`world::SERVICE`, port `world::PORT`) before two pods, v1
/// and v2.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Which of a case's several setups; empty when there is only one.
    pub(crate) label: String,
    pub(crate) traffic: Traffic,
    /// What runs in both server pods.
    pub(crate) app: App,
    /// Every request traced and exported over OTLP, instead of none.
    pub(crate) tracing: bool,
    /// VirtualService and DestinationRule for Heddle.
    pub(crate) routes: String,
}

impl Setup {
    /// With the routes of the example, tracing at 0 %.
    pub(crate) fn new(traffic: Traffic, app: App) -> Self {
        Self {
            label: String::new(),
            traffic,
            app,
            tracing: false,
            routes: EXAMPLE.to_owned(),
        }
    }

    /// Opaque TCP, every connection to v1.
    pub(crate) fn opaque(app: App) -> Self {
        Self {
            routes: include_str!("../mesh/tcp-routes.yaml").to_owned(),
            ..Self::new(Traffic::Tcp, app)
        }
    }

    /// Whether the routes are the example's.
    pub(crate) fn example(&self) -> bool {
        self.routes == EXAMPLE
    }
}
