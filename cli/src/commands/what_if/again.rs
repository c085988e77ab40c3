//! Decides a recorded request twice: by the objects in force, and by the changed ones.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use heddle_control::model::Model;
use heddle_control::name::{Kind, NsName, ObjectKey};
use heddle_proxy_config::decision::{
    Asked, Decision, Faults, Means, Origin, Outcome as Fate, Question, decide_taken,
};
use heddle_proxy_config::route::{HttpTable, Known, Partly, Proven};
use heddle_proxy_config::snapshot::{Address, Named, Snapshot};

use super::moves::{Place, Spread};
use super::recorded::Request;
use crate::failure::Outcome;
use crate::snapshots::{self, Asker};

/// A request, decided again.
pub(super) enum Decided {
    /// Where it went, and where it would go.
    Both(Spread, Spread),
    /// A rule depends on what was not recorded.
    Open { rule: String, needs: Vec<String> },
}

/// One world, and what was made of it so far.
struct World<'a> {
    model: &'a Model,
    /// By namespace and pod.
    askers: HashMap<(String, String), Option<Arc<Asker>>>,
    /// By pod and address.
    snapshots: HashMap<(String, IpAddr), Arc<Snapshot>>,
}

/// Both worlds.
pub(super) struct Again<'a> {
    current: World<'a>,
    changed: World<'a>,
    /// When files were written last.
    files: HashMap<String, Option<SystemTime>>,
    /// When objects that came from no file were.
    objects: &'a HashMap<ObjectKey, SystemTime>,
    /// Requests to hosts that stand for nothing in either.
    pub(super) unknown: usize,
}

impl<'a> Again<'a> {
    pub(super) fn new(
        current: &'a Model,
        changed: &'a Model,
        objects: &'a HashMap<ObjectKey, SystemTime>,
    ) -> Self {
        let world = |model| World {
            model,
            askers: HashMap::new(),
            snapshots: HashMap::new(),
        };
        Self {
            current: world(current),
            changed: world(changed),
            files: HashMap::new(),
            objects,
            unknown: 0,
        }
    }

    pub(super) fn decide(&mut self, request: &Request) -> Outcome<Decided> {
        let asked = Asked {
            host: request.host.clone(),
            port: request.port,
            method: request.method.clone(),
            path: request.path.clone(),
            authority: request.authority.clone(),
            ..Asked::default()
        };
        let Ok(question) = Question::new(&asked) else {
            return Ok(open("what was recorded of it is no request", Vec::new()));
        };
        let asked = |world: &mut World<'a>| world.ask(request);
        let (Some(before), Some(after)) = (asked(&mut self.current)?, asked(&mut self.changed)?)
        else {
            return Ok(open("its pod is gone, and its workload too", Vec::new()));
        };
        if before.called.ip().is_unspecified() && after.called.ip().is_unspecified() {
            self.unknown += 1;
        }
        let known = Known {
            method: question.request.method(),
            uri: question.request.uri(),
            authority: &question.authority,
            port: request.port,
        };
        let proven = self.proven(request, &before, &question, known);
        let before = match before.spread(&question, known, &proven) {
            Ok(spread) => spread,
            Err(open) => return Ok(open),
        };
        Ok(match after.spread(&question, known, &proven) {
            Ok(after) => Decided::Both(before, after),
            Err(open) => open,
        })
    }

    /// What the rule that took it then proves of it: nothing, if its file or object has changed since.
    fn proven(
        &mut self,
        request: &Request,
        before: &Holds,
        question: &Question,
        known: Known<'_>,
    ) -> Proven {
        let table = before.table(question);
        let Some((table, (place, origin))) = table.zip(request.rule.as_ref()) else {
            return Proven::default();
        };
        let same = table
            .rules()
            .get(*place)
            .is_some_and(|rule| *rule.origin == **origin);
        let written = Origin::parse(origin).and_then(|origin| self.written(origin));
        match same && written.is_some_and(|written| written <= request.start) {
            true => table.prove(known, Some(*place)).unwrap_or_default(),
            false => Proven::default(),
        }
    }
}

impl Again<'_> {
    fn written(&mut self, origin: Origin) -> Option<SystemTime> {
        let Some(file) = origin.file else {
            let kind = Kind::parse(&origin.kind)?;
            let name = NsName::new(&origin.namespace, &origin.name)?;
            return self.objects.get(&ObjectKey { kind, name }).copied();
        };
        let modified = |file: &String| std::fs::metadata(file).ok()?.modified().ok();
        *self.files.entry(file).or_insert_with_key(modified)
    }
}

/// What a sidecar holds for a request.
struct Holds {
    snapshot: Arc<Snapshot>,
    called: SocketAddr,
}

