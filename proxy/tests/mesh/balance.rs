//! Which endpoint gets a request: by key, in turn, by place; and what one that drains still gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::Response;
use heddle_proto::mesh::{
    ConsistentHash, Cookie, Endpoint, Health, LoadBalancer, LocalityPolicy, MtlsMode,
    OutlierDetection, TrafficPolicy, consistent_hash, load_balancer,
};
use heddle_proxy_config::kind::Kind;

use crate::support::app::{App, echo};
use crate::support::eventually;
use crate::support::http::{self, Client, full};
use crate::support::mesh::{Mesh, Pod, PodSpec};
use crate::support::resources::{ServiceSpec, endpoint, millis, workload};

/// A client, and servers without sidecars that answer with their names, and 500 while they are ill.
pub(crate) struct Servers {
    pub(crate) client: Pod,
    pub(crate) web: ServiceSpec,
    pub(crate) apps: Vec<App>,
    pub(crate) ill: Vec<Arc<AtomicBool>>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) mesh: Mesh,
}

impl Servers {
    pub(crate) fn new(names: &[&'static str], policy: TrafficPolicy) -> Self {
        let mesh = Mesh::new();
        let client = mesh.strict("client");
        let pods: Vec<Pod> = names.iter().map(|name| mesh.pod(unmeshed(name))).collect();
        let ill: Vec<Arc<AtomicBool>> = names.iter().map(|_| Arc::default()).collect();
        let apps = pods.iter().zip(&ill);
        let apps = apps.map(|(pod, ill)| app(pod, Arc::clone(ill))).collect();
        let web = ServiceSpec::http("web", 1);
        let servers = Self {
            client,
            web,
            apps,
            ill,
            pods,
            mesh,
        };
        web.set(
            &servers.mesh.control,
            &servers.pods.iter().collect::<Vec<_>>(),
            &[],
        );
        web.set_policy(&servers.mesh.control, policy);
        servers
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.pods.iter().map(|pod| endpoint(pod, &[8080])).collect()
    }

    pub(crate) fn set_endpoints(&self, endpoints: Vec<Endpoint>) {
        self.web.set_endpoints(&self.mesh.control, endpoints, &[]);
    }

    /// Who answers a request with this header.
    pub(crate) fn asks(&self, header: (&'static str, String)) -> String {
        let to = self.web.at();
        let answer = self.client.run(async move {
            let mut client = Client::http1(to).await.unwrap();
            client
                .get_with("/", &[(header.0, &header.1)])
                .await
                .unwrap()
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.app().to_owned()
    }

    /// Answers of so many requests, one after the other, and whose they were.
    pub(crate) fn answers(&self, count: usize) -> Vec<(u16, String)> {
        let to = self.web.at();
        self.client.run(async move {
            let mut client = Client::http1(to).await.unwrap();
            let mut answers = Vec::new();
            for _ in 0..count {
                let answer = client.get("/").await.unwrap();
                answers.push((answer.status, answer.app().to_owned()));
            }
            answers
        })
    }

    /// How many of so many requests, one after the other, each answers.
    pub(crate) fn share(&self, requests: usize) -> BTreeMap<String, usize> {
        let to = self.web.at();
        self.client.run(async move {
            let mut client = Client::http1(to).await.unwrap();
            let mut share = BTreeMap::new();
            for _ in 0..requests {
                let answer = client.get("/").await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                *share.entry(answer.app().to_owned()).or_default() += 1;
            }
            share
        })
    }
}

fn app(pod: &Pod, ill: Arc<AtomicBool>) -> App {
    let name = pod.name;
    App::http(&pod.netns, 8080, move |request| {
        let ill = ill.load(Ordering::SeqCst);
        async move {
            if ill {
                let answer = Response::builder().status(500).header("x-app", name);
                return Ok(answer.body(full("no"))?);
            }
            echo(name, request).await
        }
    })
}

pub(crate) fn unmeshed(name: &'static str) -> PodSpec {
    PodSpec {
        meshed: false,
        ..PodSpec::new(name)
    }
}

fn hashed(key: consistent_hash::Key, table: Option<consistent_hash::Table>) -> TrafficPolicy {
    let key = Some(key);
    balanced(load_balancer::Algorithm::ConsistentHash(ConsistentHash {
        key,
        table,
    }))
}

fn balanced(algorithm: load_balancer::Algorithm) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: Some(LoadBalancer {
            algorithm: Some(algorithm),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn a_key_stays_with_its_endpoint_whoever_else_goes() {
    for table in [
        consistent_hash::Table::MinimumRingSize(1024),
        consistent_hash::Table::MaglevSize(0),
    ] {
        let key = consistent_hash::Key::Header("x-user".into());
        let servers = Servers::new(&["one", "two", "three"], hashed(key, Some(table)));
        let users = || (0..40).map(|n| format!("user-{n}"));
        let ask = || -> Vec<String> { users().map(|u| servers.asks(("x-user", u))).collect() };
        let before = ask();
        assert_eq!(before, ask());
        assert_eq!(
            before.iter().collect::<BTreeSet<_>>().len(),
            3,
            "{before:?}"
        );
        servers.set_endpoints(servers.endpoints().split_off(1));
        eventually("the first is gone", || ask().iter().all(|app| app != "one"));
        let after = ask();
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(b, a)| *b != "one" && b != a);
        // A Maglev table may move a few others' keys.
        assert!(moved.count() <= 4, "{before:?} {after:?}");
    }
}

#[test]
fn a_cookie_is_set_for_who_has_none_and_leads_back() {
    let cookie = Cookie {
        name: "seat".into(),
        path: "/".into(),
        ttl: millis(60_000),
    };
    let key = consistent_hash::Key::Cookie(cookie);
    let servers = Servers::new(&["one", "two", "three"], hashed(key, None));
    let to = servers.web.at();
    for _ in 0..10 {
        servers.client.run(async move {
            let mut client = Client::http1(to).await.unwrap();
            let first = client.get("/").await.unwrap();
            let set = first.header("set-cookie").to_owned();
            assert!(
                set.starts_with("seat=") && set.contains("Max-Age=60; Path=/"),
                "{set}"
            );
            let pair = set.split(';').next().unwrap();
            for _ in 0..5 {
                let again = client.get_with("/", &[("cookie", pair)]).await.unwrap();
                assert_eq!(again.app(), first.app());
                assert_eq!(again.header("set-cookie"), "");
            }
        });
    }
}

#[test]
fn in_turn_is_exact_and_goes_by_weight() {
    let simple = load_balancer::Simple::RoundRobin as i32;
    let policy = balanced(load_balancer::Algorithm::Simple(simple));
    let servers = Servers::new(&["one", "two", "three"], policy);
    let share = servers.share(30);
    assert!(share.values().all(|count| *count == 10), "{share:?}");
    let mut endpoints = servers.endpoints();
    endpoints[0].weight = 4;
    servers.set_endpoints(endpoints);
    eventually("a block of the new weights is exact", || {
        servers.share(6).get("one") == Some(&4)
    });
    assert_eq!(servers.share(60)["one"], 40);
}

#[test]
fn one_that_drains_finishes_its_own_and_gets_nothing_new_while_another_is_left() {
    let servers = Servers::new(&["goes", "stays"], TrafficPolicy::default());
    let to = servers.web.at();
    // One of them is at work on each.
    let slow: Vec<_> = (0..4)
        .map(|_| {
            servers.client.netns.spawn(async move {
                let mut client = Client::http1(to).await.unwrap();
                client
                    .get_with("/", &[("x-delay-millis", "3000")])
                    .await
                    .unwrap()
            })
        })
        .collect();
    eventually("both are at work", || {
        servers.apps.iter().all(|app| app.requests() > 0)
    });
    let mut endpoints = servers.endpoints();
    endpoints[0].health = Health::Draining.into();
    servers.set_endpoints(endpoints.clone());
    eventually("it gets nothing new", || {
        !servers.share(20).contains_key("goes")
    });
    assert_eq!(servers.share(50)["stays"], 50);
    for slow in slow {
        let answer = servers.client.run(async move { slow.await.unwrap() });
        assert_eq!(answer.status, 200);
    }
    servers.set_endpoints(endpoints[..1].to_vec());
    eventually("no other is left", || servers.share(1).contains_key("goes"));
    assert_eq!(servers.share(20)["goes"], 20);
}

#[test]
fn traffic_stays_in_its_zone_until_the_zone_fails() {
    let policy = TrafficPolicy {
        load_balancer: Some(LoadBalancer {
            locality: Some(LocalityPolicy {
                failover_enabled: true,
                ..Default::default()
            }),
            ..Default::default()
        }),
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: Some(1),
            base_ejection_time: millis(60_000),
            max_ejection_percent: Some(100),
            ..Default::default()
        }),
        ..Default::default()
    };
    let servers = Servers::new(&["near", "region", "far"], policy);
    let mut own = workload(&servers.client, MtlsMode::Strict, &[]);
    own.locality = "eu/a".into();
    servers
        .mesh
        .control
        .set(Kind::Workload, "default/client", &own);
    let mut endpoints = servers.endpoints();
    for (endpoint, place) in endpoints.iter_mut().zip(["eu/a", "eu/b", "us/x"]) {
        endpoint.locality = place.into();
    }
    servers.set_endpoints(endpoints);
    let only = |servers: &Servers, who: &str| servers.share(20).get(who) == Some(&20);
    eventually("places are known", || only(&servers, "near"));
    assert_eq!(servers.share(50)["near"], 50);
    for (fails, next) in ["region", "far"].into_iter().enumerate() {
        servers.ill[fails].store(true, Ordering::SeqCst);
        assert_eq!(servers.answers(1)[0].0, 500);
        assert!(only(&servers, next), "{next}");
    }
    let ejected = ["reason=\"consecutive-5xx\""];
    let sidecar = servers.client.sidecar();
    assert_eq!(
        sidecar.metric("heddle_outlier_ejections_total", &ejected),
        2.0
    );
    assert_eq!(sidecar.metric("heddle_outlier_ejected", &[]), 2.0);
}

#[test]
fn passthrough_goes_to_the_address_that_was_called() {
    let simple = load_balancer::Simple::Passthrough as i32;
    let policy = balanced(load_balancer::Algorithm::Simple(simple));
    let mut servers = Servers::new(&["one", "two"], policy);
    // The service's address is that of the second: nothing is balanced.
    servers.web.ip = servers.pods[1].ip;
    servers.web.port = 8080;
    let pods: Vec<&Pod> = servers.pods.iter().collect();
    servers.web.set(&servers.mesh.control, &pods, &[]);
    servers.web.set_policy(
        &servers.mesh.control,
        balanced(load_balancer::Algorithm::Simple(simple)),
    );
    assert_eq!(servers.share(20)["two"], 20);
    let answer = servers
        .client
        .run(http::get(servers.web.at(), "/"))
        .unwrap();
    assert_eq!(answer.app(), "two");
}
