//! What a rule does with the request that it takes, and the pods that each share of it may reach.

use heddle_control::model::{Client, Model};
use heddle_control::name::NsName;
use heddle_proxy_config::compile::{Compiled, compile};
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::snapshot::{
    AbortStatus, Algorithm, Answer, Endpoints, HashKey, HttpRule, MtlsMode, Service, Treatment,
    Workload,
};

use super::story::{Destination, Endpoint, Story};
use crate::failure::{Failure, Outcome};

/// Endpoints of a destination that are named; the rest are counted.
const SHOWN_ENDPOINTS: usize = 5;

/// The mesh as one client sees it.
pub(super) struct Mesh<'a> {
    pub(super) model: &'a Model,
    pub(super) client: &'a Client,
}

impl Mesh<'_> {
    pub(super) fn follow(
        &self,
        rule: &HttpRule,
        service: &NsName,
        called: u16,
        story: &mut Story,
    ) -> Outcome {
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
    pub(super) fn share(
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
pub(super) fn resource(
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
