//! The double as kube-rs sees it: what a client relies on, each once.
#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use futures_util::StreamExt;
use heddle_apiserver::{ApiServer, Asked, Effect, Fault, Kind, Options, User, istio};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::{ConfigMap, Namespace, Pod, Service},
};
use kube::{
    Api, Client, Config, Discovery, ResourceExt,
    api::{
        DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
        WatchParams,
    },
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

async fn client_of(server: &ApiServer, token: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig(token, None)).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.unwrap()).unwrap()
}

async fn start(options: Options) -> (ApiServer, Client) {
    let server = ApiServer::start(options).await.unwrap();
    let client = client_of(&server, &server.admin_token()).await;
    (server, client)
}

fn map(name: &str, data: Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
}

fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn objects_are_made_read_changed_and_deleted() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let made = maps
        .create(&PostParams::default(), &map("a", json!({"x": "1"})))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    assert_eq!(
        code(
            maps.create(&PostParams::default(), &map("a", json!({})))
                .await
                .unwrap_err()
        ),
        409
    );
    assert_eq!(code(maps.get("b").await.unwrap_err()), 404);
    assert_eq!(
        code(
            maps.create(&PostParams::default(), &map("Not_a_name", json!({})))
                .await
                .unwrap_err()
        ),
        422
    );

    let mut newer = made.clone();
    newer.data.as_mut().unwrap().insert("x".into(), "2".into());
    let newer = maps
        .replace("a", &PostParams::default(), &newer)
        .await
        .unwrap();
    assert_ne!(newer.resource_version(), made.resource_version());
    assert_eq!(
        code(
            maps.replace("a", &PostParams::default(), &made)
                .await
                .unwrap_err()
        ),
        409
    );
    // What changes nothing is no new version.
    let same = maps
        .replace("a", &PostParams::default(), &newer)
        .await
        .unwrap();
    assert_eq!(same.resource_version(), newer.resource_version());

    let merged = json!({"data": {"x": null, "y": "3"}});
    let merged = maps
        .patch("a", &PatchParams::default(), &Patch::Merge(merged))
        .await
        .unwrap();
    assert_eq!(
        merged.data.unwrap().into_iter().collect::<Vec<_>>(),
        [("y".into(), "3".into())]
    );
    let stale =
        json!({"metadata": {"resourceVersion": made.resource_version()}, "data": {"y": "4"}});
    let refused = maps
        .patch("a", &PatchParams::default(), &Patch::Merge(stale))
        .await;
    assert_eq!(code(refused.unwrap_err()), 409);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    maps.create(&dry, &map("dry", json!({}))).await.unwrap();
    assert_eq!(code(maps.get("dry").await.unwrap_err()), 404);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        code(
            maps.delete("a", &DeleteParams::default())
                .await
                .unwrap_err()
        ),
        404
    );
    let nowhere: Api<ConfigMap> = Api::namespaced(client, "nowhere");
    assert_eq!(
        code(
            nowhere
                .create(&PostParams::default(), &map("a", json!({})))
                .await
                .unwrap_err()
        ),
        404
    );
}

#[tokio::test]
async fn applying_knows_who_owns_what() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let said = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let by = |name: &str| PatchParams::apply(name);
    maps.patch("a", &by("one"), &Patch::Apply(said(json!({"x": "1"}))))
        .await
        .unwrap();
    let refused = maps
        .patch("a", &by("two"), &Patch::Apply(said(json!({"x": "2"}))))
        .await;
    assert_eq!(code(refused.unwrap_err()), 409);
    let forced = maps
        .patch(
            "a",
            &by("two").force(),
            &Patch::Apply(said(json!({"x": "2"}))),
        )
        .await
        .unwrap();
    let owners: Vec<_> = forced
        .managed_fields()
        .iter()
        .map(|entry| entry.manager.clone().unwrap())
        .collect();
    assert_eq!(owners, ["two"]);
}

#[tokio::test]
async fn an_event_says_who_says_what_and_shortly() {
    let (server, _client) = start(Options::default()).await;
    let event = |field: &str, value: Value| {
        let mut event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "e-"},
            "action": "Inject", "reason": "Skipped", "type": "Normal", "note": "n",
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "heddle.io/x", "reportingInstance": "i",
        });
        event[field] = value;
        event
    };
    server
        .put(event("note", "x".repeat(1024).into()))
        .await
        .unwrap();
    for (field, value) in [
        ("note", json!("é".repeat(513))),
        ("type", json!("Error")),
        ("action", Value::Null),
        ("eventTime", Value::Null),
        ("reportingInstance", json!("")),
    ] {
        let refused = server.put(event(field, value)).await.unwrap_err();
        assert_eq!(refused["code"], 422, "{field}: {refused}");
    }
}

