//! The injection function by itself: decisions, refusals, what is added, and that it is stable.

#![allow(clippy::unwrap_used)]

use heddle_injector::json_patch;
use heddle_injector::{
    Decision, DefaultInject, InjectConfig, InjectError, Injection, Owner, PodContext, SkipReason,
    inject,
};
use serde_json::{Value, json};

fn enabled() -> InjectConfig {
    InjectConfig {
        default_inject: DefaultInject::Enabled,
        ..InjectConfig::default()
    }
}

fn pod(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "app", "image": "app:1"}]);
    }
    json!({"metadata": {"name": "web"}, "spec": spec})
}

fn annotated(annotations: Value) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["annotations"] = annotations;
    pod
}

fn labelled(labels: Value) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["labels"] = labels;
    pod
}

/// Injects, and checks what must hold for every injection.
fn injected(pod: &Value, config: &InjectConfig) -> Injection {
    let context = PodContext::new("shop");
    let Decision::Inject(injection) = inject(pod, &context, config).unwrap() else {
        panic!("skipped: {pod}")
    };
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &injection.patch).unwrap();
    assert_eq!(patched, injection.pod, "the patch gives the pod");
    let Decision::Inject(again) = inject(&injection.pod, &context, config).unwrap() else {
        panic!("skipped")
    };
    assert_eq!(again.pod, injection.pod, "injecting again changes nothing");
    assert!(again.patch.is_empty(), "{}", again.patch);
    injection
}

fn skip(pod: &Value, context: &PodContext, config: &InjectConfig) -> Option<SkipReason> {
    match inject(pod, context, config).unwrap() {
        Decision::Skip { reason } => Some(reason),
        Decision::Inject(_) => None,
    }
}

fn refused(pod: &Value) -> InjectError {
    inject(pod, &PodContext::new("shop"), &enabled()).unwrap_err()
}

fn container<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    pod["spec"][list]
        .as_array()
        .unwrap()
        .iter()
        .find(|container| container["name"] == name)
        .unwrap()
}

fn env(container: &Value, name: &str) -> Option<String> {
    let variable = container["env"]
        .as_array()?
        .iter()
        .find(|variable| variable["name"] == name)?;
    Some(variable["value"].as_str().unwrap().to_owned())
}

