//! Pods of a cluster as people name them, and everything that keeps a sidecar from being asked. A real
//! sidecar is asked in the end-to-end tests.
#![allow(clippy::unwrap_used)]

use heddle_apiserver::{ApiServer, Options};
use heddle_proxy_config::decision::AskedInbound;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::api::Question;
use crate::terminal::Style;

async fn cluster(api: &ApiServer, token: &str) -> Cluster {
    let kubeconfig = Kubeconfig::from_yaml(&api.kubeconfig(token, None)).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Cluster::of(config.unwrap(), "default").unwrap()
}

async fn with_pods() -> ApiServer {
    let api = ApiServer::start(Options {
        rbac: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let proxy = json!({"name": PROXY_CONTAINER, "image": "p", "restartPolicy": "Always"});
    let pod = |name: &str, owner: (&str, &str), ready: &str, init: serde_json::Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"pod-template-hash": "7f9c"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner.0, "name": owner.1, "uid": "u", "controller": true}]},
            "spec": {"containers": [{"name": "app", "image": "app"}], "initContainers": init},
            "status": {"phase": "Running", "podIP": "10.1.0.7", "conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    api.namespace("shop").await;
    let set = ("ReplicaSet", "web-7f9c");
    for object in [
        pod("web-7f9c-aaaaa", set, "False", json!([proxy])),
        pod("web-7f9c-bbbbb", set, "True", json!([proxy])),
        pod("db-0", ("StatefulSet", "db"), "True", json!([])),
    ] {
        api.put(object).await.unwrap();
    }
    let mut waiting = pod("late-1", ("Job", "late"), "False", json!([proxy]));
    waiting["status"]["phase"] = "Pending".into();
    api.put(waiting).await.unwrap();
    api
}

fn said(failure: &Failure) -> String {
    failure.render(Style::PLAIN)
}

#[tokio::test]
async fn a_pod_is_named_by_itself_or_by_its_workload() {
    let api = with_pods().await;
    let cluster = cluster(&api, &api.admin_token()).await;
    for (asked, name) in [
        ("web-7f9c-aaaaa", "web-7f9c-aaaaa"),
        ("web", "web-7f9c-bbbbb"),
        ("deploy/web", "web-7f9c-bbbbb"),
        ("pod/web-7f9c-aaaaa", "web-7f9c-aaaaa"),
    ] {
        let found = find(&cluster, "shop", asked).await.unwrap();
        assert_eq!((&*found.namespace, &*found.name), ("shop", name), "{asked}");
        assert_eq!(found.ip.unwrap().to_string(), "10.1.0.7");
    }
    for (asked, words) in [
        (
            "web-7f9c",
            "no pod or workload `web-7f9c` in namespace `shop`",
        ),
        ("sts/web", "no pod or workload `sts/web`"),
        ("db", "pod shop/db-0 has no sidecar"),
        ("late", "pod shop/late-1 is Pending"),
        ("thing/web", "`thing` is not a kind"),
    ] {
        let refused = find(&cluster, "shop", asked).await.err().unwrap();
        assert!(said(&refused).contains(words), "{}", said(&refused));
    }
}

fn connection() -> Ask {
    Ask {
        namespace: "shop".into(),
        pod: "web-7f9c-bbbbb".into(),
        question: Question::Connection(AskedInbound {
            port: 80,
            mutual: true,
        }),
    }
}

#[tokio::test]
async fn a_sidecar_is_asked_through_the_api_server() {
    let api = with_pods().await;
    let cluster = cluster(&api, &api.admin_token()).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It never ends the connection itself.
    let sidecar = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = BufReader::new(stream);
        let (mut first, mut length) = (String::new(), 0);
        stream.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            match line.strip_prefix("content-length: ") {
                Some(text) => length = text.trim().parse().unwrap(),
                None if line == "\r\n" => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"allowed\": true}";
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        let _ = stream.read(&mut [0]);
        (first, String::from_utf8(body).unwrap())
    });
    api.open_ports("shop/web-7f9c-bbbbb", move |port| {
        assert_eq!(port, ADMIN_PORT);
        TcpStream::connect(address)
    });
    let answer = explain(&cluster, &connection()).await.unwrap();
    assert_eq!(answer, json!({"allowed": true}));
    // It sees the end once the server, which is on this thread, has cut the connection.
    let asked = tokio::task::spawn_blocking(move || sidecar.join().unwrap());
    let (first, body) = asked.await.unwrap();
    assert!(first.starts_with("POST /explain/inbound "), "{first}");
    assert!(body.contains(r#""port":80"#), "{body}");
}

#[tokio::test]
async fn what_keeps_a_sidecar_from_being_asked_is_said() {
    let api = with_pods().await;
    let admin = cluster(&api, &api.admin_token()).await;
    let closed = explain(&admin, &connection()).await.unwrap_err();
    let words = "pod shop/web-7f9c-bbbbb: its sidecar cannot be reached: failed to connect to localhost:15000";
    assert!(said(&closed).contains(words), "{}", said(&closed));

    let nobody = cluster(&api, &api.account_token("default", "nobody")).await;
    let refused = explain(&nobody, &connection()).await.unwrap_err();
    assert!(
        said(&refused).contains("you may not forward ports"),
        "{}",
        said(&refused)
    );
    assert!(
        said(&refused).contains("`pods/portforward` in shop"),
        "{}",
        said(&refused)
    );
    let refused = find(&nobody, "shop", "web").await.err().unwrap();
    assert!(
        said(&refused).contains("cannot get resource"),
        "{}",
        said(&refused)
    );

    let mut gone = connection();
    gone.pod = "nobody".into();
    let refused = explain(&admin, &gone).await.unwrap_err();
    assert!(said(&refused).contains("it is gone"), "{}", said(&refused));
}