#[tokio::test]
async fn what_a_name_is_made_of_may_end_with_a_dash_alone() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let made_of = |base: &str| {
        let mut map = map("", json!({}));
        map.metadata.name = None;
        map.metadata.generate_name = Some(base.into());
        map
    };
    let made = maps
        .create(&PostParams::default(), &made_of("a.b-"))
        .await
        .unwrap();
    assert!(made.name_any().starts_with("a.b-"));
    for base in ["a.", "a.-", "-a-", "A-"] {
        let refused = maps.create(&PostParams::default(), &made_of(base)).await;
        assert_eq!(code(refused.unwrap_err()), 422, "{base}");
    }
}

#[tokio::test]
async fn lists_come_in_chunks_of_one_moment() {
    let (server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &map(name, json!({})))
            .await
            .unwrap();
    }
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let rest = maps
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await
        .unwrap();
    let names: Vec<_> = first
        .items
        .iter()
        .chain(&rest.items)
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        first.metadata.resource_version,
        rest.metadata.resource_version
    );
    server.compact();
    let gone = maps
        .list(&ListParams::default().continue_token(&token))
        .await;
    assert_eq!(code(gone.unwrap_err()), 410);
    let one = maps
        .list(&ListParams::default().fields("metadata.name=b"))
        .await
        .unwrap();
    assert_eq!(one.items.len(), 1);
}

#[tokio::test]
async fn watches_tell_what_happens_and_that_they_are_too_old() {
    let (server, client) = start(Options {
        bookmarks: Duration::from_millis(20),
        ..Options::default()
    })
    .await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut events = maps
        .watch(&WatchParams::default(), &start)
        .await
        .unwrap()
        .boxed();
    maps.create(&PostParams::default(), &map("a", json!({})))
        .await
        .unwrap();
    maps.patch(
        "a",
        &PatchParams::default(),
        &Patch::Merge(json!({"data": {"x": "1"}})),
    )
    .await
    .unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    let mut bookmarks = 0;
    while seen.len() < 4 {
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Added(_) => seen.push("added"),
            WatchEvent::Modified(_) => seen.push("modified"),
            WatchEvent::Deleted(_) => seen.push("deleted"),
            WatchEvent::Bookmark(_) if seen.len() == 3 && bookmarks == 0 => {
                bookmarks += 1;
                server.expire_watches();
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => {
                assert_eq!(status.code, 410);
                seen.push("gone");
            }
        }
    }
    assert_eq!(seen, ["added", "modified", "deleted", "gone"]);
    let mut old = maps
        .watch(&WatchParams::default(), &start)
        .await
        .unwrap()
        .boxed();
    assert!(
        matches!(old.next().await.unwrap().unwrap(), WatchEvent::Error(status) if status.code == 410)
    );
}

#[tokio::test]
async fn kinds_come_with_their_definitions_and_a_status_is_apart() {
    let (server, client) = start(Options::default()).await;
    let route = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    assert!(
        Discovery::new(client.clone())
            .run()
            .await
            .unwrap()
            .resolve_gvk(&route)
            .is_none()
    );
    server.install(&istio()).await;
    for discovery in [
        Discovery::new(client.clone()).run().await.unwrap(),
        Discovery::new(client.clone())
            .run_aggregated()
            .await
            .unwrap(),
    ] {
        assert_eq!(
            discovery
                .get("networking.istio.io")
                .unwrap()
                .preferred_version(),
            Some("v1")
        );
        assert_eq!(
            discovery.resolve_gvk(&route).unwrap().0.plural,
            "virtualservices"
        );
    }
    let resource = ApiResource::from_gvk_with_plural(&route, "virtualservices");
    let routes: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let object = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"},
                        "spec": {"hosts": ["a"]}, "status": {"x": 1}});
    let made = routes
        .create(
            &PostParams::default(),
            &serde_json::from_value(object).unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(
        (made.metadata.generation, made.data.get("status")),
        (Some(1), None)
    );
    let both = json!({"spec": {"hosts": ["b"]}, "status": {"x": 2}});
    let after = routes
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&both))
        .await
        .unwrap();
    assert_eq!(
        (after.metadata.generation, &after.data["spec"]["hosts"]),
        (Some(1), &json!(["a"]))
    );
    let after = routes
        .patch("a", &PatchParams::default(), &Patch::Merge(&both))
        .await
        .unwrap();
    assert_eq!(
        (after.metadata.generation, &after.data["spec"]["hosts"]),
        (Some(2), &json!(["b"]))
    );
    assert_eq!(after.data["status"]["x"], 2);
    // Another version is the same object.
    let old = ApiResource {
        version: "v1beta1".into(),
        api_version: "networking.istio.io/v1beta1".into(),
        ..resource
    };
    let old: Api<DynamicObject> = Api::default_namespaced_with(client, &old);
    assert_eq!(
        old.get("a").await.unwrap().types.unwrap().api_version,
        "networking.istio.io/v1beta1"
    );
    assert!(
        server
            .delete(
                "customresourcedefinitions.apiextensions.k8s.io",
                "",
                "virtualservices.networking.istio.io"
            )
            .await
    );
    assert_eq!(code(routes.get("a").await.unwrap_err()), 404);
}

