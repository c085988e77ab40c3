//! The decision about one request, step by step as a sidecar takes it: the service that its address
//! means, the first rule that matches, the shares, the endpoints of each, and who is expected there.

use std::net::IpAddr;

use heddle_control::model::{Client, Model};
use heddle_control::name::NsName;
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::route::Verdict;
use heddle_proxy_config::snapshot::{
    AbortStatus, Algorithm, Answer, Endpoints, HashKey, HttpRule, MtlsMode, Protocol, RouteTable,
    Service, Treatment, Workload,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::story::{Destination, Endpoint, Story};
use crate::args::Explain;
use crate::failure::{Failure, Outcome};

/// Endpoints of a destination that are named; the rest are counted.
const SHOWN_ENDPOINTS: usize = 5;

/// The request in question.
pub(super) struct Asked {
    from: NsName,
    method: Method,
    uri: Uri,
    host: String,
    port: u16,
    authority: String,
    headers: HeaderMap,
}

impl Asked {
    pub(super) fn new(explain: &Explain) -> Outcome<Self> {
        let wrong = |what: &str, why: String| Failure::new(format!("{what}: {why}"));
        let url = match explain.url.contains("://") {
            true => explain.url.clone(),
            false => format!("http://{}", explain.url),
        };
        let uri: Uri = url
            .parse()
            .map_err(|error| wrong(&url, format!("not a URL: {error}")))?;
        let host = uri
            .host()
            .ok_or_else(|| wrong(&url, "it names no host".into()))?
            .trim_matches(['[', ']'])
            .to_owned();
        let default = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let method = Method::from_bytes(explain.method.as_bytes())
            .map_err(|_| wrong(&explain.method, "not a method".into()))?;
        let mut headers = HeaderMap::new();
        for line in &explain.headers {
            let parsed = line.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) =
                parsed.ok_or_else(|| wrong(line, "not a header: write `name: value`".into()))?;
            headers.append(name, value);
        }
        let (namespace, pod) = explain
            .from
            .split_once('/')
            .unwrap_or(("default", &explain.from));
        let from = NsName::new(namespace, pod)
            .ok_or_else(|| wrong(&explain.from, "not NAMESPACE/POD".into()))?;
        let given = headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok());
        let authority = given.or_else(|| uri.authority().map(|a| a.as_str()));
        Ok(Self {
            from,
            method,
            host,
            port: uri.port_u16().unwrap_or(default),
            authority: authority.unwrap_or_default().to_owned(),
            headers,
            uri,
        })
    }
}

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
    let Some(service) = target(model, asked, name.namespace(), &mut story) else {
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
        None if table.http.rules().is_empty() => {
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
fn target(model: &Model, asked: &Asked, namespace: &str, story: &mut Story) -> Option<NsName> {
    if let Ok(ip) = asked.host.parse::<IpAddr>() {
        if let Some(service) = model.service_at(ip, namespace) {
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
        None => NsName::new(namespace, &host),
        Some((name, namespace)) => NsName::new(namespace, name),
    };
    let found = named.filter(|name| model.service(name).is_some());
    let found = found.or_else(|| {
        let outside = model.service_names().find(|name| name.name() == host);
        outside.cloned()
    });
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
    let verdicts = table.http.explain(
        &asked.method,
        &asked.uri,
        &asked.authority,
        &asked.headers,
        asked.port,
    );
    let mut taken = None;
    for (rule, verdict) in table.http.rules().iter().zip(verdicts) {
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

struct Mesh<'a> {
    model: &'a Model,
    client: &'a Client,
}

impl Mesh<'_> {
    fn follow(&self, rule: &HttpRule, service: &NsName, called: u16, story: &mut Story) -> Outcome {
        if let Some(treatment) = &rule.treatment {
            treat(treatment, story);
        }
        if story.status.is_some() {
            return Ok(());
        }
        let timeout = rule
            .timeout
            .map_or("no timeout".to_owned(), |t| format!("timeout {t:?}"));
        let retries = match &rule.retries {
            None => "2 retries of what was not sent".to_owned(),
            Some(policy) if policy.attempts == 0 => "no retries".to_owned(),
            Some(policy) => {
                let bound = policy.per_try_timeout;
                let bound = bound
                    .map(|t| format!(", {t:?} for each try"))
                    .unwrap_or_default();
                let of = match policy.retry_on.is_default() {
                    true => "of what was not sent",
                    false => "as retryOn says",
                };
                format!("{} retries {of}{bound}", policy.attempts)
            }
        };
        story.step(format!("{timeout}; {retries}")).by(&rule.origin);
        let total: u64 = match rule.destinations.as_slice() {
            [_] => 1,
            several => several.iter().map(|to| u64::from(to.weight)).sum(),
        };
        for to in &rule.destinations {
            let weight = if rule.destinations.len() == 1 {
                1
            } else {
                to.weight
            };
            let percent = 100.0 * f64::from(weight) / total.max(1) as f64;
            let percent = (percent * 100.0).round() / 100.0;
            let name = NsName::parse(to.service.as_str());
            let name = name.unwrap_or_else(|| service.clone());
            let port = to.port.unwrap_or(called);
            self.share(&name, to.subset.as_deref(), port, percent, story)?;
        }
        Ok(())
    }

    /// One share of the requests, and who may get one of it.
    fn share(
        &self,
        service: &NsName,
        subset: Option<&str>,
        port: u16,
        percent: f64,
        story: &mut Story,
    ) -> Outcome {
        let encoded = self
            .model
            .endpoints(service, self.client)
            .map(|e| e.body.clone());
        let endpoints = match resource(Kind::Endpoints, service, encoded)? {
            Some(Compiled::Endpoints(_, endpoints, _)) => members(&endpoints, subset, port),
            _ => Vec::new(),
        };
        let encoded = self
            .model
            .service_resource(service, self.client)
            .map(|e| e.body.clone());
        let policy = match resource(Kind::Service, service, encoded)? {
            Some(Compiled::Service(_, known)) => policy_in_words(&known, subset, port),
            _ => None,
        };
        let place = match subset {
            Some(subset) => format!("subset {subset} of {service}, port {port}"),
            None => format!("{service}, port {port}"),
        };
        let step = story.step(format!("{percent}% to {place}"));
        if let Some((words, origin)) = policy {
            step.by(&origin).detail(words);
        }
        if endpoints.is_empty() {
            step.detail("no endpoint is ready: these are answered with 503, with the flag UH");
        }
        for endpoint in endpoints.iter().take(SHOWN_ENDPOINTS) {
            let how = match &endpoint.identity {
                Some(identity) => format!("mutual TLS, expecting {identity}"),
                None => "in the clear: it has no sidecar, or its policy is DISABLE".to_owned(),
            };
            step.detail(format!(
                "{} at {}: {how}",
                endpoint.workload, endpoint.address
            ));
            if let Some(mode) = self.refuses(endpoint) {
                step.detail(mode);
            }
        }
        if let Some(more) = endpoints
            .len()
            .checked_sub(SHOWN_ENDPOINTS)
            .filter(|n| *n > 0)
        {
            step.detail(format!("and {more} more"));
        }
        story.destinations.push(Destination {
            service: service.to_string(),
            subset: subset.map(str::to_owned),
            port,
            percent,
            endpoints,
        });
        Ok(())
    }

    /// Whether the server's policy refuses what comes in the clear.
    fn refuses(&self, endpoint: &Endpoint) -> Option<String> {
        let name = NsName::parse(&endpoint.workload)?;
        let encoded = self.model.workload(&name)?;
        let Ok(Some(Compiled::Workload(Workload { mtls, .. }))) =
            resource(Kind::Workload, &name, Some(encoded.body))
        else {
            return None;
        };
        let in_the_clear = endpoint.identity.is_none() && self.model.pod(&name)?.meshed;
        (in_the_clear && mtls == MtlsMode::Strict)
            .then(|| "it is refused there: mutual TLS is STRICT".to_owned())
    }
}

/// What a rule does beside sending the request on.
fn treat(treatment: &Treatment, story: &mut Story) {
    let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
    if let Some(delay) = &treatment.fault.delay {
        story.step(format!(
            "fault: {}% wait {:?} first",
            percent(delay.ppm),
            delay.fixed
        ));
    }
    if let Some(abort) = &treatment.fault.abort {
        story.step(format!(
            "fault: {}% are answered with {}",
            percent(abort.ppm),
            match abort.status {
                AbortStatus::Http(status) => status.to_string(),
                AbortStatus::Grpc(code) => format!("gRPC status {}", code.number()),
            }
        ));
    }
    match &treatment.answer {
        Some(Answer::Redirect(redirect)) => {
            story.status = Some(redirect.status.as_u16());
            story.step(format!("the sidecar redirects it: {}", redirect.status));
        }
        Some(Answer::Direct(direct)) => {
            story.status = Some(direct.status.as_u16());
            story.step(format!("the sidecar answers it itself: {}", direct.status));
        }
        None => {}
    }
    for mirror in &treatment.mirrors {
        let to = &mirror.destination;
        let share = percent(mirror.ppm);
        story.step(format!(
            "a copy of {share}% goes to {}; its answers are dropped",
            to.service
        ));
    }
    if treatment.rewrite.path.is_some() || treatment.rewrite.authority.is_some() {
        story.step("its path or host is rewritten");
    }
    if treatment.sticky.is_some() {
        story.step("whoever shows the same key stays at the same destination");
    }
}

fn members(endpoints: &Endpoints, subset: Option<&str>, port: u16) -> Vec<Endpoint> {
    let slot = endpoints.service_ports.iter().position(|p| *p == port);
    let subset = subset.map(|name| endpoints.subset_names.iter().position(|n| &**n == name));
    let of_subset = |subsets: &[usize]| match subset {
        None => true,
        Some(index) => index.is_some_and(|index| subsets.contains(&index)),
    };
    let all = endpoints.endpoints.iter();
    all.filter(|endpoint| of_subset(&endpoint.subsets))
        .filter_map(|endpoint| {
            let port = (*endpoint.target_ports.get(slot?)?)?;
            Some(Endpoint {
                workload: endpoint.workload.to_string(),
                address: std::net::SocketAddr::new(endpoint.ip, port).to_string(),
                identity: endpoint.identity.as_ref().map(ToString::to_string),
            })
        })
        .collect()
}

fn policy_in_words(service: &Service, subset: Option<&str>, port: u16) -> Option<(String, String)> {
    let policy = service.policy(subset, port)?;
    let mut words = vec![match &policy.algorithm {
        Algorithm::LeastRequest => "the less loaded of two is chosen".to_owned(),
        Algorithm::RoundRobin => "endpoints take turns".to_owned(),
        Algorithm::Random => "any endpoint is chosen".to_owned(),
        Algorithm::Passthrough => "the address that was called is kept".to_owned(),
        Algorithm::Hash(key, _) => format!(
            "the same endpoint for the same {}",
            match key {
                HashKey::Header(name) => format!("header {name}"),
                HashKey::Cookie(cookie) => format!("cookie {}", cookie.name),
                HashKey::SourceIp => "address of the caller".to_owned(),
                HashKey::QueryParameter(name) => format!("query parameter {name}"),
            }
        ),
    }];
    if policy.outlier.is_some() {
        words.push("outliers are ejected".to_owned());
    }
    if let Some(most) = policy.pool.max_requests {
        words.push(format!("at most {most} requests at a time"));
    }
    Some((words.join(", "), policy.origin.to_string()))
}

/// A resource as the sidecar reads it.
fn resource(
    kind: Kind,
    name: &NsName,
    body: Option<std::sync::Arc<[u8]>>,
) -> Outcome<Option<Compiled>> {
    let Some(body) = body else { return Ok(None) };
    compile(kind, name.as_str(), &body)
        .map(Some)
        .map_err(|refusal| {
            Failure::new(format!("a sidecar would refuse the {kind} {name}")).because(&refusal)
        })
}

#[cfg(test)]
mod tests;
