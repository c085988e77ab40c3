//! What the server serves, looked at again and again: which kinds are installed, and in which versions.

use std::time::Duration;

use heddle_identity::{backoff::Backoff, channel::explain};
use kube::Client;
use tokio::{sync::mpsc, time::sleep};
use tracing::{info, warn};

use super::{
    Pace,
    kinds::{Served, discover, discover_ready},
};

/// Between two looks at a server that may be starting.
const SETTLE: Duration = Duration::from_secs(1);

/// Looks again and again at what is served. An error says why there is no answer. A server that is just starting shows
/// more and more: nothing is said before it is ready and two looks are alike, so that a mesh is never
/// begun without its routes.
pub(super) async fn follow(
    client: Client,
    pace: Pace,
    served: mpsc::Sender<Result<Served, String>>,
) {
    let mut backoff = Backoff::new(pace.max_pause / 64, pace.max_pause);
    let mut failing = false;
    let mut before: Option<Served> = None;
    let mut is_settled = false;
    loop {
        let found = match is_settled {
            true => discover(&client).await,
            false => discover_ready(&client).await,
        };
        if !is_settled {
            is_settled = matches!((&before, &found), (Some(before), Ok(now)) if before == now);
            before = found.as_ref().ok().cloned();
        }
        let pause = match found {
            Ok(_) if !is_settled => pace.look.min(SETTLE),
            Ok(now) => {
                backoff.reset();
                if std::mem::take(&mut failing) {
                    info!("the API server is there again");
                }
                if served.send(Ok(now)).await.is_err() {
                    return;
                }
                pace.look
            }
            Err(error) => {
                let error = explain(&error);
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        error,
                        "cannot ask the API server what it serves; the mesh goes on with what it has"
                    );
                }
                if served.send(Err(error)).await.is_err() {
                    return;
                }
                backoff.next()
            }
        };
        sleep(pause).await;
    }
}
