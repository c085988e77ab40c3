//! What must go on while everything around a sidecar changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use heddle_proto::mesh::Protocol;
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::{self, Client};
use crate::support::mesh::{Mesh, Pair, Pod, PodSpec};
use crate::support::resources::{ServiceSpec, endpoint, rule};
use crate::support::tcp::{connect, read_exact};

/// Requests over keep-alive connections until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    v2: Arc<AtomicUsize>,
    done: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(pod: &Pod, to: ServiceSpec, connections: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (asked, v2) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let one = |_| {
            let stop = Arc::clone(&stop);
            let (asked, v2) = (Arc::clone(&asked), Arc::clone(&v2));
            pod.netns.spawn(async move {
                let mut client = Client::http1(to.at()).await.unwrap();
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.post("/", "words").await.unwrap();
                    assert_eq!(answer.status, 200, "{answer:?}");
                    asked.fetch_add(1, Ordering::SeqCst);
                    v2.fetch_add(usize::from(answer.app() == "v2"), Ordering::SeqCst);
                }
            })
        };
        let done = (0..connections).map(one).collect();
        Self {
            stop,
            asked,
            v2,
            done,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Until there have been so many more.
    fn goes_on(&self, requests: usize) {
        let until = self.asked() + requests;
        eventually("requests go on", || self.asked() >= until);
    }

    /// How many requests there were, none of which failed, and how many of them v2 answered.
    fn stop(self, pod: &Pod) -> (usize, usize) {
        self.stop.store(true, Ordering::SeqCst);
        for done in self.done {
            pod.run(async move { done.await.unwrap() });
        }
        let count = |of: Arc<AtomicUsize>| of.load(Ordering::SeqCst);
        (count(self.asked), count(self.v2))
    }
}

#[test]
fn pushes_under_load_break_nothing_and_splits_stay_exact() {
    let mesh = Mesh::new();
    let client = mesh.strict("client");
    let (v1, v2) = (mesh.strict("v1"), mesh.strict("v2"));
    let web = ServiceSpec::http("web", 1);
    let subsets = ["v1", "v2"];
    web.set(&mesh.control, &[&v1, &v2], &subsets);
    let table = |origin: &str| vec![rule(origin, vec![web.to("v1", 80), web.to("v2", 20)])];
    web.set_rules(&mesh.control, table("0"));
    let _apps = [
        App::echo(&v1.netns, 8080, "v1"),
        App::echo(&v2.netns, 8080, "v2"),
    ];
    let load = Load::start(&client, web, 4);
    for n in 0..60 {
        // The same weights under another name, then other endpoints of the same addresses.
        web.set_rules(&mesh.control, table(&n.to_string()));
        let (mut one, mut two) = (endpoint(&v1, &[8080]), endpoint(&v2, &[8080]));
        (one.subsets, two.subsets) = (vec![0], vec![1]);
        one.labels.insert("version".into(), n.to_string());
        web.set_endpoints(&mesh.control, vec![one, two], &subsets);
        load.goes_on(3);
    }
    let (asked, to_v2) = load.stop(&client);
    // Exact to the block that is under way.
    let off = (asked as f64 / 5.0 - to_v2 as f64).abs();
    assert!(off <= 1.0, "{to_v2} of {asked}");
    assert_eq!(mesh.control.nacks(), [""; 0]);
}

#[test]
fn a_sidecar_that_restarts_without_control_plane_and_identity_serves_as_before() {
    let mut pair = Pair::new(Protocol::Http1);
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    assert_eq!(pair.client.run(http::get(web, "/")).unwrap().status, 200);
    eventually("what it knows of the service is kept", || {
        pair.client.sidecar().keeps("default/web")
    });
    pair.mesh.stop_control();
    pair.mesh.stop_identity();
    let sidecar = pair.client.sidecar.as_mut().unwrap();
    sidecar.kill();
    sidecar.spawn();
    sidecar.wait_ready();
    assert_eq!(pair.client.run(http::get(web, "/")).unwrap().status, 200);
    eventually("it says what it serves from", || {
        let log = pair.client.sidecar().log();
        log.contains("last accepted configuration")
    });
}

