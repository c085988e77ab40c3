//! The source against a double of the API server: what comes as a batch, and above all what does not.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Duration};

use heddle_apiserver::{ApiServer, Effect, Fault, Kind as Served, Options, istio};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{
    name::{NsName, ObjectKey},
    source::{
        Change, Refusal,
        last_good::{self, LastGood},
    },
};

const PACE: Pace = Pace {
    look: Duration::from_millis(30),
    max_pause: Duration::from_millis(100),
    patience: Duration::from_secs(20),
};
/// Between two bookmarks of a watch.
const BOOKMARKS: Duration = Duration::from_millis(20);
/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source, and the picture that its batches make.
struct Seen {
    batches: mpsc::Receiver<Batch>,
    objects: HashMap<ObjectKey, Arc<Object>>,
    refusals: Arc<[Refusal]>,
    kept: usize,
    /// Changes of the last batch: `+NAME` and `-NAME`.
    last: BTreeSet<String>,
    source: KubernetesSource,
}

async fn client(server: &ApiServer) -> Client {
    client_of(server, &server.admin_token()).await
}

async fn client_of(server: &ApiServer, token: &str) -> Client {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    std::fs::write(&file, server.kubeconfig(token, None)).unwrap();
    Access::Kubeconfig(file).client().await.unwrap()
}

impl Seen {
    async fn start(server: &ApiServer, last_good: Vec<Arc<Object>>) -> Self {
        Self::with(client(server).await, PACE, last_good)
    }

    fn with(client: Client, pace: Pace, last_good: Vec<Arc<Object>>) -> Self {
        let (sender, batches) = mpsc::channel(4);
        Self {
            batches,
            objects: HashMap::new(),
            refusals: Arc::new([]),
            kept: 0,
            last: BTreeSet::new(),
            source: KubernetesSource::start(client, pace, last_good, sender),
        }
    }

    async fn batch(&mut self) {
        let batch = timeout(PATIENCE, self.batches.recv())
            .await
            .expect("a batch")
            .unwrap();
        self.last.clear();
        for change in batch.changes {
            match change {
                Change::Upsert(object) => {
                    self.last.insert(format!("+{}", object.key.name.name()));
                    self.objects.insert(object.key.clone(), object);
                }
                Change::Remove(key) => {
                    self.last.insert(format!("-{}", key.name.name()));
                    assert!(self.objects.remove(&key).is_some(), "{key} was never there");
                }
            }
        }
        self.refusals = batch.refusals;
        self.kept = batch.kept.len();
    }

    /// The changes of the next batch.
    async fn next(&mut self) -> Vec<String> {
        self.batch().await;
        self.last.iter().cloned().collect()
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        let name = NsName::new("default", name).unwrap();
        self.objects.contains_key(&ObjectKey { kind, name })
    }
}

async fn server() -> ApiServer {
    let options = Options {
        bookmarks: BOOKMARKS,
        ..Options::default()
    };
    ApiServer::start(options).await.unwrap()
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
           "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}})
}

fn pod(name: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "a"}},
           "spec": {"containers": [{"name": "app", "image": "x"}]},
           "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                      "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn route(name: &str, host: &str) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
           "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]}})
}

