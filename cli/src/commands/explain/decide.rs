//! The decision about one request, step by step as a sidecar takes it: the service that its address
//! means, and the first rule that matches.

use std::net::IpAddr;

use heddle_control::model::{Client, Model};
use heddle_control::name::NsName;
use heddle_proxy_config::compile::Compiled;
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::route::Verdict;
use heddle_proxy_config::snapshot::{HttpRule, Protocol, RouteTable};

use super::asked::Asked;
use super::shares::{Mesh, resource};
use super::story::Story;
use crate::failure::{Failure, Outcome};

/// Tells what becomes of it.
pub(super) fn decide(model: &Model, asked: &Asked) -> Outcome<Story> {
    let (name, client, meshed) = client(model, &asked.from)?;
    let mut story = Story {
        request: format!("{} {}", asked.method, asked.uri),
        from: name.to_string(),
        ..Story::default()
    };
    if !meshed {
        let step = story.step(format!(
            "{name} has no sidecar: no route applies to what it sends"
        ));
        step.detail("its requests go to the service as plain text, and are refused where mutual TLS is STRICT");
    }
    let Some(service) = target(model, asked, &client, &mut story) else {
        return Ok(story);
    };
    story.service = Some(service.to_string());
    let Some(Compiled::Service(_, known)) = resource(
        Kind::Service,
        &service,
        model
            .service_resource(&service, &client)
            .map(|e| e.body.clone()),
    )?
    else {
        return Ok(story);
    };
    let Some(port) = known.ports.iter().find(|port| port.number == asked.port) else {
        let ports: Vec<String> = known.ports.iter().map(|p| p.number.to_string()).collect();
        let what = format!(
            "service {service} has no port {}: nothing answers there",
            asked.port
        );
        story
            .step(what)
            .detail(format!("its ports: {}", ports.join(", ")));
        return Ok(story);
    };
    let spoken = match port.protocol {
        Protocol::Http1 => "HTTP/1.1, declared by the port",
        Protocol::Http2 => "HTTP/2, declared by the port",
        Protocol::Grpc => "gRPC, declared by the port",
        Protocol::Tcp => "opaque bytes, declared by the port: HTTP rules do not apply",
        Protocol::Tls => "the application's own TLS, declared by the port: HTTP rules do not apply",
        Protocol::Detect => "undeclared: the sidecar looks at the first bytes and finds HTTP",
    };
    story
        .step(format!(
            "{} means service {service}, port {}",
            asked.host, asked.port
        ))
        .detail(spoken);
    if matches!(port.protocol, Protocol::Tcp | Protocol::Tls) {
        return Ok(story);
    }
    let view = model
        .route_table(&service, &client)
        .map(|view| view.encoded.body.clone());
    let table = match resource(Kind::RouteTable, &service, view)? {
        Some(Compiled::Routes(_, table)) => table,
        _ => RouteTable::default(),
    };
    let mesh = Mesh {
        model,
        client: &client,
    };
    match rule(&table, asked, &mut story) {
        Some(rule) => mesh.follow(rule, &service, asked.port, &mut story)?,
        None if table.http_for(asked.port).is_none() => {
            story.step("no route is written for it: every ready endpoint has its share");
            mesh.share(&service, None, asked.port, 100.0, &mut story)?;
        }
        None => {
            story.status = Some(404);
            story.step("no rule takes it: the sidecar answers 404, with the flag NR");
        }
    }
    Ok(story)
}

/// The pod that is meant, or a pod of the workload that is.
fn client(model: &Model, from: &NsName) -> Outcome<(NsName, Client, bool)> {
    let mut of_workload = model.pod_names().filter(|pod| {
        let rest = pod.name().strip_prefix(from.name());
        pod.namespace() == from.namespace() && rest.is_some_and(|rest| rest.starts_with('-'))
    });
    let exact = model.pod(from).map(|_| from);
    let name = exact.or_else(|| of_workload.next()).ok_or_else(|| {
        Failure::new(format!(
            "there is no pod {from}, nor a workload of that name"
        ))
        .advise("name a pod or a Deployment as NAMESPACE/NAME")
    })?;
    // It was found a line ago.
    let pod = model.pod(name);
    let client = Client {
        namespace: name.namespace().into(),
        labels: pod.map(|pod| pod.labels.clone()).unwrap_or_default(),
    };
    Ok((name.clone(), client, pod.is_some_and(|pod| pod.meshed)))
}

/// The service behind the host, as the pod's resolver would find it.
fn target(model: &Model, asked: &Asked, client: &Client, story: &mut Story) -> Option<NsName> {
    if let Ok(ip) = asked.host.parse::<IpAddr>() {
        if let Some(service) = model.service_at(ip, client) {
            return Some(service.clone());
        }
        match model.pod_at(ip) {
            Some(pod) => {
                let what = format!("{ip} is pod {pod}: it is called directly, no route applies");
                story.step(what);
            }
            None => unknown(story, &asked.host),
        }
        return None;
    }
    let host = asked.host.trim_end_matches('.').to_ascii_lowercase();
    let domain = format!(".svc.{}", model.settings().cluster_domain);
    let short = host
        .strip_suffix(&domain)
        .or_else(|| host.strip_suffix(".svc"));
    let named = match short.unwrap_or(&host).split_once('.') {
        None => NsName::new(&client.namespace, &host),
        Some((name, namespace)) => NsName::new(namespace, name),
    };
    let found = named.filter(|name| model.service(name).is_some());
    let found = found.or_else(|| {
        let outside = model.service_names().find(|name| name.name() == host);
        outside.cloned()
    });
    if let Some(hidden) = found.as_ref().filter(|found| !model.sees(client, found)) {
        story
            .step(format!(
                "a Sidecar's `egress` does not let the pod see {hidden}"
            ))
            .detail("it is passed through, or refused where the outbound policy is REGISTRY_ONLY");
        return None;
    }
    if found.is_none() {
        unknown(story, &asked.host);
    }
    found
}

fn unknown(story: &mut Story, host: &str) {
    story
        .step(format!("the mesh knows no service {host}"))
        .detail("it is passed through, or refused where the outbound policy is REGISTRY_ONLY");
}

/// The rule that takes the request; each one before it is told with the reason.
fn rule<'a>(table: &'a RouteTable, asked: &Asked, story: &mut Story) -> Option<&'a HttpRule> {
    let http = table.http_for(asked.port)?;
    let verdicts = http.explain(
        &asked.method,
        &asked.uri,
        &asked.authority,
        &asked.headers,
        asked.port,
    );
    let mut taken = None;
    for (rule, verdict) in http.rules().iter().zip(verdicts) {
        match verdict {
            Verdict::Missed(reasons) => {
                let step = story.step("not this rule").by(&rule.origin);
                for reason in reasons {
                    step.detail(reason);
                }
            }
            Verdict::Taken(because) => {
                let step = story.step("this rule takes it").by(&rule.origin);
                match because.as_slice() {
                    [] => _ = step.detail("it takes every request"),
                    because => _ = step.detail(because.join(", ")),
                }
                story.rule = Some(rule.origin.to_string());
                taken = Some(rule);
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests;