fn proxy(pod: &Value) -> &Value {
    container(pod, "initContainers", "heddle-proxy")
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

#[test]
fn a_native_sidecar_comes_after_the_redirect_and_before_the_apps_init_containers() {
    let pod = pod(json!({"initContainers": [{"name": "migrate", "image": "m"}]}));
    let result = injected(&pod, &enabled());
    assert_eq!(
        names(&result.pod["spec"]["initContainers"]),
        ["heddle-init", "heddle-proxy", "migrate"]
    );
    assert_eq!(proxy(&result.pod)["restartPolicy"], "Always");
    assert_eq!(names(&result.pod["spec"]["containers"]), ["app"]);
    // Two containers, four volumes at once, one annotation map, one label map.
    assert_eq!(result.patch.len(), 5, "{}", result.patch);
}

#[test]
fn the_older_form_is_the_first_container_and_waits() {
    let config = InjectConfig {
        native_sidecar: false,
        ..enabled()
    };
    let pod = pod(json!({"initContainers": [{"name": "migrate", "image": "m"}]}));
    let result = injected(&pod, &config);
    assert_eq!(
        names(&result.pod["spec"]["initContainers"]),
        ["migrate", "heddle-init"]
    );
    assert_eq!(
        names(&result.pod["spec"]["containers"]),
        ["heddle-proxy", "app"]
    );
    let proxy = container(&result.pod, "containers", "heddle-proxy");
    assert_eq!(
        proxy["lifecycle"]["postStart"]["exec"]["command"],
        json!(["heddle-proxy", "wait"])
    );
    assert_eq!(
        proxy["lifecycle"]["preStop"]["exec"]["command"],
        json!(["heddle-proxy", "wait", "--drained"])
    );
    assert!(proxy.get("restartPolicy").is_none());
    assert_eq!(
        result.pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"],
        "app"
    );
    assert!(
        result
            .warnings
            .iter()
            .any(|warning| warning.contains("init containers")),
        "{:?}",
        result.warnings
    );
}

#[test]
fn a_job_with_the_older_form_is_warned() {
    let context = PodContext {
        owner: Some(Owner {
            kind: "Job".into(),
            name: "j".into(),
        }),
        ..PodContext::new("shop")
    };
    let config = InjectConfig {
        native_sidecar: false,
        ..enabled()
    };
    let Decision::Inject(result) = inject(&pod(json!({})), &context, &config).unwrap() else {
        panic!()
    };
    assert!(
        result.warnings[0].contains("completing"),
        "{:?}",
        result.warnings
    );
}

#[test]
fn the_first_rule_that_applies_decides() {
    let context = PodContext::new("shop");
    let in_namespace = |key: &str, value: &str| {
        let mut context = PodContext::new("shop");
        context
            .namespace_meta
            .labels
            .insert(key.into(), value.into());
        context
    };
    let off = InjectConfig::default();
    let on = enabled();
    let mut host = labelled(json!({"heddle.io/inject": "true"}));
    host["spec"]["hostNetwork"] = json!(true);
    assert_eq!(skip(&host, &context, &on), Some(SkipReason::HostNetwork));
    let asked = labelled(json!({"heddle.io/inject": "true"}));
    for namespace in [
        "heddle-system",
        "kube-system",
        "kube-public",
        "kube-node-lease",
    ] {
        let reason = skip(&asked, &PodContext::new(namespace), &on);
        assert_eq!(reason, Some(SkipReason::SystemNamespace(namespace.into())));
    }
    assert_eq!(skip(&asked, &context, &off), None);
    let mut both = labelled(json!({"sidecar.istio.io/inject": "false"}));
    both["metadata"]["annotations"] = json!({"sidecar.istio.io/inject": "true"});
    assert!(
        matches!(skip(&both, &context, &on), Some(SkipReason::SwitchedOff(_))),
        "the label wins"
    );
    assert_eq!(
        skip(
            &annotated(json!({"linkerd.io/inject": "enabled"})),
            &context,
            &off
        ),
        None
    );
    assert_eq!(
        skip(
            &pod(json!({})),
            &in_namespace("istio-injection", "enabled"),
            &off
        ),
        None
    );
    assert!(
        skip(
            &pod(json!({})),
            &in_namespace("heddle.io/inject", "disabled"),
            &on
        )
        .is_some()
    );
    assert_eq!(
        skip(&pod(json!({})), &context, &off),
        Some(SkipReason::NotAsked)
    );
    assert_eq!(skip(&pod(json!({})), &context, &on), None);
}

#[test]
fn what_is_said_to_another_mesh_is_heard_only_where_that_is_set() {
    let context = PodContext::new("shop");
    let without = |key: &str| InjectConfig::from_yaml(&format!("{key}: false")).unwrap();
    let istio = without("istioSwitches");
    let linkerd = without("linkerdSwitches");
    let in_namespace = |key: &str, word: &str| {
        let mut context = PodContext::new("shop");
        let labels = &mut context.namespace_meta.labels;
        labels.insert(key.into(), word.into());
        context
    };
    let in_linkerds = |word: &str| {
        let mut context = PodContext::new("shop");
        let annotations = &mut context.namespace_meta.annotations;
        annotations.insert("linkerd.io/inject".into(), word.into());
        context
    };
    let asks_istio = annotated(json!({"sidecar.istio.io/inject": "true"}));
    let asks_linkerd = annotated(json!({"linkerd.io/inject": "enabled"}));
    let not_asked = Some(SkipReason::NotAsked);
    for (pod, context, config, expected) in [
        (&asks_istio, &context, &linkerd, &None),
        (&asks_istio, &context, &istio, &not_asked),
        (&asks_linkerd, &context, &istio, &None),
        (&asks_linkerd, &context, &linkerd, &not_asked),
        (
            &labelled(json!({"sidecar.istio.io/inject": "true"})),
            &context,
            &istio,
            &not_asked,
        ),
        (
            &pod(json!({})),
            &in_namespace("istio-injection", "enabled"),
            &istio,
            &not_asked,
        ),
        (&pod(json!({})), &in_linkerds("enabled"), &istio, &None),
        (
            &pod(json!({})),
            &in_linkerds("enabled"),
            &linkerd,
            &not_asked,
        ),
        // Neither a no nor a word that nobody knows is heard.
        (
            &labelled(json!({"heddle.io/inject": "true", "sidecar.istio.io/inject": "No"})),
            &in_linkerds("off"),
            &linkerd,
            &None,
        ),
        (
            &annotated(json!({"linkerd.io/inject": "disabled"})),
            &in_namespace("heddle.io/inject", "enabled"),
            &linkerd,
            &None,
        ),
    ] {
        assert_eq!(&skip(pod, context, config), expected, "{pod}");
    }
}

#[test]
fn selectors_stand_between_the_pods_switch_and_the_namespaces() {
    let config = InjectConfig::from_yaml(
        "neverInject: [{matchLabels: {app: raw}}]\nalwaysInject: [{matchLabels: {tier: front}}]\n",
    )
    .unwrap();
    let mut context = PodContext::new("shop");
    context
        .namespace_meta
        .labels
        .insert("istio-injection".into(), "disabled".into());
    assert_eq!(
        skip(
            &labelled(json!({"app": "raw", "tier": "front"})),
            &context,
            &config
        ),
        Some(SkipReason::NeverInject)
    );
    assert_eq!(
        skip(&labelled(json!({"tier": "front"})), &context, &config),
        None
    );
    assert_eq!(
        skip(
            &labelled(json!({"app": "raw", "heddle.io/inject": "true"})),
            &context,
            &config
        ),
        None
    );
}

#[test]
fn a_switch_that_is_neither_on_nor_off_is_refused() {
    for (pod, allowed) in [
        (
            labelled(json!({"heddle.io/inject": "yes"})),
            "\"true\", \"false\"",
        ),
        (
            labelled(json!({"sidecar.istio.io/inject": "True"})),
            "\"true\", \"false\"",
        ),
        (
            annotated(json!({"linkerd.io/inject": "true"})),
            "\"enabled\", \"ingress\", \"disabled\"",
        ),
    ] {
        let InjectError::BadValue { allowed: says, .. } = refused(&pod) else {
            panic!("{pod}")
        };
        assert_eq!(says, allowed);
    }
    let mut context = PodContext::new("shop");
    context
        .namespace_meta
        .labels
        .insert("istio-injection".into(), "on".into());
    let error = inject(&pod(json!({})), &context, &enabled())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        r#"namespace label istio-injection has the value "on"; allowed: "enabled", "disabled""#
    );
}