/// Until all kinds are watched, so that what a test does to watches meets them all.
async fn watched(server: &ApiServer, kinds: usize) {
    timeout(PATIENCE, async {
        loop {
            let asked = server.asked();
            let watches: BTreeSet<_> = asked
                .iter()
                .filter(|asked| asked.verb == "watch")
                .map(|asked| asked.full_resource())
                .collect();
            if watches.len() >= kinds {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("watches");
}

/// Kinds of the server itself that are followed.
const BUILT_IN: usize = 7;

#[tokio::test]
async fn the_first_batch_is_the_whole_and_an_edit_is_one_change() {
    let server = server().await;
    server.install(&istio()).await;
    server.put(service("a")).await.unwrap();
    server.put(route("r", "a")).await.unwrap();
    // More than a page.
    for i in 0..300 {
        server
            .put(pod(
                &format!("p{i}"),
                &format!("10.1.{}.{}", i / 250, i % 250 + 1),
            ))
            .await
            .unwrap();
    }
    // The first answers fail: the first batch waits for all the same.
    server.fail(Fault::refuse(
        "list",
        "virtualservices.networking.istio.io",
        500,
        "InternalError",
        2,
    ));
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    // Namespaces default and kube-system, the service, the route and the pods.
    assert_eq!(seen.objects.len(), 2 + 1 + 1 + 300);
    assert_eq!(&*seen.refusals, []);

    server.put(route("r", "b")).await.unwrap();
    assert_eq!(seen.next().await, ["+r"]);
    server.put(pod("new", "10.2.0.1")).await.unwrap();
    // Made without an address, and then with one.
    while !seen.objects.values().any(|object| {
        object
            .pod()
            .is_some_and(|pod| pod.addresses.len() == 1 && object.key.name.name() == "new")
    }) {
        assert_eq!(seen.next().await, ["+new"]);
    }
    assert!(server.delete("pods", "default", "p7").await);
    assert_eq!(seen.next().await, ["-p7"]);
}

#[tokio::test]
async fn what_says_nothing_new_is_no_change() {
    let server = server().await;
    server.install(&istio()).await;
    server.put(pod("p", "10.1.0.1")).await.unwrap();
    server.put(service("a")).await.unwrap();
    server.put(route("r", "a")).await.unwrap();
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    // A heartbeat of the kubelet, a load balancer's address, a controller's status, what kubectl leaves.
    let mut beating = pod("p", "10.1.0.1");
    beating["status"]["conditions"][0]["lastProbeTime"] = "2026-01-01T00:00:00Z".into();
    server.put(beating).await.unwrap();
    let mut balanced = service("a");
    balanced["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    let address = server.object("services", "default", "a").unwrap()["spec"]["clusterIP"].clone();
    balanced["spec"] = server.object("services", "default", "a").unwrap()["spec"].clone();
    assert!(address.is_string());
    server.put(balanced).await.unwrap();
    let mut applied = route("r", "a");
    applied["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        "{}".into();
    applied["status"] = json!({"validationMessages": []});
    server.put(applied).await.unwrap();
    // What comes next is the first that counts.
    server.put(service("b")).await.unwrap();
    assert_eq!(seen.next().await, ["+b"]);
}

#[tokio::test]
async fn a_kind_that_is_installed_later_is_followed_and_one_that_goes_is_gone() {
    let server = server().await;
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    assert_eq!(seen.objects.len(), 2);
    // An old mesh's definitions come first: only v1beta1 is served.
    let old = Served::custom(
        "networking.istio.io",
        &["v1beta1"],
        "VirtualService",
        "virtualservices",
    );
    server.install(std::slice::from_ref(&old)).await;
    let mut written = route("r", "a");
    written["apiVersion"] = "networking.istio.io/v1beta1".into();
    server.put(written).await.unwrap();
    assert_eq!(seen.next().await, ["+r"]);
    // With the newer version the same object is no change.
    server.install(&istio()).await;
    let newer = |server: &ApiServer| {
        server.asked().iter().any(|asked| {
            asked.verb == "watch" && asked.resource == "virtualservices" && asked.version == "v1"
        })
    };
    timeout(PATIENCE, async {
        while !newer(&server) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a watch of v1");
    server.put(service("s")).await.unwrap();
    assert_eq!(seen.next().await, ["+s"]);
    assert!(seen.has(Kind::VirtualService, "r"));
    let definition = "virtualservices.networking.istio.io";
    assert!(
        server
            .delete(
                "customresourcedefinitions.apiextensions.k8s.io",
                "",
                definition
            )
            .await
    );
    assert_eq!(seen.next().await, ["-r"]);
}

#[tokio::test]
async fn a_server_that_has_only_forgotten_where_we_were_is_not_waited_for() {
    let server = server().await;
    server.put(service("a")).await.unwrap();
    // A pause as after a failure would be longer than the test's patience.
    let max_pause = Duration::from_secs(1_000_000);
    let mut seen = Seen::with(
        client(&server).await,
        Pace { max_pause, ..PACE },
        Vec::new(),
    );
    seen.batch().await;
    watched(&server, BUILT_IN).await;
    server.expire_watches();
    server.put(service("b")).await.unwrap();
    assert_eq!(seen.next().await, ["+b"]);
}

#[tokio::test]
async fn watches_that_are_too_old_begin_anew_without_losing_or_repeating() {
    let server = server().await;
    server.install(&istio()).await;
    for name in ["a", "b", "c"] {
        server.put(service(name)).await.unwrap();
        server.put(route(name, name)).await.unwrap();
    }
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    watched(&server, BUILT_IN + istio().len()).await;
    // In the stream.
    server.expire_watches();
    server.put(service("d")).await.unwrap();
    assert_eq!(seen.next().await, ["+d"]);
    // As a status of the watch that follows a list.
    server.fail(Fault::refuse("watch", "services", 410, "Expired", 1));
    server.cut_watches();
    server.put(service("e")).await.unwrap();
    assert_eq!(seen.next().await, ["+e"]);
    // While the list is read, and with something gone meanwhile.
    server.fail(Fault::refuse("list", "services", 410, "Expired", 3));
    server.expire_watches();
    assert!(server.delete("services", "default", "a").await);
    assert_eq!(seen.next().await, ["-a"]);
    assert_eq!(seen.objects.len(), 2 + 4 + 3);
}

#[tokio::test]
async fn while_the_server_is_away_nothing_changes_and_then_it_is_caught_up() {
    let server = server().await;
    server.install(&istio()).await;
    server.put(service("a")).await.unwrap();
    server.put(service("b")).await.unwrap();
    server.put(route("r", "a")).await.unwrap();
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    watched(&server, BUILT_IN + istio().len()).await;
    server.go_away().await;
    // What happens meanwhile, and that nobody can know; then it has also forgotten what happened.
    assert!(server.delete("services", "default", "a").await);
    server.put(service("c")).await.unwrap();
    server.compact();
    tokio::time::sleep(PACE.max_pause * 4).await;
    assert!(
        seen.batches.try_recv().is_err(),
        "nothing is known to have changed"
    );
    // It comes back with difficulty: not all that it serves is shown at once, and connections drop.
    let drop = Fault {
        effect: Effect::Drop,
        ..Fault::refuse("list", "services", 0, "", 3)
    };
    server.fail(drop);
    server.fail(Fault::refuse("get", "", 503, "ServiceUnavailable", 2));
    server.come_back().await;
    let mut all = BTreeSet::new();
    while !(all.contains("-a") && all.contains("+c")) {
        all.extend(seen.next().await);
    }
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(seen.has(Kind::VirtualService, "r") && seen.has(Kind::Service, "b"));
}

#[tokio::test]
async fn a_kind_that_a_restarting_server_does_not_show_yet_stays() {
    let server = server().await;
    server.install(&istio()).await;
    server.put(route("r", "a")).await.unwrap();
    let mut index = Index::new(Vec::new(), Arc::default());
    let wanted = WANTED
        .iter()
        .find(|wanted| wanted.kind == Kind::VirtualService)
        .unwrap();
    let (sender, _letters) = mpsc::channel(8);
    let (batches, _received) = mpsc::channel(8);
    index.begin(wanted.kind);
    let mut source = Source {
        client: client(&server).await,
        pace: PACE,
        followed: HashMap::new(),
        followers: JoinSet::new(),
        epoch: 0,
        started: false,
        index,
        progress: Arc::default(),
        batches,
    };
    source.follow(&served_of(&[wanted]), &sender);
    for _ in 1..ABSENT {
        source.follow(&kinds::Served::new(), &sender);
    }
    assert!(source.followed.contains_key(&wanted.kind));
    source.follow(&served_of(&[wanted]), &sender);
    source.follow(&kinds::Served::new(), &sender);
    assert!(
        source.followed.contains_key(&wanted.kind),
        "the count begins anew"
    );
    for _ in 1..ABSENT {
        source.follow(&kinds::Served::new(), &sender);
    }
    assert!(source.followed.is_empty());
}

const SOON: Duration = Duration::from_millis(400);

/// A source that may do what `rules` say, and tells soon what it waits for.
async fn impatient(server: &ApiServer, rules: Value, patience: Duration) -> Seen {
    let role = "heddle-control";
    let group = "rbac.authorization.k8s.io";
    server
        .put(json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules}))
        .await
        .unwrap();
    server
        .put(json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": role},
                    "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                    "subjects": [{"kind": "ServiceAccount", "name": role, "namespace": "default"}]}))
        .await
        .unwrap();
    let pace = Pace { patience, ..PACE };
    let token = server.account_token("default", role);
    Seen::with(client_of(server, &token).await, pace, Vec::new())
}

async fn strict_server() -> ApiServer {
    let options = Options {
        rbac: true,
        ..Options::default()
    };
    let server = ApiServer::start(options).await.unwrap();
    server.install(&istio()).await;
    server.put(service("a")).await.unwrap();
    server.put(route("r", "a")).await.unwrap();
    server
}

fn may_read(groups: Value, resources: Value) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": ["list", "watch"]})
}

fn core() -> Value {
    may_read(
        json!(["", "discovery.k8s.io", "networking.k8s.io"]),
        json!(["*"]),
    )
}

const NO_ROUTES: [&str; 5] = [
    "destinationrules",
    "serviceentries",
    "sidecars",
    "peerauthentications",
    "telemetries",
];

#[tokio::test]
async fn a_server_that_is_just_starting_is_not_taken_at_its_word() {
    let server = server().await;
    // Not ready; and then ready before it serves what was installed.
    server.fail(Fault {
        verbs: vec!["get"],
        ..Fault::refuse("get", "", 500, "InternalError", 1)
    });
    let pace = Pace {
        look: Duration::from_secs(1),
        ..PACE
    };
    let mut seen = Seen::with(client(&server).await, pace, Vec::new());
    asks(&server, "a look", |server| {
        server.asked().iter().any(|asked| asked.path == "/apis")
    })
    .await;
    server.install(&istio()).await;
    server.put(route("r", "a")).await.unwrap();
    seen.batch().await;
    assert!(seen.has(Kind::VirtualService, "r"));
}

async fn allow(server: &ApiServer, rules: Value) {
    server
        .put(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                    "metadata": {"name": "heddle-control"}, "rules": rules}),
        )
        .await
        .unwrap();
}

fn everything() -> Value {
    json!([core(), may_read(json!(["*"]), json!(["*"]))])
}

/// Until it is all that is told.
async fn says(seen: &Seen, wanted: &[&str]) {
    let progress = seen.source.progress();
    let so = |said: &[String]| {
        said.len() == wanted.len() && said.iter().zip(wanted).all(|(line, one)| line == one)
    };
    let mut said = Vec::new();
    let waiting = async {
        loop {
            said = progress.troubles();
            if so(&said) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let came = timeout(PATIENCE, waiting).await;
    assert!(came.is_ok(), "{said:#?} and not {wanted:#?}");
}

const ROUTES: &str = "virtualservices.networking.istio.io";
const RULE: &str = "not allowed to list and watch it: add the rule {apiGroups: [\"networking.istio.io\"], \
    resources: [virtualservices], verbs: [list, watch]} to a ClusterRole of heddle-control's service account";

#[tokio::test]
async fn a_kind_that_may_not_be_read_holds_everything_back_until_it_may() {
    let server = strict_server().await;
    let rules = json!([core(), may_read(json!(["*"]), json!(NO_ROUTES))]);
    let mut seen = impatient(&server, rules, SOON).await;
    let line = format!("{ROUTES}: no sidecar is served before it has been listed: {RULE}");
    says(&seen, &[&line]).await;
    let value = format!("heddle_control_kind_unread{{resource=\"{ROUTES}\"}}");
    let metrics = seen.source.progress().metrics();
    assert!(metrics.contains(&format!("{value} 1\n")), "{metrics}");
    // Longer than anything is waited for.
    tokio::time::sleep(SOON * 5).await;
    assert!(seen.batches.try_recv().is_err(), "the mesh is not whole");
    allow(&server, everything()).await;
    seen.batch().await;
    assert!(seen.has(Kind::Service, "a") && seen.has(Kind::VirtualService, "r"));
    says(&seen, &[]).await;
    let metrics = seen.source.progress().metrics();
    assert!(metrics.contains(&format!("{value} 0\n")), "{metrics}");
}

#[tokio::test]
async fn a_list_that_does_not_come_to_an_end_holds_everything_back_and_is_told() {
    let server = strict_server().await;
    let late = Fault {
        effect: Effect::Delay(Duration::from_secs(600)),
        ..Fault::refuse("list", "pods", 0, "", 1)
    };
    server.fail(late);
    let mut seen = impatient(&server, everything(), SOON).await;
    let line =
        "pods: no sidecar is served before it has been listed: its list does not come to an end";
    says(&seen, &[line]).await;
    assert!(seen.batches.try_recv().is_err(), "the mesh is not whole");
}

#[tokio::test]
async fn a_kind_whose_definition_goes_holds_nothing_back() {
    let server = strict_server().await;
    let rules = json!([core(), may_read(json!(["*"]), json!(NO_ROUTES))]);
    let mut seen = impatient(&server, rules, SOON).await;
    let line = format!("{ROUTES}: no sidecar is served before it has been listed: {RULE}");
    says(&seen, &[&line]).await;
    let definitions = "customresourcedefinitions.apiextensions.k8s.io";
    assert!(server.delete(definitions, "", ROUTES).await);
    seen.batch().await;
    assert!(seen.has(Kind::Service, "a"));
    says(&seen, &[]).await;
}

#[tokio::test]
async fn a_kind_that_comes_later_and_may_not_be_read_holds_nothing_back_but_is_told() {
    let options = Options {
        rbac: true,
        ..Options::default()
    };
    let server = ApiServer::start(options).await.unwrap();
    let mut seen = impatient(&server, json!([core()]), SOON).await;
    seen.batch().await;
    let definitions = istio();
    let routes = definitions
        .iter()
        .find(|kind| kind.plural == "virtualservices");
    server.install(std::slice::from_ref(routes.unwrap())).await;
    server.put(route("r", "a")).await.unwrap();
    let line = format!(
        "{ROUTES}: not in force, and a replica that starts now does not become ready: {RULE}"
    );
    says(&seen, &[&line]).await;
    server.put(service("a")).await.unwrap();
    assert_eq!(seen.next().await, ["+a"]);
    allow(&server, everything()).await;
    assert_eq!(seen.next().await, ["+r"]);
    says(&seen, &[]).await;
}

#[tokio::test]
async fn a_kind_that_may_not_be_followed_any_more_stays_as_it_was() {
    let server = strict_server().await;
    let mut seen = impatient(&server, everything(), SOON).await;
    seen.batch().await;
    watched(&server, BUILT_IN + istio().len()).await;
    allow(
        &server,
        json!([core(), may_read(json!(["*"]), json!(NO_ROUTES))]),
    )
    .await;
    server.cut_watches();
    let line = format!("{ROUTES}: stays as it was: {RULE}");
    says(&seen, &[&line]).await;
    // A list that is refused makes nothing gone, and others go on.
    tokio::time::sleep(SOON * 2).await;
    server.put(service("b")).await.unwrap();
    assert_eq!(seen.next().await, ["+b"]);
    assert!(seen.has(Kind::VirtualService, "r"));
    allow(&server, everything()).await;
    server.put(route("s", "a")).await.unwrap();
    assert_eq!(seen.next().await, ["+s"]);
    says(&seen, &[]).await;
}

#[tokio::test]
async fn a_server_that_does_not_say_what_it_serves_is_told() {
    let server = server().await;
    server.fail(Fault {
        verbs: vec!["get"],
        ..Fault::refuse("get", "", 503, "ServiceUnavailable", usize::MAX)
    });
    let seen = Seen::start(&server, Vec::new()).await;
    asks(&server, "it is told", |_| {
        let said = seen.source.progress().troubles();
        said.len() == 1 && said[0].starts_with("what the API server serves: ")
    })
    .await;
}

#[tokio::test]
async fn what_an_account_may_not_follow_is_asked_for_it() {
    let server = strict_server().await;
    let rules = json!([core(), may_read(json!(["*"]), json!(NO_ROUTES))]);
    let _seen = impatient(&server, rules, SOON).await;
    let admin = client(&server).await;
    let found = forbidden(&admin, "default", "heddle-control")
        .await
        .unwrap();
    assert_eq!(
        found,
        [Forbidden {
            resource: ROUTES.to_owned(),
            rule: "{apiGroups: [\"networking.istio.io\"], resources: [virtualservices], verbs: [list, watch]}".to_owned(),
        }]
    );
    allow(&server, everything()).await;
    let found = forbidden(&admin, "default", "heddle-control")
        .await
        .unwrap();
    assert_eq!(found, []);
}

#[tokio::test]
async fn a_server_that_goes_away_on_the_way_keeps_nothing_from_us() {
    let server = strict_server().await;
    let late = Fault {
        effect: Effect::Delay(Duration::from_secs(600)),
        ..Fault::refuse("list", "virtualservices.networking.istio.io", 0, "", 1)
    };
    server.fail(late);
    let rules = json!([core(), may_read(json!(["*"]), json!(["*"]))]);
    let patience = Duration::from_secs(3);
    let mut seen = impatient(&server, rules, patience).await;
    watched(&server, BUILT_IN + istio().len() - 1).await;
    server.go_away().await;
    tokio::time::sleep(patience + patience / 2).await;
    assert!(seen.batches.try_recv().is_err(), "it is waited for");
    server.come_back().await;
    seen.batch().await;
    assert!(seen.has(Kind::VirtualService, "r"));
}

fn served_of(wanted: &[&'static Wanted]) -> kinds::Served {
    wanted
        .iter()
        .map(|wanted| (wanted.kind, wanted.versions[0]))
        .collect()
}

#[tokio::test]
async fn what_becomes_bad_keeps_its_last_good_version_also_over_a_restart() {
    let server = server().await;
    server.install(&istio()).await;
    server.put(route("r", "a")).await.unwrap();
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    let mut bad = route("r", "a");
    bad["spec"]["http"][0]["rout"] = json!([]);
    bad["spec"]["http"][0]
        .as_object_mut()
        .unwrap()
        .remove("route");
    server.put(bad).await.unwrap();
    assert!(seen.next().await.is_empty());
    assert_eq!(seen.kept, 1);
    let refusal = seen.refusals[0].to_string();
    assert!(
        refusal.starts_with("VirtualService default/r: ")
            && refusal.contains("`rout` in spec.http[0]")
            && refusal.contains("did you mean `route`?")
            && refusal.contains("its last good version stays in force"),
        "{refusal}"
    );
    // What the state directory keeps of it is enough for the next process.
    let key = ObjectKey {
        kind: Kind::VirtualService,
        name: NsName::new("default", "r").unwrap(),
    };
    let kept = seen.objects[&key].clone();
    let state = tempfile::tempdir().unwrap();
    let (keep, keeping) = watch::channel(None);
    keep.send_replace(Some(LastGood {
        source: vec![kept],
        model: Vec::new(),
    }));
    drop(keep);
    last_good::keep(state.path().to_owned(), keeping).await;
    let last_good = LastGood::load(state.path()).source;
    assert_eq!(last_good.len(), 1);
    let mut next = Seen::start(&server, last_good).await;
    next.batch().await;
    assert!(next.has(Kind::VirtualService, "r"));
    assert_eq!((next.refusals.len(), next.kept), (1, 1));
    // Without it no version is in force.
    let mut other = Seen::start(&server, Vec::new()).await;
    other.batch().await;
    assert!(!other.has(Kind::VirtualService, "r"));
    server.put(route("r", "b")).await.unwrap();
    assert_eq!(seen.next().await, ["+r"]);
    assert_eq!((seen.refusals.len(), seen.kept), (0, 0));
}

/// Parameters of the lists and watches of a kind, in the order in which they were asked for.
fn asked(server: &ApiServer, verb: &str, resource: &str) -> Vec<HashMap<String, String>> {
    let asked = server.asked().into_iter();
    asked
        .filter(|asked| asked.verb == verb && asked.full_resource() == resource)
        .map(|asked| asked.query)
        .collect()
}

async fn asks(server: &ApiServer, what: &str, so: impl Fn(&ApiServer) -> bool) {
    let waiting = async {
        while !so(server) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect(what);
}

#[tokio::test]
async fn a_server_that_ends_watches_at_once_loses_nothing_and_is_not_asked_without_end() {
    let server = server().await;
    let pace = Pace {
        max_pause: Duration::from_millis(6400),
        ..PACE
    };
    let mut seen = Seen::with(client(&server).await, pace, Vec::new());
    seen.batch().await;
    watched(&server, BUILT_IN).await;
    let begun = tokio::time::Instant::now();
    for i in 0..150 {
        server.cut_watches();
        if i % 50 == 0 {
            server.put(service(&format!("s{i}"))).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.put(service("last")).await.unwrap();
    while !seen.has(Kind::Service, "last") {
        seen.batch().await;
    }
    assert!(
        ["s0", "s50", "s100"]
            .iter()
            .all(|name| seen.has(Kind::Service, name))
    );
    let watches = u128::try_from(asked(&server, "watch", "services").len()).unwrap();
    let most = begun.elapsed().as_millis() / 100 + 3;
    assert!(watches <= most, "{watches} watches, {most} would do");
    assert_eq!(asked(&server, "list", "services").len(), 1);
}

#[tokio::test]
async fn a_kind_that_may_be_listed_and_not_watched_is_not_listed_without_end() {
    let server = server().await;
    server.fail(Fault::refuse(
        "watch",
        "services",
        403,
        "Forbidden",
        usize::MAX,
    ));
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    let begun = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // A list after three refusals, each of which is waited after for up to a tenth of a second.
    let lists = u128::try_from(asked(&server, "list", "services").len()).unwrap();
    let most = begun.elapsed().as_millis() / 50 + 10;
    assert!(lists <= most, "{lists} lists, {most} would do");
}

#[tokio::test]
async fn a_server_that_always_forgets_at_once_is_listed_less_and_less_often() {
    let server = server().await;
    server.fail(Fault::refuse(
        "watch",
        "services",
        410,
        "Expired",
        usize::MAX,
    ));
    let max_pause = Duration::from_secs(60);
    let mut seen = Seen::with(
        client(&server).await,
        Pace { max_pause, ..PACE },
        Vec::new(),
    );
    seen.batch().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    // Half a second after each would be twelve; that eight pauses of up to 0.5, 1, 2, 4, 8, … s pass in six
    // seconds happens once in 25,000 times.
    let lists = asked(&server, "list", "services").len();
    assert!((2..=8).contains(&lists), "{lists} lists");
}

#[tokio::test]
async fn a_list_in_pages_that_is_too_old_before_its_end_comes_in_one() {
    let server = server().await;
    for i in 0..300 {
        let ip = format!("10.1.{}.{}", i / 250, i % 250 + 1);
        server.put(pod(&format!("p{i}"), &ip)).await.unwrap();
    }
    for time in [0, 400] {
        server.fail(Fault {
            effect: Effect::Delay(Duration::from_millis(time)),
            ..Fault::refuse("list", "pods", 0, "", 1)
        });
    }
    let mut seen = Seen::start(&server, Vec::new()).await;
    asks(&server, "the second page", |server| {
        asked(server, "list", "pods").len() == 2
    })
    .await;
    server.compact();
    seen.batch().await;
    assert_eq!(seen.objects.len(), 2 + 300);
    let lists = asked(&server, "list", "pods");
    assert_eq!(lists.len(), 3);
    assert!(
        lists[1].contains_key("continue") && !lists[2].contains_key("limit"),
        "{lists:?}"
    );
}

#[tokio::test]
async fn bookmarks_spare_a_list_after_a_quiet_time() {
    let server = server().await;
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    watched(&server, BUILT_IN).await;
    // Others' versions go on; then the first ones are forgotten.
    server.put(service("a")).await.unwrap();
    assert_eq!(seen.next().await, ["+a"]);
    let version = |name: &str| {
        let found = server.object("services", "default", name).unwrap();
        let version = found["metadata"]["resourceVersion"].as_str().unwrap();
        version.parse::<u64>().unwrap()
    };
    let wanted = version("a");
    let from_a_bookmark = async {
        loop {
            let watches = asked(&server, "watch", "pods");
            let last = watches
                .last()
                .and_then(|query| query["resourceVersion"].parse().ok());
            if last.is_some_and(|last: u64| last >= wanted) {
                return;
            }
            // One that is cut has lived through some bookmarks.
            tokio::time::sleep(BOOKMARKS * 10).await;
            server.cut_watches();
        }
    };
    timeout(PATIENCE, from_a_bookmark)
        .await
        .expect("a watch of pods from a bookmark");
    assert_eq!(asked(&server, "list", "pods").len(), 1);
}

#[tokio::test]
async fn a_version_that_the_server_does_not_know_any_more_is_given_up() {
    let server = server().await;
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    watched(&server, BUILT_IN).await;
    // As one says that was restored from a backup.
    server.fail(Fault::refuse("watch", "services", 504, "Timeout", 4));
    server.cut_watches();
    server.put(service("a")).await.unwrap();
    assert_eq!(seen.next().await, ["+a"]);
    assert_eq!(asked(&server, "list", "services").len(), 2);
    server.put(service("b")).await.unwrap();
    assert_eq!(seen.next().await, ["+b"]);
}

#[tokio::test]
async fn a_large_object_comes_by_a_list_and_by_a_watch() {
    let server = server().await;
    server.install(&istio()).await;
    let large = |name: &str| {
        let mut route = route(name, "a");
        route["metadata"]["annotations"] = json!({"large": "x".repeat(1_400_000)});
        route
    };
    server.put(large("first")).await.unwrap();
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    server.put(large("second")).await.unwrap();
    assert_eq!(seen.next().await, ["+second"]);
    assert!(seen.has(Kind::VirtualService, "first"));
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_is_asked_again_when_it_says() {
    let server = server().await;
    let pace = Pace {
        max_pause: Duration::from_secs(2),
        ..PACE
    };
    server.fail(Fault::refuse("list", "pods", 429, "TooManyRequests", 2));
    let begun = tokio::time::Instant::now();
    let mut seen = Seen::with(client(&server).await, pace, Vec::new());
    seen.batch().await;
    // A second after each.
    assert!(
        begun.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(asked(&server, "list", "pods").len(), 3);
}

#[tokio::test]
#[ignore = "waits for the minute within which the client reads a token again"]
async fn a_token_that_is_rotated_is_read_again() {
    let server = server().await;
    let directory = tempfile::tempdir().unwrap();
    let (token, kubeconfig) = (
        directory.path().join("token"),
        directory.path().join("config"),
    );
    let first = server.admin_token();
    std::fs::write(&token, &first).unwrap();
    std::fs::write(&kubeconfig, server.kubeconfig("", Some(&token))).unwrap();
    let client = Access::Kubeconfig(kubeconfig).client().await.unwrap();
    let mut seen = Seen::with(client, PACE, Vec::new());
    seen.batch().await;
    std::fs::write(&token, server.admin_token()).unwrap();
    server.revoke(&first);
    server.cut_watches();
    server.put(service("a")).await.unwrap();
    let come = timeout(Duration::from_secs(75), seen.batches.recv()).await;
    assert!(come.is_ok(), "it still uses the first token");
}

/// A pod as a cluster really holds it, with all that means nothing here.
fn long_pod(i: usize) -> String {
    let mut pod = pod(
        &format!("web-5d8f7c9b4-{i:05}"),
        &format!("10.{}.{}.{}", i / 65_536, i / 256 % 256, i % 256),
    );
    let owners: serde_json::Map<_, _> = (0..60)
        .map(|n| (format!("f:field{n}"), json!({"f:inner": {}})))
        .collect();
    pod["metadata"] = json!({
        "name": pod["metadata"]["name"], "namespace": "default", "uid": format!("uid-{i}"), "resourceVersion": i.to_string(),
        "generateName": "web-5d8f7c9b4-", "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": "web", "pod-template-hash": "5d8f7c9b4", "version": "v1"},
        "annotations": {"heddle.io/status": "{}", "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(2000)},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d8f7c9b4", "uid": "u", "controller": true}],
        "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": owners}],
    });
    pod["spec"]["nodeName"] = format!("node-{}", i % 50).into();
    pod["spec"]["serviceAccountName"] = "web".into();
    pod["spec"]["containers"][0]["env"] =
        json!(vec![json!({"name": "A", "value": "b".repeat(50)}); 20]);
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
    pod.to_string()
}

#[test]
fn a_pod_costs_what_is_kept_of_it() {
    const PODS: usize = 2000;
    let texts: Vec<String> = (0..PODS).map(long_pod).collect();
    let wanted = WANTED
        .iter()
        .find(|wanted| wanted.kind == Kind::Pod)
        .unwrap();
    let resource = wanted.resource("v1");
    let mut index = Index::new(Vec::new(), Arc::default());
    let mut batch = None;
    let cost = allocation_counter::measure(|| {
        for text in &texts {
            index.here(Kind::Pod, &resource, serde_json::from_str(text).unwrap());
        }
        batch = index.batch();
    });
    // The model holds the same objects; the list of changes goes.
    let changes = batch.unwrap().changes;
    assert_eq!(changes.len(), PODS);
    let list = i64::try_from(std::mem::size_of::<Change>() * changes.capacity()).unwrap();
    let each = (cost.bytes_current - list) / i64::try_from(PODS).unwrap();
    println!("a pod of {} bytes costs {each}", texts[0].len());
    assert!(
        (200..900).contains(&each),
        "a pod of {} bytes costs {each}",
        texts[0].len()
    );
}

#[tokio::test]
async fn read_once_it_is_what_a_source_would_begin_with() {
    let server = ApiServer::start(Options {
        rbac: true,
        ..Options::default()
    })
    .await
    .unwrap();
    server.install(&istio()).await;
    let web = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}\n";
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web, namespace: default}\nspec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}\n";
    server.put_yaml(&format!("{web}{route}")).await;
    let mut seen = Seen::start(&server, Vec::new()).await;
    seen.batch().await;
    let once = read_once(&client(&server).await).await.unwrap();
    let written: Vec<_> = once.written.keys().map(ToString::to_string).collect();
    assert_eq!(written, ["VirtualService default/web"]);
    let mut names: Vec<_> = once
        .batch
        .changes
        .iter()
        .map(|change| match change {
            Change::Upsert(object) => object.key.clone(),
            Change::Remove(key) => panic!("{key}"),
        })
        .collect();
    let mut expected: Vec<_> = seen.objects.keys().cloned().collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert!(names.len() >= 4, "{names:?}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let token = server.account_token("default", "nobody");
    std::fs::write(&file, server.kubeconfig(&token, None)).unwrap();
    let nobody = Access::Kubeconfig(file).client().await.unwrap();
    let error = read_once(&nobody).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("namespaces may not be listed"),
        "{error}"
    );
}
