//! What of a route cannot be meant, where it stands, and what becomes of the requests concerned.
//! One list, of which the status, the refusals and `heddle check` are made.

use super::{super::Model, attach::Attached, ports::Ports, status::Reason};
use crate::{
    check::{Code, Severity},
    name::{Kind, NsName},
    resources::{
        at::At,
        gateway::{Backend, BackendRef, Filter, Rule},
    },
    source::{Object, Refusal, decode::Problem, node::Position},
};

/// One thing that cannot be meant.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) what: What,
    pub(super) reason: Reason,
    at: Position,
    /// The field.
    path: String,
    text: String,
    suggestion: String,
}

/// What it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// This parentRef: the route is not attached there.
    Parent(usize),
    /// A whole rule: its requests are answered with an error.
    Rule(usize),
    /// A backend: its share is, if it has one.
    Share(bool),
    /// A copy: nobody gets it.
    Copy,
}

impl Fault {
    /// For the status: what is wrong and what to change.
    pub(super) fn message(&self) -> String {
        let Self { path, text, .. } = self;
        match self.suggestion.as_str() {
            "" => format!("{path}: {text}"),
            suggestion => format!("{path}: {text} ({suggestion})"),
        }
    }

    fn refusal(&self, object: &Object) -> Refusal {
        let code = match self.reason {
            Reason::NoMatchingParent => Code::NoParent,
            Reason::Conflicted => Code::PortTaken,
            Reason::UnsupportedProtocol => Code::OpaquePort,
            Reason::UnsupportedValue => Code::UnsupportedFilter,
            Reason::IncompatibleFilters => Code::FiltersCollide,
            Reason::InvalidKind => Code::BackendKind,
            _ => Code::NoBackend,
        };
        let reason = format!("{}: {}", self.path, self.text);
        let mut problem = Problem::new(code, self.at, reason).suggest(&*self.suggestion);
        match self.what {
            What::Copy => problem = problem.follows("nothing is copied"),
            What::Share(false) => {
                problem = problem.follows("it has no share, so nothing is lost");
                problem.severity = Severity::Warning;
            }
            _ => {}
        }
        Refusal::of(&object.key, &object.origin, problem)
    }
}

/// Why a rule as a whole cannot be meant: the place among its filters, and in words.
pub(super) fn of_rule(rule: &Rule) -> Option<(usize, Reason, String, &'static str)> {
    let has = |wanted: fn(&Filter) -> bool| rule.filters.iter().any(|filter| wanted(filter));
    for (i, filter) in rule.filters.iter().enumerate() {
        match &filter.value {
            Filter::Unsupported(name) => {
                let text = format!("filters of type {name} are not supported");
                let instead = "take the rule out, or use a filter that is";
                return Some((i, Reason::UnsupportedValue, text, instead));
            }
            Filter::Rewrite(_) if has(|filter| matches!(filter, Filter::Redirect(_))) => {
                let text = "a rule cannot both redirect and rewrite".to_owned();
                let instead = "take RequestRedirect or URLRewrite out";
                return Some((i, Reason::IncompatibleFilters, text, instead));
            }
            _ => {}
        }
    }
    None
}

/// The first filter of a backend that only a whole rule can have.
pub(super) fn of_backend(backend: &Backend) -> Option<(usize, String)> {
    let only_of_rules = |filter: &At<Filter>| {
        !matches!(
            filter.value,
            Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Rewrite(_)
        )
    };
    let i = backend.filters.iter().position(only_of_rules)?;
    let name = backend.filters[i].name();
    Some((
        i,
        format!("filters of type {name} are not supported for a backendRef"),
    ))
}

impl Model {
    /// Everything of a route that cannot be meant.
    pub(super) fn faults(&self, object: &Object, ports: &mut Ports) -> Vec<Fault> {
        let Some(spec) = object.gateway_route() else {
            return Vec::new();
        };
        let route = &object.key.name;
        let mut found = Vec::new();
        for (i, parent) in spec.parents.iter().enumerate() {
            let attached = self.attached(route, parent);
            found.extend(self.of_parent(object, (i, parent.at), &attached, ports));
        }
        for (i, rule) in spec.rules.iter().enumerate() {
            let path = format!("spec.rules[{i}]");
            if let Some((place, reason, text, suggestion)) = of_rule(rule) {
                found.push(Fault {
                    what: What::Rule(i),
                    reason,
                    at: rule.filters[place].at,
                    path: format!("{path}.filters[{place}]"),
                    text,
                    suggestion: suggestion.to_owned(),
                });
            }
            self.of_backends(route, &path, rule, &mut found);
        }
        found
    }

