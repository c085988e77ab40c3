//! A decision as a story.

use std::net::SocketAddr;

use heddle_proxy_config::decision::{
    Admission, Decision, Head, Hidden, Means, Outcome, Reached, Retries, Share, Spoken, State, Tls,
};
use http::StatusCode;

use super::asked::Asked;
use super::is_let_in;
use super::story::{By, Step, Story};
use crate::snapshots::UNRESOLVED;

/// Endpoints of a destination that are named; the rest are counted.
const SHOWN_ENDPOINTS: usize = 5;

/// Of a pod that sends past every route.
pub(super) fn unmeshed(title: &str, from: &str) -> Story {
    let mut story = Story::new(By::Files, title, from.to_owned());
    story
        .step(format!("{from} has no sidecar: no route applies to what it sends"))
        .detail("its requests go to the service as plain text, and are refused where mutual TLS is STRICT");
    story
}

pub(super) fn story(
    by: By,
    asked: &Asked,
    from: String,
    decision: Decision,
    admissions: Vec<Admission>,
) -> Story {
    let mut story = Story::new(by, &asked.title, from);
    story.status = decision.status;
    story.rule = decision.rule.as_ref().map(|rule| rule.text.clone());
    means(&decision, &asked.request.host, &mut story);
    rules(&decision, &mut story);
    treatment(&decision, &mut story);
    let is_sent = !is_aborted(&decision);
    if decision.outcome == Outcome::Forwarded && is_sent {
        let timeout = decision.timeout_ms;
        let timeout = timeout.map_or("no timeout".to_owned(), |ms| {
            format!("timeout {}", span(ms))
        });
        let retries = decision.retries.as_ref().map(retries).unwrap_or_default();
        story
            .step(format!("{timeout}; {retries}"))
            .by(decision.rule.as_ref());
    }
    if is_sent {
        for share in &decision.destinations {
            self::share(share, &mut story);
        }
        admitted(&admissions, &mut story);
    }
    story.place(decision.outcome == Outcome::Opaque);
    story.let_in = is_let_in(&admissions);
    story.destinations.clone_from(&decision.destinations);
    story.admissions = admissions;
    story.decision = Some(decision);
    story
}

/// Whether a fault answers all of them.
fn is_aborted(decision: &Decision) -> bool {
    let percent = decision
        .fault
        .as_ref()
        .and_then(|fault| fault.abort_percent);
    percent.is_some_and(|percent| percent >= 100.0)
}

fn means(decision: &Decision, host: &str, story: &mut Story) {
    let called = &decision.called;
    match (&decision.means, decision.outcome) {
        (_, Outcome::NoSuchName) => {
            let step = match &decision.hidden {
                Some(hidden) => self::hidden(hidden, host, story),
                None => story.step(format!(
                    "the mesh knows no service {host}, and no name is like it"
                )),
            };
            step.detail("nothing is sent: the pod's resolver finds no address");
        }
        (
            Means::Service {
                name,
                ports,
                port,
                pod,
            },
            outcome,
        ) => {
            story.service = Some(name.clone());
            match outcome {
                Outcome::NoSuchPort => {
                    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                    let what = format!("service {name} has no port {port}: nothing answers there");
                    let step = story.step(what);
                    step.detail(format!("its ports: {}", ports.join(", ")));
                }
                Outcome::Gone => {
                    story.step(format!("service {name} is gone: 503, with the flag NC"));
                }
                _ => {
                    let step = story.step(format!("{host} means service {name}, port {port}"));
                    if let Some(pod) = pod {
                        step.detail(format!(
                            "it is headless, and {called} is pod {pod}: the host that the request names decides"
                        ));
                    }
                    spoken(decision, step);
                }
            }
        }
        (Means::Pod { name }, _) => {
            if let Some(hidden) = &decision.hidden {
                self::hidden(hidden, host, story);
            }
            let what = format!("{called} is pod {name}: it is called directly, no route applies");
            spoken(decision, story.step(what));
        }
        (Means::Unknown, outcome) => {
            let step = match &decision.hidden {
                Some(hidden) => self::hidden(hidden, host, story),
                None => story.step(format!("the mesh knows no service {host}")),
            };
            step.detail(match (outcome, &decision.hidden) {
                (Outcome::RegistryOnly, _) => {
                    "it is refused: the pod's outbound policy is REGISTRY_ONLY; HTTP gets 502"
                        .to_owned()
                }
                (_, None) => format!("it is passed through to {called} untouched"),
                (_, Some(_)) => format!(
                    "it is passed through to {called} as to an address outside of the mesh: no route applies, and no mutual TLS"
                ),
            });
        }
    }
    if let Some(spelled) = &decision.spelled {
        story.step(format!(
            "its path is spelled {spelled} before anything looks at it"
        ));
    }
}

/// A service that the pod's Sidecar hides, and what would show it.
fn hidden<'s>(hidden: &Hidden, host: &str, story: &'s mut Story) -> &'s mut Step {
    let sidecar = match &hidden.by {
        Some(by) => format!("Sidecar {}/{}", by.namespace, by.name),
        None => "a Sidecar".to_owned(),
    };
    let what = format!(
        "{host} is service {}, which {sidecar} hides from this pod",
        hidden.service
    );
    let step = story.step(what).by(hidden.by.as_ref());
    step.detail(format!(
        "no host of its egress names it: add `{}` to egress[].hosts",
        hidden.host
    ))
}