#[tokio::test]
async fn tokens_and_roles_decide_who_may_what() {
    let (server, admin) = start(Options {
        rbac: true,
        ..Options::default()
    })
    .await;
    let token = server.account_token("default", "reader");
    let client = client_of(&server, &token).await;
    let pods: Api<Pod> = Api::all(client.clone());
    assert_eq!(
        code(pods.list(&ListParams::default()).await.unwrap_err()),
        403
    );
    server
        .put_yaml(
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [{apiGroups: [''], resources: [pods], verbs: [list]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: r}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}, subjects: [{kind: ServiceAccount, name: reader, namespace: default}]}
",
        )
        .await;
    pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        code(
            Api::<Service>::all(client.clone())
                .list(&ListParams::default())
                .await
                .unwrap_err()
        ),
        403
    );
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    for (verb, allowed) in [("list", true), ("delete", false)] {
        let attributes = ResourceAttributes {
            verb: Some(verb.into()),
            resource: Some("pods".into()),
            ..Default::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..Default::default()
        };
        let review = SelfSubjectAccessReview {
            spec,
            ..Default::default()
        };
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .unwrap();
        assert_eq!(answer.status.unwrap().allowed, allowed);
    }
    let workload = server.token(User::new("system:serviceaccount:default:app", &["heddle"]));
    assert_eq!(
        code(
            Api::<Pod>::all(client_of(&server, &workload).await)
                .list(&ListParams::default())
                .await
                .unwrap_err()
        ),
        401
    );
    let reviews: Api<TokenReview> = Api::all(admin);
    let review = |audience: &str| TokenReview {
        spec: TokenReviewSpec {
            token: workload.clone(),
            audiences: Some(vec![audience.into()]),
        },
        ..Default::default()
    };
    let status = reviews
        .create(&PostParams::default(), &review("heddle"))
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(
        (status.authenticated, status.audiences),
        (Some(true), Some(vec!["heddle".into()]))
    );
    assert_eq!(
        status.user.unwrap().username.unwrap(),
        "system:serviceaccount:default:app"
    );
    let status = reviews
        .create(&PostParams::default(), &review("other"))
        .await
        .unwrap()
        .status
        .unwrap();
    assert_ne!(status.authenticated, Some(true));
    server.revoke(&token);
    assert_eq!(
        code(pods.list(&ListParams::default()).await.unwrap_err()),
        401
    );
}

#[tokio::test]
async fn what_a_test_wants_to_fail_fails_and_what_was_asked_is_known() {
    let (server, client) = start(Options::default()).await;
    let spaces: Api<Namespace> = Api::all(client);
    server.fail(Fault::refuse("list", "namespaces", 500, "InternalError", 1));
    assert_eq!(
        code(spaces.list(&ListParams::default()).await.unwrap_err()),
        500
    );
    assert_eq!(
        spaces
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        2
    );
    let drop = Fault {
        effect: Effect::Drop,
        ..Fault::refuse("get", "namespaces", 0, "", 1)
    };
    server.fail(drop);
    assert!(spaces.get("default").await.is_err());
    server.go_away().await;
    assert!(spaces.get("default").await.is_err());
    server.come_back().await;
    spaces.get("default").await.unwrap();
    let verbs: Vec<_> = server
        .asked()
        .into_iter()
        .map(|Asked { verb, .. }| verb)
        .collect();
    assert_eq!(verbs, ["list", "list", "get", "get"]);
    let mut unnamespaced = Kind::custom("x.io", &["v1"], "X", "xs");
    unnamespaced.namespaced = false;
    server.install(&[unnamespaced]).await;
    server
        .put(json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "a"}}))
        .await
        .unwrap();
    assert!(server.object("xs.x.io", "", "a").is_some());
    // A file is read for each new token.
    assert!(
        server
            .kubeconfig("", Some(Path::new("/token")))
            .contains("tokenFile: /token")
    );
}

#[tokio::test]
async fn ports_of_pods_are_forwarded_byte_by_byte() {
    let (server, client) = start(Options {
        rbac: true,
        ..Options::default()
    })
    .await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    server.put(pod).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await
    });
    let pods: Api<Pod> = Api::default_namespaced(client);

    let mut nobody = pods.portforward("web", &[80]).await.unwrap();
    let why = nobody.take_error(80).unwrap().await.unwrap();
    assert!(why.contains("failed to connect to localhost:80"), "{why}");

    server.open_ports("default/web", move |port| {
        assert_eq!(port, 8080);
        std::net::TcpStream::connect(address)
    });
    let mut forwarded = pods.portforward("web", &[8080]).await.unwrap();
    let stream = forwarded.take_stream(8080).unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let to_send = sent.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&to_send).await.unwrap();
        write
    });
    let mut came = vec![0; sent.len()];
    read.read_exact(&mut came).await.unwrap();
    assert!(came == sent);
    drop((sending.await.unwrap(), read, forwarded));
    echo.await.unwrap().unwrap();

    assert!(pods.portforward("nobody", &[80]).await.is_err());
    let stranger = client_of(&server, &server.account_token("default", "stranger")).await;
    let pods: Api<Pod> = Api::default_namespaced(stranger);
    let refused = pods.portforward("web", &[8080]).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("403"), "{error}");
}