#[test]
fn another_meshs_pod_is_left_alone() {
    let with = |list: &str, name: &str| {
        let mut spec = json!({"containers": [{"name": "app"}]});
        match spec.get_mut(list) {
            Some(containers) => containers
                .as_array_mut()
                .unwrap()
                .push(json!({"name": name})),
            None => spec[list] = json!([{"name": name}]),
        }
        pod(spec)
    };
    for pod in [
        with("containers", "istio-proxy"),
        with("initContainers", "istio-proxy"),
        with("containers", "linkerd-proxy"),
        annotated(json!({"sidecar.istio.io/status": "{}"})),
        annotated(json!({"linkerd.io/proxy-version": "edge"})),
    ] {
        assert!(
            matches!(
                skip(&pod, &PodContext::new("shop"), &enabled()),
                Some(SkipReason::OtherMesh(_))
            ),
            "{pod}"
        );
    }
}

#[test]
fn windows_pods_are_left_alone() {
    let windows = pod(json!({"os": {"name": "windows"}}));
    assert_eq!(
        skip(&windows, &PodContext::new("shop"), &enabled()),
        Some(SkipReason::Windows)
    );
}

#[test]
fn probes_of_every_kind_go_through_the_sidecar() {
    let spec = json!({
        "initContainers": [{
            "name": "cache",
            "restartPolicy": "Always",
            "startupProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 2},
            "ports": [{"name": "redis", "containerPort": 6379}],
        }],
        "containers": [{
            "name": "app",
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "httpHeaders": [{"name": "X", "value": "$(Y)"}]}, "timeoutSeconds": 7},
            "livenessProbe": {"httpGet": {"path": "/live", "port": 8443, "scheme": "HTTPS", "host": "app.example"}},
            "startupProbe": {"grpc": {"port": 9000, "service": "s"}},
            "lifecycle": {
                "postStart": {"exec": {"command": ["true"]}},
                "preStop": {"httpGet": {"path": "/bye", "port": 8080}},
            },
        }, {
            "name": "shell",
            "readinessProbe": {"exec": {"command": ["true"]}},
        }],
    });
    let result = injected(&pod(spec.clone()), &enabled());
    let app = container(&result.pod, "containers", "app");
    assert_eq!(
        app["readinessProbe"],
        json!({"httpGet": {"path": "/app-health/app/readyz", "port": 15020}, "timeoutSeconds": 7})
    );
    assert_eq!(
        app["livenessProbe"]["httpGet"]["path"],
        "/app-health/app/livez"
    );
    assert_eq!(
        app["startupProbe"],
        json!({"httpGet": {"path": "/app-health/app/startupz", "port": 15020}})
    );
    assert_eq!(
        app["lifecycle"]["postStart"],
        spec["containers"][0]["lifecycle"]["postStart"]
    );
    assert_eq!(
        app["lifecycle"]["preStop"]["httpGet"],
        json!({"path": "/app-lifecycle/app/prestopz", "port": 15020})
    );
    let cache = container(&result.pod, "initContainers", "cache");
    assert_eq!(
        cache["startupProbe"],
        json!({"httpGet": {"path": "/app-health/cache/startupz", "port": 15020}, "periodSeconds": 2})
    );
    assert_eq!(result.pod["spec"]["containers"][1], spec["containers"][1]);

    let text = env(proxy(&result.pod), "HEDDLE_APP_PROBES").unwrap();
    assert!(!text.contains('$'), "Kubernetes would expand it: {text}");
    let asked: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        asked,
        json!({
            "/app-health/cache/startupz": {"tcpSocket": {"port": 6379}, "timeoutSeconds": 1},
            "/app-health/app/readyz": {"httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP", "httpHeaders": [{"name": "X", "value": "$(Y)"}]}, "timeoutSeconds": 7},
            "/app-health/app/livez": {"httpGet": {"path": "/live", "port": 8443, "scheme": "HTTPS", "host": "app.example"}, "timeoutSeconds": 1},
            "/app-health/app/startupz": {"grpc": {"port": 9000, "service": "s"}, "timeoutSeconds": 1},
        })
    );
    let asked: Value =
        serde_json::from_str(&env(proxy(&result.pod), "HEDDLE_APP_LIFECYCLE").unwrap()).unwrap();
    let bye =
        json!({"httpGet": {"path": "/bye", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 30});
    assert_eq!(asked, json!({"/app-lifecycle/app/prestopz": bye}));
}