fn spoken(decision: &Decision, step: &mut Step) {
    let opaque = decision.outcome == Outcome::Opaque;
    let told = match decision.protocol {
        None => return,
        Some(Spoken::Http1) => "HTTP/1.1, declared by the port",
        Some(Spoken::Http2) => "HTTP/2, declared by the port",
        Some(Spoken::Grpc) => "gRPC, declared by the port",
        Some(Spoken::Tcp) => "opaque bytes, declared by the port: HTTP rules do not apply",
        Some(Spoken::Tls) => {
            "the application's own TLS, declared by the port: HTTP rules do not apply"
        }
        Some(Spoken::Detect) if opaque => {
            "undeclared: the sidecar looks at the first bytes and finds TLS; HTTP rules do not apply"
        }
        Some(Spoken::Detect) => "undeclared: the sidecar looks at the first bytes and finds HTTP",
    };
    step.detail(told);
}

/// The rule that takes the request; each one before it is told with the reason.
fn rules(decision: &Decision, story: &mut Story) {
    for rule in &decision.rules {
        if rule.takes && decision.rules_left_out > 0 {
            left_out(decision.rules_left_out, story);
        }
        let what = match rule.takes {
            true => "this rule takes it",
            false => "not this rule",
        };
        let step = story.step(what).by(Some(&rule.origin));
        match (rule.takes, rule.because.as_slice()) {
            (true, []) => _ = step.detail("it takes every request"),
            (true, because) => _ = step.detail(because.join(", ")),
            (false, because) => because.iter().for_each(|why| _ = step.detail(why)),
        }
    }
    match decision.outcome {
        Outcome::NoRoute => {
            left_out(decision.rules_left_out, story);
            story.step(match decision.status {
                Some(_) => "no rule takes it: the sidecar answers 404, with the flag NR",
                None => "no rule takes it: the connection is refused, with the flag NR",
            });
        }
        Outcome::Forwarded | Outcome::Opaque
            if decision.rules.is_empty()
                && let Means::Service { pod, .. } = &decision.means =>
        {
            story.step(match pod {
                None => "no route is written for it: every ready endpoint has its share",
                Some(_) => "no route is written for it: it goes to the pod that is called",
            });
        }
        _ => {}
    }
}

fn left_out(rules: usize, story: &mut Story) {
    match rules {
        0 => {}
        1 => _ = story.step("nor one more rule"),
        rules => _ = story.step(format!("nor {rules} more rules")),
    }
}

/// What a rule does beside sending the request on.
fn treatment(decision: &Decision, story: &mut Story) {
    let rule = decision.rule.as_ref();
    if let Some(cors) = &decision.cors {
        story.step(format!("CORS: {cors}")).by(rule);
    }
    if let Some(fault) = &decision.fault {
        if let (Some(delay), Some(percent)) = (fault.delay_ms, fault.delay_percent) {
            let what = format!("fault: {percent}% wait {} first", span(delay));
            story.step(what).by(rule);
        }
        let grpc = fault
            .abort_grpc_status
            .map(|code| format!("gRPC status {code}"));
        let status = fault.abort_status.map(status).or(grpc);
        if let (Some(status), Some(percent)) = (status, fault.abort_percent) {
            let what = format!("fault: {percent}% are answered with {status}");
            let others = ((100.0 - percent) * 1e4).round() / 1e4;
            story.step(what).by(rule).detail(match others > 0.0 {
                true => format!("what follows is of the other {others}%"),
                false => "nothing is sent on".to_owned(),
            });
        }
    }
    match (decision.outcome, decision.status) {
        (Outcome::Redirected, Some(code)) => {
            let location = decision.location.as_deref().unwrap_or_default();
            let what = format!("the sidecar redirects it: {} to {location}", status(code));
            story.step(what).by(rule);
        }
        (Outcome::Answered, Some(code)) => {
            let what = format!("the sidecar answers it itself: {}", status(code));
            story.step(what).by(rule);
        }
        _ => {}
    }
    for copy in &decision.mirrors {
        let subset = copy.subset.as_deref();
        let to = place(&copy.service, subset, copy.port);
        let what = format!(
            "a copy of {}% goes to {to}; its answers are dropped",
            copy.percent
        );
        story.step(what).by(rule);
    }
    if let Some(sticky) = &decision.sticky {
        let kept = sticky
            .destination
            .and_then(|place| decision.destinations.get(place));
        let what = format!(
            "whoever shows the same {} stays at the same destination",
            sticky.by
        );
        let step = story.step(what).by(rule);
        step.detail(match kept {
            Some(share) => format!("this one at {}", of_share(share)),
            None => "this one shows none, and is drawn".to_owned(),
        });
    }
    if let Some(changes) = head(&decision.response_headers) {
        story.step(format!("the answer's head: {changes}")).by(rule);
    }
}