#[test]
fn sigterm_ends_what_is_under_way_and_then_the_sidecar() {
    let mut pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    let (client, server) = (&pair.client, &mut pair.server);
    let mut idle = client.run(async move {
        let mut client = Client::http1(web).await.unwrap();
        client.get("/").await.unwrap();
        client
    });
    let slow = client.netns.spawn(async move {
        let mut client = Client::http1(web).await.unwrap();
        let slow = [("x-delay-millis", "1500")];
        client.get_with("/", &slow).await.unwrap()
    });
    eventually("the slow one is under way", || app.requests() == 2);
    server.sidecar().signal(Signal::SIGTERM);
    eventually("it is no longer ready", || !server.sidecar().is_ready());
    // Calls still come for a while, until everybody knows: they are answered.
    for _ in 0..5 {
        let answer = client.run(http::get(web, "/")).unwrap();
        assert_eq!((answer.status, answer.app()), (200, "server"));
    }
    let (answer, again) = client.run(async move {
        let again = idle.get("/").await.unwrap();
        (slow.await.unwrap(), again)
    });
    assert_eq!((answer.status, again.status), (200, 200));
    let sidecar = server.sidecar.as_mut().unwrap();
    assert!(sidecar.ended());
    assert!(!sidecar.log().contains("have not ended by themselves"));
}

#[test]
fn a_connection_that_comes_while_draining_is_served_and_told_to_close() {
    let mut pair = Pair::new(Protocol::Http1);
    let app = App::echo(&pair.server.netns, 8080, "server");
    let web = pair.web.at();
    let client = &mut pair.client;
    // Something that keeps the sidecar from ending at once.
    let open = client.run(async move {
        let mut stream = connect(web).await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream
    });
    eventually("it is under way", || app.requests() == 1);
    client.sidecar().signal(Signal::SIGTERM);
    eventually("it is no longer ready", || !client.sidecar().is_ready());
    client.run(async move {
        let mut late = Client::http1(web).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let answer = late.get("/").await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
        let mut open = open;
        open.write_all(b"done").await.unwrap();
        assert_eq!(read_exact(&mut open, 12).await, b"HTTP/1.1 200");
    });
    assert!(client.sidecar.as_mut().unwrap().ended());
}

#[test]
fn certificates_are_renewed_while_connections_go_on() {
    let short = |name| PodSpec {
        environment: vec![("HEDDLE_CERT_TTL_SECONDS", "8".into())],
        ..PodSpec::new(name)
    };
    let pair = Pair::with(Protocol::Http1, short("client"), short("server"));
    let _app = App::echo(&pair.server.netns, 8080, "server");
    let chat = ServiceSpec {
        target: 8081,
        ..ServiceSpec::new("chat", 2, Protocol::Tcp)
    };
    chat.set(&pair.mesh.control, &[&pair.server], &[]);
    let _chat =
        crate::support::tcp::Server::start(&pair.server.netns, 8081, |mut s, _| async move {
            let (mut read, mut write) = s.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    let mut long = Some(pair.client.run(async move { connect(chat.at()).await }));
    let load = Load::start(&pair.client, pair.web, 2);
    let renewed = |pod: &Pod| pod.sidecar().log().matches("certificate issued").count();
    let web = pair.web.at();
    eventually("both have renewed twice", || {
        let mut lent = long.take().unwrap();
        long = Some(pair.client.run(async move {
            lent.write_all(b"still here").await.unwrap();
            assert_eq!(read_exact(&mut lent, 10).await, b"still here");
            assert_eq!(http::get(web, "/").await.unwrap().status, 200);
            lent
        }));
        renewed(&pair.client) > 2 && renewed(&pair.server) > 2
    });
    load.goes_on(20);
    load.stop(&pair.client);
}

/// The times are printed for whoever asks (`--no-capture`).
#[test]
fn sidecars_say_when_they_are_ready() {
    let mesh = Mesh::new();
    let pods = ["a", "b", "c"].map(|name| mesh.strict(name));
    for pod in &pods {
        eventually("it says how long it took", || {
            pod.sidecar().log().contains("ready after=")
        });
        let log = pod.sidecar().log();
        let took = log.split("ready after=").nth(1).unwrap();
        let took = took.split_whitespace().next().unwrap();
        println!("{took}, {} KiB resident", pod.sidecar().memory() >> 10);
        let number = took.trim_end_matches(|unit: char| unit.is_alphabetic());
        assert!(number.parse::<f64>().unwrap() > 0.0, "{took}");
    }
}
