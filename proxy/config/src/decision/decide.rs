//! The decision, step by step as a sidecar takes it: what the address means, which rule takes the
//! request (`HttpTable::find`, which traffic asks too), and what that rule does.

mod pod;

use std::net::SocketAddr;

use super::share::{self, Ejected};
use super::{
    Considered, Decision, Hidden, Means, Origin, Outcome, Question, Share, Spoken, Sticky, words,
};
use crate::key;
use crate::route::{HttpTable, Verdict, stick};
use crate::snapshot::{
    Address, Answer, CorsMeaning, Destination, Headless, HttpRule, Pod, Protocol, RouteTable,
    Service, Snapshot, Treatment,
};

/// Rules that do not take a request and are told; the rest are counted.
pub const MAX_RULES: usize = 100;

/// Decides about a request to an address. What the snapshot does not know of the address, it takes as
/// unknown: whoever asks has let it be resolved.
pub fn decide(
    snapshot: &Snapshot,
    called: SocketAddr,
    question: &Question,
    ejected: &Ejected,
) -> Decision {
    told(snapshot, called, question, ejected, None)
}

/// As [`decide`], where it is known which HTTP rule takes the request, if any does.
pub fn decide_taken(
    snapshot: &Snapshot,
    called: SocketAddr,
    question: &Question,
    taken: Option<usize>,
) -> Decision {
    told(snapshot, called, question, &Ejected::new(), Some(taken))
}

fn told(
    snapshot: &Snapshot,
    called: SocketAddr,
    question: &Question,
    ejected: &Ejected,
    taken: Option<Option<usize>>,
) -> Decision {
    let mut decision = Decision {
        pod: match &snapshot.workload {
            Some(workload) => workload.name.to_string(),
            None => String::new(),
        },
        config_version: snapshot.version.to_string(),
        called: called.to_string(),
        spelled: question
            .respelled
            .then(|| question.request.uri().to_string()),
        ..Decision::default()
    };
    let asking = Asking {
        snapshot,
        called,
        port: called.port(),
        pod: None,
        question,
        ejected,
        taken,
    };
    match snapshot
        .addresses
        .get(&called.ip().to_canonical())
        .map(|a| &**a)
    {
        Some(Address::Service(name)) => match snapshot.services.get(name) {
            Some(service) => asking.service(service, &mut decision),
            None => {
                decision.means = Means::Service {
                    name: name.to_string(),
                    port: called.port(),
                    ports: Vec::new(),
                    pod: None,
                };
                refuse(&mut decision, Outcome::Gone, Some(503), "NC");
            }
        },
        Some(Address::Workload(pod)) => asking.pod(pod, &mut decision),
        unknown @ (Some(Address::Unknown | Address::Hidden(_)) | None) => {
            if let Some(Address::Hidden(hidden)) = unknown {
                decision.hidden = Some(Hidden::from(&**hidden));
            }
            let only_known = snapshot.workload.as_ref();
            if only_known.is_some_and(|own| own.registry_only) {
                refuse(&mut decision, Outcome::RegistryOnly, Some(502), "NC");
            }
        }
    }
    decision
}

/// Whether HTTP rules do not apply.
fn is_opaque(protocol: Protocol, question: &Question) -> bool {
    match protocol {
        Protocol::Tcp | Protocol::Tls => true,
        Protocol::Detect => question.tls.is_some(),
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => false,
    }
}

fn refuse(decision: &mut Decision, outcome: Outcome, status: Option<u16>, flag: &str) {
    decision.outcome = outcome;
    decision.status = status;
    decision.flag = Some(flag.to_owned());
}

#[derive(Clone, Copy)]
struct Asking<'a> {
    snapshot: &'a Snapshot,
    called: SocketAddr,
    /// Of the service that is meant.
    port: u16,
    /// The pod that is called, where a headless service of its is meant.
    pod: Option<(&'a Pod, &'a Headless)>,
    question: &'a Question,
    ejected: &'a Ejected,
    /// The rule that takes it, where that is known.
    taken: Option<Option<usize>>,
}