fn retries(retries: &Retries) -> String {
    if retries.attempts == 0 {
        return "no retries".to_owned();
    }
    let of = match retries.on.is_empty() {
        true => "what was not sent".to_owned(),
        false => format!("what was not sent, and of {}", retries.on.join(", ")),
    };
    let bound = retries.per_try_timeout_ms;
    let bound = bound.map(|ms| format!(", {} for each try", span(ms)));
    format!(
        "{} retries of {of}{}",
        retries.attempts,
        bound.unwrap_or_default()
    )
}

fn share(share: &Share, story: &mut Story) {
    let percent = (share.percent * 100.0).round() / 100.0;
    let step = story.step(format!("{percent}% to {}", of_share(share)));
    if let Some(why) = &share.invalid {
        step.detail(format!(
            "they are answered with 500, for it is not valid: {why}"
        ));
        return;
    }
    if let Some(path) = &share.path {
        step.detail(format!("its path becomes {path}"));
    }
    if let Some(authority) = &share.authority {
        step.detail(format!("its host becomes {authority}"));
    }
    if let Some(changes) = head(&share.request_headers) {
        step.detail(format!("its head: {changes}"));
    }
    if let Some(changes) = head(&share.response_headers) {
        step.detail(format!("the answer's head: {changes}"));
    }
    if let Some(policy) = &share.policy {
        step.by(policy.origin.as_ref())
            .detail(policy.says.join(", "));
    }
    if share.endpoints.is_empty() {
        step.detail("no endpoint is ready: these are answered with 503, with the flag UH");
    }
    for endpoint in share.endpoints.iter().take(SHOWN_ENDPOINTS) {
        step.detail(reached(endpoint));
    }
    let more = share.endpoints.len().saturating_sub(SHOWN_ENDPOINTS) + share.endpoints_left_out;
    if more > 0 {
        step.detail(format!("and {more} more"));
    }
}

fn reached(endpoint: &Reached) -> String {
    let how = match (endpoint.tls, &endpoint.identity) {
        (Tls::Mutual, Some(identity)) => format!("mutual TLS, expecting {identity}"),
        (Tls::Mutual | Tls::Plain, _) => {
            "in the clear: it has no sidecar, or its policy is DISABLE".to_owned()
        }
        (Tls::Origin, _) => "by TLS, as its policy says".to_owned(),
        (Tls::Impossible, _) => {
            "not connected to: its policy wants mutual TLS, and it has no identity".to_owned()
        }
    };
    let state = match endpoint.state {
        State::Ready => "",
        State::Draining => "; it is going away, and gets nothing while another is left",
        State::Ejected => "; it is left out for a while, because it failed",
    };
    let locality = endpoint.locality.as_ref();
    let locality = locality
        .map(|place| format!(" in {place}"))
        .unwrap_or_default();
    let at = match endpoint.address.parse::<SocketAddr>() {
        Ok(address) if address.ip() == UNRESOLVED => {
            format!("port {} of what DNS answers the pod", address.port())
        }
        _ => endpoint.address.clone(),
    };
    format!("{} at {at}{locality}: {how}{state}", endpoint.workload)
}

/// What the servers' side says, once for those that say the same.
fn admitted(admissions: &[Admission], story: &mut Story) {
    let mut told: Vec<(&Admission, Vec<&str>)> = Vec::new();
    for one in admissions {
        let same = |(known, _): &&mut (&Admission, Vec<&str>)| {
            (known.allowed, &known.because, &known.policy)
                == (one.allowed, &one.because, &one.policy)
        };
        match told.iter_mut().find(same) {
            Some((_, pods)) => pods.push(&one.pod),
            None => told.push((one, vec![&one.pod])),
        }
    }
    for (one, pods) in told {
        let pods = pods.join(", ");
        let what = match one.allowed {
            true => format!("let in at {pods}"),
            false => format!("refused at {pods}"),
        };
        let step = story.step(what).by(one.policy.as_ref());
        step.detail(match one.policy {
            Some(_) => one.because.clone(),
            None => format!("no PeerAuthentication says otherwise: {}", one.because),
        });
    }
}

fn of_share(share: &Share) -> String {
    match &share.service {
        Some(service) => place(service, share.subset.as_deref(), share.port),
        None => format!("the address that was called, port {}", share.port),
    }
}

fn place(service: &str, subset: Option<&str>, port: u16) -> String {
    match subset {
        Some(subset) => format!("subset {subset} of {service}, port {port}"),
        None => format!("{service}, port {port}"),
    }
}

fn head(changes: &Head) -> Option<String> {
    let remove = changes.remove.iter().map(|name| format!("without {name}"));
    let set = changes
        .set
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let add = changes
        .add
        .iter()
        .map(|(name, value)| format!("also {name}: {value}"));
    let all: Vec<String> = remove.chain(set).chain(add).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn status(code: u16) -> String {
    match StatusCode::from_u16(code) {
        Ok(status) => status.to_string(),
        Err(_) => code.to_string(),
    }
}

fn span(millis: u64) -> String {
    format!("{:?}", std::time::Duration::from_millis(millis))
}