impl World<'_> {
    fn ask(&mut self, request: &Request) -> Outcome<Option<Holds>> {
        let key = (request.namespace.clone(), request.pod.clone());
        let model = self.model;
        let asker = self
            .askers
            .entry(key)
            .or_insert_with(|| asker(model, &request.namespace, &request.pod).map(Arc::new));
        let Some(asker) = asker.clone() else {
            return Ok(None);
        };
        let ip = snapshots::address(model, &request.host, &asker);
        let Some(ip) = ip else {
            return Ok(Some(Holds {
                snapshot: Arc::default(),
                called: ([0, 0, 0, 0], request.port).into(),
            }));
        };
        let key = (asker.name.to_string(), ip);
        let snapshot = match self.snapshots.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let made = Arc::new(snapshots::snapshot(model, &asker, ip)?);
                self.snapshots.insert(key, Arc::clone(&made));
                made
            }
        };
        Ok(Some(Holds {
            snapshot,
            called: SocketAddr::new(ip, request.port),
        }))
    }
}

/// The pod, or another of its workload: their names differ in the tail.
fn asker(model: &Model, namespace: &str, pod: &str) -> Option<Asker> {
    let mut name = pod;
    for _ in 0..3 {
        if let Ok(asker) = Asker::find(model, namespace, name) {
            return Some(asker);
        }
        name = name.rsplit_once('-')?.0;
    }
    None
}

impl Holds {
    fn table(&self, question: &Question) -> Option<&HttpTable> {
        let (snapshot, called) = (&self.snapshot, self.called.port());
        let address = snapshot.addresses.get(&self.called.ip())?;
        let (service, port) = match &**address {
            Address::Service(name) => (name, called),
            Address::Workload(pod) => match pod.named(called, &question.authority, snapshot)? {
                (headless, Named::Service) => (&headless.service, headless.port),
                (_, Named::Pod) => return None,
            },
            Address::Unknown | Address::Hidden(_) => return None,
        };
        snapshot.routes.get(service)?.http_for(port)
    }

    /// Where the request goes; an error: that depends on what was not recorded.
    fn spread(
        &self,
        question: &Question,
        known: Known<'_>,
        proven: &Proven,
    ) -> Result<Spread, Decided> {
        let decided = |taken| {
            let decision = decide_taken(&self.snapshot, self.called, question, taken);
            spread(&decision)
        };
        let Some(table) = self.table(question) else {
            return Ok(decided(None));
        };
        let Partly { maybe, otherwise } = table.find_partly(known, proven);
        let certain = decided(otherwise);
        // Whichever of them takes it, it goes to the same places.
        match maybe
            .into_iter()
            .find(|(rule, _)| !decided(Some(*rule)).same(&certain))
        {
            None => Ok(certain),
            Some((rule, needs)) => Err(open(&table.rules()[rule].origin, needs)),
        }
    }
}

fn open(rule: &str, needs: Vec<String>) -> Decided {
    Decided::Open {
        rule: rule.to_owned(),
        needs,
    }
}

/// The places that a decision sends to, each with its share.
fn spread(decision: &Decision) -> Spread {
    let rule = decision.rule.as_ref().map(|rule| rule.named().to_owned());
    let mut spread = Spread::new(rule);
    let mut left = 1.0;
    if let Some(faults) = &decision.fault
        && let Some((status, percent)) = aborted(faults)
    {
        left -= percent / 100.0;
        spread.add(Place::status(status, "FI"), percent / 100.0);
    }
    match decision.outcome {
        Fate::Forwarded => {}
        _ => {
            let place = match (decision.status, &decision.flag) {
                (Some(status), flag) => Place::status(status, flag.as_deref().unwrap_or("")),
                (None, _) => Place::word(match decision.outcome {
                    Fate::PassedThrough => "passed through",
                    Fate::NoSuchPort | Fate::NoRoute => "refused",
                    Fate::NoSuchName => "no such name",
                    _ => "opaque",
                }),
            };
            spread.add(place, left);
            return spread;
        }
    }
    // A pod that is called stays the same place, whether its headless service has a policy or none.
    let pod = match &decision.means {
        Means::Pod { name } => Some(name),
        Means::Service { pod, .. } => pod.as_ref().filter(|_| decision.rule.is_none()),
        Means::Unknown => None,
    };
    for share in decision.destinations.iter().filter(|one| one.percent > 0.0) {
        let named = pod.or(share.service.as_ref()).cloned();
        let mut place = Place {
            service: named.unwrap_or_else(|| share_name(share)),
            subset: share.subset.clone(),
            ..Place::default()
        };
        if share.invalid.is_some() {
            place.status = Some(500);
        } else if share.endpoints.is_empty() {
            place.status = Some(503);
            place.flag = Some("UH".to_owned());
        }
        spread.add(place, left * share.percent / 100.0);
    }
    spread
}

fn share_name(share: &heddle_proxy_config::decision::Share) -> String {
    let endpoint = share.endpoints.first();
    endpoint.map_or_else(String::new, |endpoint| endpoint.workload.clone())
}

fn aborted(faults: &Faults) -> Option<(u16, f64)> {
    let status = faults
        .abort_status
        .or(faults.abort_grpc_status.map(|_| 200));
    status.zip(faults.abort_percent)
}