#[test]
fn a_port_name_that_nobody_has_leaves_the_probe_alone_with_a_warning() {
    let probe = json!({"httpGet": {"path": "/", "port": "web"}});
    let result = injected(
        &pod(json!({"containers": [{"name": "app", "livenessProbe": probe}]})),
        &enabled(),
    );
    assert_eq!(
        container(&result.pod, "containers", "app")["livenessProbe"],
        probe
    );
    assert!(
        result.warnings[0].contains("\"web\""),
        "{:?}",
        result.warnings
    );
}

#[test]
fn what_the_sidecar_could_not_ask_is_left_alone_or_cut_to_what_it_takes() {
    for get in [
        json!({"port": 80, "scheme": "FTP"}),
        json!({"port": 80, "httpHeaders": [{"name": "a b", "value": ""}]}),
        json!({"port": 80, "httpHeaders": [{"name": "a", "value": "\n"}]}),
        json!({"port": 80, "host": "\n"}),
        json!({"port": 80, "path": "x".repeat(10_000)}),
        json!({"port": 0}),
    ] {
        let pod = pod(json!({"containers": [{"name": "app", "livenessProbe": {"httpGet": get}}]}));
        let result = injected(&pod, &enabled());
        assert_eq!(result.pod["spec"]["containers"], pod["spec"]["containers"]);
        assert!(
            result.warnings[0].contains("left as it is"),
            "{:?}",
            result.warnings
        );
    }
    let spec = json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "app",
            "livenessProbe": {"tcpSocket": {"port": 80}, "timeoutSeconds": 9999},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        }],
    });
    let result = injected(&pod(spec), &enabled());
    let probes = env(proxy(&result.pod), "HEDDLE_APP_PROBES").unwrap();
    assert!(probes.contains("\"timeoutSeconds\":3600"), "{probes}");
    let hooks = env(proxy(&result.pod), "HEDDLE_APP_LIFECYCLE").unwrap();
    assert!(hooks.contains("\"timeoutSeconds\":1}"), "{hooks}");
}