    fn of_parent(
        &self,
        object: &Object,
        (i, at): (usize, Position),
        attached: &Attached,
        ports: &mut Ports,
    ) -> Option<Fault> {
        let fault = |reason, text, suggestion| Fault {
            what: What::Parent(i),
            reason,
            at,
            path: format!("spec.parentRefs[{i}]"),
            text,
            suggestion,
        };
        let (service, numbers) = match attached {
            Attached::Elsewhere => return None,
            Attached::Nowhere(text, suggestion) => {
                let (text, suggestion) = (text.clone(), suggestion.clone());
                return Some(fault(Reason::NoMatchingParent, text, suggestion));
            }
            Attached::To(service, numbers) => (service, numbers),
        };
        let namespace = object.key.name.namespace();
        let opaque = numbers.iter().map(|port| {
            let spoken = ports.opaque(self, service, *port, namespace)?;
            Some(format!("port {port} of Service {service} speaks {spoken}"))
        });
        if let Some(all) = opaque.collect::<Option<Vec<_>>>() {
            let text = format!("{}: no requests are read there", all.join(", "));
            let instead = format!("if it speaks HTTP, {}", to_be_read(object.key.kind));
            return Some(fault(Reason::UnsupportedProtocol, text, instead));
        }
        let mut first = None;
        for port in numbers {
            let rival = ports.rival(self, &object.key, service, *port)?;
            first.get_or_insert_with(|| rival.clone());
        }
        let text = format!(
            "{} is attached to the same port of Service {service}, and GRPCRoutes come before HTTPRoutes",
            first?
        );
        let instead = "attach one of them to another port".to_owned();
        Some(fault(Reason::Conflicted, text, instead))
    }

    fn of_backends(&self, route: &NsName, path: &str, rule: &Rule, found: &mut Vec<Fault>) {
        let mut unknown = |what, at, path: String, to: &BackendRef| {
            if let Err(none) = self.backend(route, to) {
                found.push(Fault {
                    what,
                    reason: none.reason,
                    at,
                    path,
                    text: none.text,
                    suggestion: none.suggestion,
                });
            }
        };
        for (i, backend) in rule.backends.iter().enumerate() {
            let path = format!("{path}.backendRefs[{i}]");
            unknown(
                What::Share(backend.weight > 0),
                backend.at,
                path,
                &backend.to,
            );
        }
        for (i, filter) in rule.filters.iter().enumerate() {
            if let Filter::Mirror(mirror) = &filter.value {
                let path = format!("{path}.filters[{i}].requestMirror.backendRef");
                unknown(What::Copy, filter.at, path, &mirror.to);
            }
        }
        for (i, backend) in rule.backends.iter().enumerate() {
            if let Some((place, text)) = of_backend(backend) {
                found.push(Fault {
                    what: What::Share(backend.weight > 0),
                    reason: Reason::UnsupportedValue,
                    at: backend.filters[place].at,
                    path: format!("{path}.backendRefs[{i}].filters[{place}]"),
                    text,
                    suggestion: "write it as a filter of the rule".to_owned(),
                });
            }
        }
    }

    /// What of Gateway API's routes is not in force as it is written.
    pub(in crate::model) fn gateway_refusals(&self) -> impl Iterator<Item = Refusal> {
        let (routes, mut ports) = (self.gateway_routes.iter(), Ports::default());
        routes.flat_map(move |(_, object)| {
            let faults = self.faults(object, &mut ports).into_iter();
            faults
                .map(|fault| fault.refusal(object))
                .collect::<Vec<_>>()
        })
    }
}

/// What to write for requests of routes of a kind to be read at a port.
pub(in crate::model) fn to_be_read(kind: Kind) -> String {
    let (protocol, prefix) = match kind {
        Kind::GrpcRoute => ("grpc", "grpc-"),
        _ => ("http", "http-"),
    };
    format!("write `appProtocol: {protocol}` at the port, or begin its name with `{prefix}`")
}
