//! Opaque connections: bytes both ways, half-closes carried through, in a bounded buffer.

use std::io;

use heddle_proxy_telemetry::{ResponseFlag, TcpSeries};
use tokio::io::copy_bidirectional_with_sizes;

use crate::io::Io;
use crate::limits;

/// Relays until both directions have ended.
pub(crate) async fn relay(
    mut downstream: Io,
    mut upstream: Io,
    series: &TcpSeries,
) -> io::Result<()> {
    series.opened();
    let copied = copy_bidirectional_with_sizes(
        &mut downstream,
        &mut upstream,
        limits::RELAY_BUFFER,
        limits::RELAY_BUFFER,
    )
    .await;
    match copied {
        Ok((received, sent)) => {
            series.received(received);
            series.sent(sent);
            series.closed(ResponseFlag::None);
            Ok(())
        }
        Err(error) => {
            series.closed(ResponseFlag::UpstreamClosed);
            Err(error)
        }
    }
}