#[test]
fn rewriting_can_be_switched_off_and_takes_back_what_was_rewritten() {
    let probe = json!({"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}});
    let plain = pod(json!({"containers": [{"name": "app", "livenessProbe": probe}]}));
    let first = injected(&plain, &enabled());
    let second = injected(
        &first.pod,
        &InjectConfig {
            rewrite_probes: false,
            ..enabled()
        },
    );
    assert_eq!(
        container(&second.pod, "containers", "app")["livenessProbe"],
        probe
    );
    assert_eq!(env(proxy(&second.pod), "HEDDLE_APP_PROBES"), None);
}

#[test]
fn another_configuration_replaces_only_what_is_ours() {
    let mut plain = annotated(
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "mine": "1"}),
    );
    plain["spec"]["initContainers"] = json!([{"name": "migrate"}]);
    plain["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 80}});
    plain["spec"]["unknownField"] = json!({"kept": [1]});
    let first = injected(&plain, &enabled());
    let other = InjectConfig {
        native_sidecar: false,
        revision: "next".into(),
        merge_metrics: false,
        ..enabled()
    };
    let direct = injected(&plain, &other);
    let through = injected(&first.pod, &other);
    assert_eq!(through.pod, direct.pod);
    assert_eq!(
        through.pod["metadata"]["annotations"]["prometheus.io/port"],
        "8080"
    );
    assert_eq!(through.pod["spec"]["unknownField"], json!({"kept": [1]}));
    assert_eq!(injected(&through.pod, &enabled()).pod, first.pod);
}

#[test]
fn what_others_add_to_an_injected_pod_stays() {
    let mut pod = injected(&pod(json!({})), &enabled()).pod;
    pod["spec"]["initContainers"][1]["imagePullPolicy"] = json!("IfNotPresent");
    pod["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "kube-api-access", "emptyDir": {}}));
    let again = injected(&pod, &enabled());
    assert!(again.patch.is_empty());
}

#[test]
fn a_container_put_before_ours_afterwards_moves_behind_them() {
    let mut pod = injected(&pod(json!({})), &enabled()).pod;
    pod["spec"]["initContainers"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({"name": "late"}));
    let again = injected(&pod, &enabled());
    assert_eq!(
        names(&again.pod["spec"]["initContainers"]),
        ["heddle-init", "heddle-proxy", "late"]
    );
}

#[test]
fn a_probe_changed_after_injection_is_rewritten_anew() {
    let plain = pod(
        json!({"containers": [{"name": "app", "livenessProbe": {"httpGet": {"path": "/a", "port": 80}}}]}),
    );
    let mut pod = injected(&plain, &enabled()).pod;
    pod["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"path": "/b", "port": 80}});
    let again = injected(&pod, &enabled());
    assert!(
        env(proxy(&again.pod), "HEDDLE_APP_PROBES")
            .unwrap()
            .contains("/b")
    );
    assert_eq!(
        container(&again.pod, "containers", "app")["livenessProbe"]["httpGet"]["port"],
        15020
    );
}

#[test]
fn a_partial_resource_override_keeps_the_other_defaults() {
    let result = injected(
        &annotated(json!({"sidecar.istio.io/proxyCPU": "200m"})),
        &enabled(),
    );
    let expected = json!({
        "requests": {"cpu": "200m", "memory": "32Mi"},
        "limits": {"cpu": "2", "memory": "256Mi"},
    });
    assert_eq!(proxy(&result.pod)["resources"], expected);
}

#[test]
fn of_what_the_pod_has_as_a_whole_the_sidecar_takes_no_share_of_its_own() {
    let mut pod = pod(
        json!({"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": 1073741824}}}),
    );
    let result = injected(&pod, &enabled());
    let cpu = json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "2"}});
    for name in ["heddle-init", "heddle-proxy"] {
        let container = container(&result.pod, "initContainers", name);
        assert_eq!(container["resources"], cpu, "{name}");
    }
    pod["metadata"]["annotations"] = json!({"heddle.io/proxy-memory": "64Mi"});
    let result = injected(&pod, &enabled());
    let asked = json!({"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "2"}});
    assert_eq!(proxy(&result.pod)["resources"], asked);
}

#[test]
fn a_limit_that_nobody_named_follows_a_request_above_it() {
    let resources = |annotations: Value| {
        let pod = injected(&annotated(annotations), &enabled()).pod;
        proxy(&pod)["resources"].clone()
    };
    assert_eq!(
        resources(json!({"sidecar.istio.io/proxyMemory": "512Mi"})),
        json!({"requests": {"cpu": "10m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}})
    );
    assert_eq!(
        resources(json!({"heddle.io/proxy-cpu": "2500m", "heddle.io/proxy-memory": "128Mi"})),
        json!({"requests": {"cpu": "2500m", "memory": "128Mi"}, "limits": {"cpu": "2500m", "memory": "256Mi"}})
    );
    let both = json!({"heddle.io/proxy-memory": "512Mi", "heddle.io/proxy-memory-limit": "256Mi"});
    let InjectError::BadValue { key, .. } = refused(&annotated(both)) else {
        panic!("a limit that was named is kept to")
    };
    assert_eq!(key, "heddle.io/proxy-memory");
}

#[test]
fn annotations_in_all_spellings_reach_the_redirect() {
    for annotations in [
        json!({"heddle.io/exclude-inbound-ports": "9000, 9001", "heddle.io/exclude-outbound-cidrs": "10.0.0.0/8"}),
        json!({"traffic.sidecar.istio.io/excludeInboundPorts": "9000,9001", "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.0.0.0/8"}),
        json!({"config.linkerd.io/skip-inbound-ports": "9000,9001", "config.linkerd.io/skip-subnets": "10.0.0.0/8"}),
    ] {
        let result = injected(&annotated(annotations), &enabled());
        let init = container(&result.pod, "initContainers", "heddle-init");
        assert_eq!(
            env(init, "HEDDLE_REDIRECT_EXCLUDE_INBOUND_PORTS").unwrap(),
            "9000,9001"
        );
        assert_eq!(
            env(init, "HEDDLE_REDIRECT_EXCLUDE_OUTBOUND_CIDRS").unwrap(),
            "10.0.0.0/8"
        );
    }
}

#[test]
fn dns_is_captured_where_it_can_be_unless_the_pod_says_otherwise() {
    let of = |pod: &Value, config: &InjectConfig| {
        let pod = injected(pod, config).pod;
        let init = container(&pod, "initContainers", "heddle-init");
        let redirect = env(init, "HEDDLE_REDIRECT_DNS_CAPTURE");
        let sidecar = env(proxy(&pod), "HEDDLE_DNS_CAPTURE");
        (redirect, sidecar)
    };
    let both = |redirect: &str| (Some(redirect.to_owned()), Some("true".to_owned()));
    let with = |dns_capture| InjectConfig {
        dns_capture,
        ..enabled()
    };
    let asked = |value: &str| annotated(json!({"heddle.io/dns-capture": value}));
    let plain = annotated(json!({}));
    assert_eq!(of(&plain, &with(true)), both("auto"));
    assert_eq!(of(&plain, &with(false)), (None, None));
    for config in [true, false].map(with) {
        assert_eq!(of(&asked("true"), &config), both("true"));
        assert_eq!(of(&asked("false"), &config), (None, None));
    }
}

#[test]
fn bad_annotation_values_are_refused_with_key_value_and_what_is_allowed() {
    for (key, value) in [
        ("sidecar.istio.io/proxyCPU", "fast"),
        ("sidecar.istio.io/proxyMemoryLimit", "1Mi"),
        ("sidecar.istio.io/logLevel", "loud"),
        ("sidecar.istio.io/rewriteAppHTTPProbers", "yes"),
        ("sidecar.istio.io/nativeSidecar", "1"),
        ("sidecar.istio.io/proxyImage", "a b"),
        (
            "traffic.sidecar.istio.io/includeOutboundIPRanges",
            "everything",
        ),
        ("traffic.sidecar.istio.io/includeInboundPorts", "http"),
        ("status.sidecar.istio.io/port", "15999"),
        ("prometheus.istio.io/merge-metrics", "no"),
        ("config.linkerd.io/opaque-ports", "mysql"),
        ("heddle.io/workers", "65"),
        ("heddle.io/dns-capture", "auto"),
        ("heddle.io/preserve-header-case", "yes"),
        ("heddle.io/exclude-inbound-ports", "*"),
        ("heddle.io/termination-grace-seconds", "5m"),
    ] {
        let error = refused(&annotated(json!({key: value})));
        let InjectError::BadValue {
            key: said,
            value: had,
            allowed,
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((said.as_str(), had.as_str()), (key, value));
        assert!(!allowed.is_empty());
    }
}

#[test]
fn conflicting_spellings_and_unknown_keys_are_warned_of() {
    let pod = annotated(
        json!({"heddle.io/log-level": "debug", "sidecar.istio.io/logLevel": "warn", "heddle.io/log-levle": "x"}),
    );
    let result = injected(&pod, &enabled());
    assert_eq!(
        env(proxy(&result.pod), "HEDDLE_LOG_LEVEL").unwrap(),
        "debug"
    );
    assert_eq!(result.warnings.len(), 2, "{:?}", result.warnings);
}

#[test]
fn prometheus_is_sent_to_the_sidecar_and_the_sidecar_to_the_app() {
    let pod = annotated(
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": "9102", "prometheus.io/path": "/m"}),
    );
    let result = injected(&pod, &enabled());
    let annotations = &result.pod["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], "15020");
    assert_eq!(annotations["prometheus.io/path"], "/stats/prometheus");
    assert_eq!(
        env(proxy(&result.pod), "HEDDLE_APP_METRICS").unwrap(),
        r#"{"port":9102,"path":"/m"}"#
    );
    let off = injected(
        &annotated(json!({"prometheus.io/scrape": "false"})),
        &enabled(),
    );
    assert!(
        off.pod["metadata"]["annotations"]
            .get("prometheus.io/port")
            .is_none()
    );
}

#[test]
fn the_proxy_stops_before_the_pods_own_grace_ends() {
    let cut = InjectConfig {
        termination_grace_seconds: Some(20),
        ..enabled()
    };
    for (config, spec, seconds) in [
        (enabled(), json!({}), "28"),
        (enabled(), json!({"terminationGracePeriodSeconds": 10}), "8"),
        (
            enabled(),
            json!({"terminationGracePeriodSeconds": 600}),
            "598",
        ),
        (enabled(), json!({"terminationGracePeriodSeconds": 0}), "0"),
        (cut, json!({"terminationGracePeriodSeconds": 600}), "20"),
    ] {
        let result = injected(&pod(spec), &config);
        let told = env(proxy(&result.pod), "HEDDLE_TERMINATION_GRACE_SECONDS");
        assert_eq!(told.as_deref(), Some(seconds));
    }
}

#[test]
fn security_contexts_drop_everything_but_what_the_redirect_needs() {
    let result = injected(
        &pod(json!({"securityContext": {"runAsNonRoot": true}})),
        &enabled(),
    );
    let init = &container(&result.pod, "initContainers", "heddle-init")["securityContext"];
    assert_eq!(
        init["capabilities"],
        json!({"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]})
    );
    assert_eq!(
        (&init["runAsUser"], &init["runAsNonRoot"]),
        (&json!(0), &json!(false))
    );
    let proxy = &proxy(&result.pod)["securityContext"];
    assert_eq!(proxy["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(
        (&proxy["runAsUser"], &proxy["readOnlyRootFilesystem"]),
        (&json!(1337), &json!(true))
    );
}

#[test]
fn with_a_cni_plugin_the_init_step_only_checks_and_has_no_rights() {
    let result = injected(
        &pod(json!({})),
        &InjectConfig {
            cni: true,
            ..enabled()
        },
    );
    let init = container(&result.pod, "initContainers", "heddle-init");
    assert_eq!(init["args"], json!(["redirect", "check"]));
    assert_eq!(
        init["securityContext"]["capabilities"],
        json!({"drop": ["ALL"]})
    );
}

#[test]
fn reserved_names_are_refused() {
    for spec in [
        json!({"containers": [{"name": "heddle-proxy"}]}),
        json!({"initContainers": [{"name": "heddle-init"}]}),
        json!({"volumes": [{"name": "heddle-token", "emptyDir": {}}]}),
        json!({"containers": [
            {"name": "web", "volumeMounts": [{"name": "heddle-state", "mountPath": "/s"}]},
        ]}),
    ] {
        assert!(matches!(
            refused(&pod(spec)),
            InjectError::ReservedName { .. }
        ));
    }
}

#[test]
fn the_sidecars_own_user_and_ports_are_warned_of() {
    let spec = json!({"containers": [{"name": "app", "ports": [{"containerPort": 15001}], "securityContext": {"runAsUser": 1337}}]});
    assert_eq!(injected(&pod(spec), &enabled()).warnings.len(), 2);
}

#[test]
fn malformed_pods_are_refused_with_the_path() {
    for (pod, path) in [
        (json!([]), "pod"),
        (json!({}), "spec"),
        (json!({"spec": {}}), "spec"),
        (json!({"spec": {"containers": []}}), "spec.containers"),
        (json!({"spec": {"containers": [[]]}}), "spec.containers[0]"),
        (
            json!({"metadata": [{}], "spec": {"containers": [{"name": "a"}]}}),
            "metadata",
        ),
        (
            json!({"metadata": {"labels": {"a": true}}, "spec": {"containers": [{"name": "a"}]}}),
            "metadata.labels.a",
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": true}}}]}}),
            "spec.containers[0].livenessProbe.httpGet.port",
        ),
    ] {
        let error = refused(&pod);
        let InjectError::Shape { path: said, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(said, path, "{error}");
    }
}

#[test]
fn a_status_that_names_the_apps_containers_is_refused() {
    let status = json!({"version": "0", "containers": ["app"]}).to_string();
    assert!(matches!(
        refused(&annotated(json!({"heddle.io/status": status}))),
        InjectError::BadStatus { .. }
    ));
    assert!(matches!(
        refused(&annotated(json!({"heddle.io/status": "yes"}))),
        InjectError::BadStatus { .. }
    ));
}