impl Asking<'_> {
    fn service(&self, service: &Service, decision: &mut Decision) {
        let number = self.port;
        let pod = self.pod.map(|(pod, _)| pod.endpoint.workload.to_string());
        decision.means = Means::Service {
            name: service.name.to_string(),
            port: number,
            ports: service.ports.iter().map(|port| port.number).collect(),
            pod,
        };
        let Some(port) = service.ports.iter().find(|port| port.number == number) else {
            decision.outcome = Outcome::NoSuchPort;
            return;
        };
        let of_pod = |(pod, _): (&Pod, _)| pod.protocol(self.called.port(), self.snapshot);
        let protocol = self.pod.map_or(port.protocol, of_pod);
        decision.protocol = Some(Spoken::from(protocol));
        let table = self.snapshot.routes.get(&service.name);
        if is_opaque(protocol, self.question) {
            return self.opaque(service, table.map(|table| &**table), decision);
        }
        decision.retries = Some(words::retries(None));
        let Some(table) = table.and_then(|table| table.http_for(number)) else {
            decision.outcome = Outcome::Forwarded;
            decision.destinations.push(self.whole(service));
            return;
        };
        match self.rule(table, decision) {
            Some(rule) => self.follow(rule, service, decision),
            None => {
                decision.retries = None;
                refuse(decision, Outcome::NoRoute, Some(404), "NR");
            }
        }
    }

    /// All of a service, as without routes; of a headless one the pod that is called.
    fn whole(&self, service: &Service) -> Share {
        let (name, port) = (&service.name, self.port);
        if let Some((pod, headless)) = self.pod {
            let at = SocketAddr::new(pod.endpoint.ip, headless.target);
            return share::of_pod(service, port, at, &pod.endpoint);
        }
        let whole = share::share(self.snapshot, name, None, port, self.called, self.ejected);
        Share {
            percent: 100.0,
            ..whole
        }
    }

    /// The rule that takes the request; each one before it is told with the reason.
    fn rule<'t>(&self, table: &'t HttpTable, decision: &mut Decision) -> Option<&'t HttpRule> {
        let rules = table.rules();
        if let Some(taken) = self.taken {
            let rule = rules.get(taken?)?;
            decision.rule = Some(origin(&rule.origin));
            return Some(rule);
        }
        let request = &self.question.request;
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let (authority, port) = (&self.question.authority, self.port);
        let told = table.explain(method, uri, authority, headers, port, MAX_RULES);
        for (place, verdict) in told.verdicts {
            let (takes, because) = match verdict {
                Verdict::Taken(because) => (true, because),
                Verdict::Missed(because) => (false, because),
            };
            decision.rules.push(Considered {
                place,
                origin: origin(&rules[place].origin),
                takes,
                because,
            });
        }
        decision.rules_left_out = told.left_out;
        let taken = table.find(method, uri, authority, headers, port)?;
        decision.rule = Some(origin(&rules[taken].origin));
        rules.get(taken)
    }

    fn follow(&self, rule: &HttpRule, service: &Service, decision: &mut Decision) {
        decision.timeout_ms = rule.timeout.map(words::millis);
        decision.retries = Some(words::retries(rule.retries.as_deref()));
        decision.outcome = Outcome::Forwarded;
        if let Some(treatment) = &rule.treatment {
            self.treat(treatment, &rule.destinations, decision);
            if decision.outcome != Outcome::Forwarded {
                decision.retries = None;
                return;
            }
        }
        if rule.destinations.is_empty() {
            decision.destinations.push(self.whole(service));
        }
        self.split(&rule.destinations, decision);
        if let Some(treatment) = &rule.treatment {
            for (place, share) in decision.destinations.iter_mut().enumerate() {
                share::treat(share, treatment, place, &self.question.request);
            }
        }
    }

    fn split(&self, destinations: &[Destination], decision: &mut Decision) {
        let total: u64 = destinations.iter().map(|to| u64::from(to.weight)).sum();
        for (place, to) in destinations.iter().enumerate() {
            let percent = match (destinations.len(), total) {
                (1, _) => 100.0,
                // Nobody has a weight: the first has all.
                (_, 0) => f64::from(u8::from(place == 0)) * 100.0,
                (_, total) => 100.0 * f64::from(to.weight) / total as f64,
            };
            let port = to.port.unwrap_or(self.port);
            let subset = to.subset.as_deref();
            let (snapshot, called) = (self.snapshot, self.called);
            let share = share::share(snapshot, &to.service, subset, port, called, self.ejected);
            decision.destinations.push(Share { percent, ..share });
        }
    }

    /// What the rule does beside sending the request on, in the order in which it does.
    fn treat(&self, treatment: &Treatment, to: &[Destination], decision: &mut Decision) {
        let request = &self.question.request;
        decision.response_headers = words::head(&treatment.headers.response);
        if let Some(cors) = &treatment.cors {
            let meaning = cors.meaning(request.method(), request.headers());
            let (told, answered) = match meaning {
                CorsMeaning::Own => ("of no origin that may read it elsewhere", false),
                CorsMeaning::Allowed => ("its origin may read the answer", false),
                CorsMeaning::Preflight { allowed: true } => {
                    ("a preflight of an origin that may", true)
                }
                CorsMeaning::Preflight { allowed: false } => {
                    ("a preflight of an origin that may not", true)
                }
            };
            decision.cors = Some(told.to_owned());
            if answered {
                decision.outcome = Outcome::Answered;
                decision.status = Some(200);
                return;
            }
        }
        decision.fault = words::faults(&treatment.fault);
        match &treatment.answer {
            Some(Answer::Redirect(redirect)) => {
                decision.outcome = Outcome::Redirected;
                decision.status = Some(redirect.status.as_u16());
                match redirect.location(request.uri(), &self.question.authority) {
                    Ok(location) => decision.location = Some(location),
                    Err(_) => refuse(decision, Outcome::Answered, Some(500), "NR"),
                }
            }
            Some(Answer::Direct(direct)) => {
                decision.outcome = Outcome::Answered;
                decision.status = Some(direct.status.as_u16());
            }
            None => {
                let called = self.port;
                let mirrors = treatment.mirrors.iter();
                decision.mirrors = mirrors.map(|mirror| words::copy(mirror, called)).collect();
                decision.sticky = treatment.sticky.as_ref().map(|by| {
                    let shown = key::of(by, request, self.question.caller);
                    let shown = shown.filter(|key| key.set_cookie.is_none() && to.len() > 1);
                    Sticky {
                        by: words::key(by),
                        destination: shown.map(|key| stick(key.hash, to)),
                    }
                });
            }
        }
    }

    /// Connections of which only the address, and the server that TLS names, are known.
    fn opaque(&self, service: &Service, table: Option<&RouteTable>, decision: &mut Decision) {
        decision.outcome = Outcome::Opaque;
        let number = self.port;
        let of_port = |place: &usize| {
            let rule = table.and_then(|table| table.tcp.get(*place));
            rule.is_some_and(|rule| rule.port.is_none_or(|port| port == number))
        };
        let rules = table.map_or(&[][..], |table| &table.tcp);
        let places: Vec<usize> = (0..rules.len()).filter(of_port).collect();
        if places.is_empty() {
            decision.destinations.push(self.whole(service));
            return;
        }
        let name = self.question.tls.as_deref();
        for place in places {
            let rule = &rules[place];
            let takes = rule.takes(name);
            let because = match (takes, name) {
                (true, _) if rule.sni_hosts.is_empty() => Vec::new(),
                (true, name) => vec![format!("its TLS asks for {}", name.unwrap_or_default())],
                (false, None) => vec!["it asks for no server by TLS".to_owned()],
                (false, Some(name)) => vec![format!("{name} is none of its servers")],
            };
            if decision.rules.len() < MAX_RULES || takes {
                decision.rules.push(Considered {
                    place,
                    origin: origin(&rule.origin),
                    takes,
                    because,
                });
            } else {
                decision.rules_left_out += 1;
            }
            if takes {
                decision.rule = Some(origin(&rule.origin));
                return self.split(&rule.destinations, decision);
            }
        }
        refuse(decision, Outcome::NoRoute, None, "NR");
    }
}

fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap_or_default()
}
