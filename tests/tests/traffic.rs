//! The load itself, without a mesh: it must see what goes wrong, or the rows of `chaos` say nothing.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use heddle_tests::echo::{self, Behaviour};
use heddle_tests::traffic::{Kind, Plan, Tally, Traffic};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const STREAMS: usize = 2;

/// Sockets that outlive the servers on them: what connects between two servers is served by the second.
struct Place {
    http: TcpListener,
    grpc: TcpListener,
    runtime: Runtime,
}

struct Server {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Place {
    fn new() -> Self {
        let listen = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        Self {
            http: listen(),
            grpc: listen(),
            runtime: Runtime::new().unwrap(),
        }
    }

    fn serve(&self, behaviour: Behaviour) -> Server {
        let _runtime = self.runtime.enter();
        let again = |listener: &TcpListener| {
            tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap()
        };
        let (stop, stopped) = watch::channel(false);
        let serving = echo::serve(behaviour, again(&self.http), again(&self.grpc), stopped);
        let task = self.runtime.spawn(serving);
        Server { stop, task }
    }

    fn load(&self) -> Traffic {
        let at = |address: SocketAddr| (address, "echo".to_owned());
        let http = self.http.local_addr().unwrap();
        Traffic::start_here(Plan {
            http: at(http),
            grpc: at(self.grpc.local_addr().unwrap()),
            websocket: at(http),
            clients: 2,
            posts: true,
            streams: STREAMS,
            pace: Duration::from_millis(5),
            churn: None,
        })
    }
}

fn tallies(traffic: Traffic) -> Vec<(Kind, Tally)> {
    let record = traffic.stop();
    let (long_ago, soon) = (Duration::from_secs(600), Duration::from_secs(1));
    let now = Instant::now();
    let tally = |kind| (kind, record.between(kind, now - long_ago, now + soon));
    Kind::ALL.map(tally).into()
}

#[test]
fn streams_of_a_server_that_ends_well_move_and_lose_nothing() {
    let place = Place::new();
    let first = place.serve(Behaviour::Echo);
    let traffic = place.load();
    traffic.more(20, &Kind::ALL);
    first.stop.send_replace(true);
    place.runtime.block_on(first.task).unwrap();
    let second = place.serve(Behaviour::Echo);
    traffic.more(20, &Kind::ALL);
    for (kind, tally) in tallies(traffic) {
        // Without a mesh a request can meet a connection that is just being closed.
        assert!(
            kind == Kind::Http || tally.failed.is_empty(),
            "{kind}: {tally:?}"
        );
        assert!(tally.broken.is_empty(), "{kind}: {tally:?}");
        let streams = if kind == Kind::Http { 0 } else { STREAMS };
        assert_eq!(
            (tally.moved, tally.opened),
            (streams, 2 * streams),
            "{kind}"
        );
    }
    second.stop.send_replace(true);
}

#[test]
fn a_server_that_is_cut_off_breaks_every_stream() {
    let place = Place::new();
    let first = place.serve(Behaviour::Echo);
    let traffic = place.load();
    traffic.more(20, &Kind::ALL);
    first.task.abort();
    let _second = place.serve(Behaviour::Echo);
    traffic.more(20, &Kind::ALL);
    for (kind, tally) in tallies(traffic) {
        let streams = if kind == Kind::Http { 0 } else { STREAMS };
        assert_eq!(tally.broken.len(), streams, "{kind}: {tally:?}");
        assert_eq!(tally.moved, 0, "{kind}: {tally:?}");
    }
}

#[test]
fn a_server_that_resets_fails_every_request_and_stream() {
    let place = Place::new();
    let _server = place.serve(Behaviour::Reset);
    let traffic = place.load();
    std::thread::sleep(Duration::from_millis(500));
    for (kind, tally) in tallies(traffic) {
        assert_eq!(tally.answered, 0, "{kind}: {tally:?}");
        let failed = tally.failed.len() + tally.broken.len();
        assert!(failed > 0, "{kind} has not noticed");
    }
}
