//! Memory while many connections are idle: to the client's sidecar alone (HTTP/1.1, kept alive), and
//! through both (opaque TCP, each with mutual TLS between them).

use std::time::Duration;

use crate::app::App;
use crate::cases::{Case, Setup, Traffic};
use crate::error::Result;
use crate::figure::Measure;
use crate::files;
use crate::load::idle::{self, Exchange, Told};
use crate::peers::Peer;
use crate::stage::Stage;
use crate::stop;
use crate::usage::Memory;

/// As many as asked for, where descriptors allow it.
const CONNECTIONS: u32 = 10_000;
/// Of a sidecar's descriptors, for everything else.
const OTHER_FILES: u64 = 1000;
/// Of Envoy's, at most.
const AIM: f64 = 0.25;
/// Some 200 handshakes a second on a machine that others use too.
const OPENING: Duration = Duration::from_secs(60);
/// So long they are held; memory is looked at in the middle.
const HOLD: Duration = Duration::from_secs(4);
/// To ask each once more.
const ASKING: Duration = Duration::from_secs(60);

/// What is idle.
pub(crate) enum Idle {
    /// HTTP/1.1, kept alive.
    Http,
    /// Opaque TCP.
    Tcp,
}

impl Case for Idle {
    fn name(&self) -> &'static str {
        match self {
            Idle::Http => "idle",
            Idle::Tcp => "idle-tcp",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Idle::Http => "Idle connections",
            Idle::Tcp => "Idle opaque connections",
        }
    }

    fn about(&self) -> String {
        let which = match self {
            Idle::Http => "Kept-alive connections of an application to its own sidecar",
            Idle::Tcp => {
                "Connections through both sidecars, each with its own mutual TLS connection between them; \
                 a sidecar needs two descriptors for each, so that the limit of open files may allow fewer \
                 than 10,000"
            }
        };
        format!(
            "{which}. Each has had one exchange and is silent; memory two seconds later. After that each \
             must answer again."
        )
    }

    fn setups(&self) -> Vec<Setup> {
        vec![match self {
            Idle::Http => Setup::new(Traffic::Http1, App::Nginx),
            Idle::Tcp => Setup::opaque(App::Echo),
        }]
    }

    fn peers(&self) -> Vec<Peer> {
        let traffic = match self {
            Idle::Http => Traffic::Http1,
            Idle::Tcp => Traffic::Tcp,
        };
        let mut able = Peer::able(traffic);
        able.retain(|peer| *peer != Peer::Direct);
        able
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<()> {
        let (exchange, connections) = match self {
            Idle::Http => (Exchange::Http, CONNECTIONS),
            Idle::Tcp => (Exchange::Echo, CONNECTIONS.min(through_both()?)),
        };
        let Some(before) = stage.memory()? else {
            return Ok(());
        };
        let mut load = idle::start(stage.ground(), exchange, connections, HOLD)?;
        let log = load.log().to_owned();
        let told = || idle::parse(&std::fs::read_to_string(&log).unwrap_or_default());
        load.wait_for("connected", OPENING, || !told().is_empty())?;
        stop::sleep(HOLD / 2)?;
        let Some(during) = stage.memory()? else {
            return Ok(());
        };
        let said = idle::parse(&load.ended(HOLD + ASKING)?);
        if said != [Told::Open(connections), Told::Answered(connections)] {
            let what = format!("of {connections} idle connections: {said:?}");
            return Err(stage.ground().not(what));
        }
        let at = format!("{connections} connections");
        record(stage, &at, "client's", connections, (before.0, during.0));
        // Of HTTP, only what the client's sidecar pools reaches the server's.
        if matches!(self, Idle::Tcp) {
            record(stage, &at, "server's", connections, (before.1, during.1));
        }
        Ok(())
    }
}

fn record(
    stage: &mut Stage<'_>,
    at: &str,
    whose: &str,
    connections: u32,
    (before, during): (Memory, Memory),
) {
    let rss = Measure::less(&format!("RSS, {whose} sidecar"), "MiB").at(at);
    stage.record(rss.aim(AIM, Peer::Envoy), during.rss / 1024.0);
    let each = Measure::less(&format!("RSS per connection, {whose} sidecar"), "KiB").at(at);
    let grown = (during.rss - before.rss) / f64::from(connections);
    stage.record(each.uncharted(), grown);
}

/// How many connections a sidecar may carry that needs two descriptors for each.
fn through_both() -> Result<u32> {
    let connections = files::allowed()?.saturating_sub(OTHER_FILES) / 2;
    Ok(u32::try_from(connections).unwrap_or(u32::MAX))
}
