//! What the compiled tables of a client's sidecar make of a request: the address decides the service,
//! then the first rule that matches, then what it says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use heddle_control::model::Client;
use heddle_control::name::NsName;
use heddle_proto::mesh::RouteTable as Wire;
use heddle_proxy_config::compile::Compiled;
use heddle_proxy_config::kind::Kind;
use heddle_proxy_config::names::DnsName;
use heddle_proxy_config::route::StringMatch;
use heddle_proxy_config::snapshot::{
    AbortStatus, Address, Answer, Changes, Destination, HeaderChanges, HttpRule, Name, Pod,
    RouteTable, Service, Treatment,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use prost::Message;

use super::mesh::Mesh;
use super::topic::{Abort, Cors, Delay, Request, Retries, What};
use super::words;

/// What becomes of a request.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// `KIND/NAMESPACE/NAME#INDEX (FILE:LINE)`; empty: no rule was asked.
    pub(super) origin: String,
    pub(super) to: BTreeMap<String, u64>,
    /// Pods that may get it, by name.
    pub(super) pods: Vec<String>,
    pub(super) status: Option<u16>,
    pub(super) location: Option<String>,
    pub(super) body: Option<String>,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) sends: BTreeMap<String, Option<String>>,
    pub(super) answers: BTreeMap<String, Option<String>>,
    pub(super) timeout: Option<String>,
    pub(super) retries: Option<Retries>,
    pub(super) delay: Option<Delay>,
    pub(super) abort: Option<Abort>,
    pub(super) mirrors: BTreeMap<String, f64>,
    pub(super) cors: Option<Cors>,
    pub(super) sticky: Option<String>,
    /// Of each destination.
    pub(super) policies: Vec<Arc<heddle_proxy_config::snapshot::TrafficPolicy>>,
}

/// Who asks, what for.
struct Asked<'a> {
    mesh: &'a Mesh,
    client: Client,
    request: &'a Request,
    /// Of the service that is meant.
    port: u16,
    /// The pod that is called, where a headless service is meant.
    pod: Option<String>,
}

pub(super) fn decide(mesh: &Mesh, request: &Request) -> Result<Decision, String> {
    let (pod, client) = mesh.client(&request.from)?;
    let asked = Asked {
        mesh,
        client,
        request,
        port: request.ask.port,
        pod: None,
    };
    let mut asked = asked;
    let name = match asked.target()? {
        Some(Address::Service(name)) => name,
        Some(Address::Workload(called)) => match asked.headless(&called)? {
            Some((name, port)) => {
                asked.port = port;
                asked.pod = Some(words::place(called.endpoint.workload.as_str()));
                name
            }
            None => {
                let pod = words::place(called.endpoint.workload.as_str());
                return Ok(asked.plain(format!("pod {pod}")));
            }
        },
        Some(Address::Unknown | Address::Hidden(_)) | None => return asked.unknown(&pod),
    };
    let name = NsName::parse(name.as_str()).ok_or("a service without a name")?;
    let service = asked.service(&name)?.ok_or("it has gone")?;
    let port = asked.port;
    if service.ports.iter().all(|offered| offered.number != port) {
        return Err(format!("service {name} has no port {port}"));
    }
    let table = asked.table(&name)?;
    let mut decision = match &request.ask.what {
        What::Http(method, uri) => asked.http(&table, method, uri, &name)?,
        What::Tcp => asked.connection(&table, None, &name),
        What::Tls(sni) => asked.connection(&table, Some(sni), &name),
    };
    decision.pods.sort();
    decision.pods.dedup();
    Ok(decision)
}

impl Asked<'_> {
    /// What the address that the host's name stands for is to this client.
    fn target(&self) -> Result<Option<Address>, String> {
        let model = &self.mesh.model;
        let host = self.request.ask.host.trim_matches(['[', ']']);
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let named = || {
            let known = model.dns_name(&name, &self.client);
            match self.mesh.compiled(Kind::DnsName, &name, &known.body)? {
                Compiled::Name(_, DnsName::Addresses { ips, .. }) => Ok(ips.first().copied()),
                _ => Ok::<_, String>(None),
            }
        };
        let ip: Option<IpAddr> = match host.parse() {
            Ok(ip) => Some(ip),
            Err(_) => named()?,
        };
        let Some(ip) = ip else { return Ok(None) };
        let encoded = model.address(ip, &self.client);
        match self
            .mesh
            .compiled(Kind::Address, &ip.to_string(), &encoded.body)?
        {
            Compiled::Address(_, address) => Ok(Some(address)),
            other => Err(format!("not an address: {other:?}")),
        }
    }

    /// The headless service that is meant at a pod's address, and its port, found from the names alone.
    fn headless(&self, called: &Pod) -> Result<Option<(Name, u16)>, String> {
        let mut at = Vec::new();
        for one in called.headless.iter() {
            if one.number == self.request.ask.port {
                at.push(one);
            }
        }
        if !matches!(self.request.ask.what, What::Http(..)) {
            let only = at.into_iter().find(|one| one.only);
            return Ok(only.map(|one| (one.service.clone(), one.port)));
        }
        let (_, host) = self.came();
        let host = host.to_ascii_lowercase();
        let host = host.split(':').next().unwrap_or_default();
        let host = host.trim_end_matches('.');
        for one in at {
            let (namespace, name) = (one.service.namespace(), one.service.name());
            let mut names = vec![
                format!("{name}.{namespace}"),
                format!("{name}.{namespace}.svc"),
                format!("{name}.{namespace}.svc.cluster.local"),
            ];
            if *self.client.namespace == *namespace {
                names.push(name.to_owned());
            }
            if names.iter().any(|name| name == host) {
                return Ok(Some((one.service.clone(), one.port)));
            }
        }
        Ok(None)
    }

    fn service(&self, name: &NsName) -> Result<Option<Service>, String> {
        let Some(encoded) = self.mesh.model.service_resource(name, &self.client) else {
            return Ok(None);
        };
        match self
            .mesh
            .compiled(Kind::Service, name.as_str(), &encoded.body)?
        {
            Compiled::Service(_, service) => Ok(Some(service)),
            other => Err(format!("not a service: {other:?}")),
        }
    }

    fn table(&self, name: &NsName) -> Result<RouteTable, String> {
        let Some(view) = self.mesh.model.route_table(name, &self.client) else {
            return Ok(RouteTable::default());
        };
        let bytes: &[u8] = &view.encoded.body;
        let again = Wire::decode(bytes).map(|table| table.encode_to_vec());
        if again.as_deref() != Ok(bytes) {
            return Err("the table does not come back from the wire as it was".to_owned());
        }
        match self.mesh.compiled(Kind::RouteTable, name.as_str(), bytes)? {
            Compiled::Routes(_, table) => Ok(table),
            other => Err(format!("not a table: {other:?}")),
        }
    }

    /// No rule is asked: it goes where it was sent.
    fn plain(&self, to: String) -> Decision {
        let (path, host) = self.came();
        Decision {
            to: BTreeMap::from([(to, 1)]),
            path,
            host,
            ..Decision::default()
        }
    }

    fn unknown(&self, pod: &NsName) -> Result<Decision, String> {
        let encoded = self.mesh.model.workload(pod).ok_or("no such pod")?;
        match self
            .mesh
            .compiled(Kind::Workload, pod.as_str(), &encoded.body)?
        {
            Compiled::Workload(own) if own.registry_only => Ok(Decision {
                status: Some(502),
                ..self.plain("nowhere".to_owned())
            }),
            _ => Ok(self.plain("outside".to_owned())),
        }
    }

    /// Path with query, and authority.
    fn came(&self) -> (String, String) {
        match &self.request.ask.what {
            What::Http(_, uri) => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                let given = self.request.header_map();
                let given = given.get("host").and_then(|host| host.to_str().ok());
                let host = given.or_else(|| uri.authority().map(|a| a.as_str()));
                (path.to_owned(), host.unwrap_or_default().to_owned())
            }
            What::Tcp | What::Tls(_) => (String::new(), String::new()),
        }
    }

    fn http(
        &self,
        table: &RouteTable,
        method: &Method,
        uri: &Uri,
        service: &NsName,
    ) -> Result<Decision, String> {
        let (path, host) = self.came();
        let headers = self.request.header_map();
        // As HTTP/1.1 has it: the path alone, unless another scheme is asked for.
        let target = match uri.scheme_str() {
            Some("https") => uri.clone(),
            _ => path.parse().map_err(|_| "not a path")?,
        };
        let port = self.port;
        let http = table.http_for(port);
        let found = http.and_then(|http| {
            let index = http.find(method, &target, &host, &headers, port)?;
            http.rules().get(index)
        });
        let Some(rule) = found else {
            if http.is_some() {
                return Ok(Decision {
                    status: Some(404),
                    ..self.plain("nowhere".to_owned())
                });
            }
            return Ok(self.whole(service));
        };
        let mut decision = Decision {
            origin: rule.origin.to_string(),
            path,
            host,
            timeout: rule.timeout.map(words::time),
            retries: rule.retries.as_ref().map(|policy| Retries {
                attempts: policy.attempts,
                each: policy.per_try_timeout.map(words::time),
                on: words::retry_on(&policy.retry_on),
                pause: policy.backoff.map(words::time),
                same_endpoint: policy.ignore_previous_hosts,
            }),
            ..Decision::default()
        };
        self.shares(&rule.destinations, rule, &mut decision);
        if !decision.to.is_empty() && decision.to.keys().all(|to| to == "nowhere") {
            decision.status = Some(500);
        }
        if let Some(treatment) = &rule.treatment {
            self.treat(
                treatment,
                &rule.destinations,
                &target,
                &headers,
                &mut decision,
            )?;
        }
        if decision.status.is_some() {
            decision.to = BTreeMap::from([("nowhere".to_owned(), 1)]);
        }
        Ok(decision)
    }

    /// Without a rule: a service, or of a headless one the pod that is called.
    fn whole(&self, service: &NsName) -> Decision {
        if let Some(pod) = &self.pod {
            let mut decision = self.plain(format!("pod {pod}"));
            if let Ok(Some(known)) = self.service(service)
                && let Some(policy) = known.policy(None, self.port)
            {
                decision.policies.push(Arc::clone(policy));
            }
            return decision;
        }
        let mut decision = self.plain(words::place(service.as_str()));
        self.reach(service, None, self.port, &mut decision);
        decision
    }

    fn shares(&self, destinations: &[Destination], rule: &HttpRule, decision: &mut Decision) {
        let treatments = rule.treatment.as_ref();
        let invalid = |index: usize| {
            let of_all = treatments?.destinations.get(index)?;
            of_all.invalid.as_ref()
        };
        let only = destinations.len() == 1;
        for (index, to) in destinations.iter().enumerate() {
            let weight = if only { 1 } else { u64::from(to.weight) };
            let name = match invalid(index) {
                Some(_) => "nowhere".to_owned(),
                None => words::destination(to, self.port),
            };
            if weight > 0 {
                *decision.to.entry(name).or_default() += weight;
                self.reach_destination(to, decision);
            }
        }
    }

    fn reach_destination(&self, to: &Destination, decision: &mut Decision) {
        if let Some(service) = NsName::parse(to.service.as_str()) {
            let port = to.port.unwrap_or(self.port);
            self.reach(&service, to.subset.as_deref(), port, decision);
        }
    }

    /// The pods that a share may reach, and by what policy.
    fn reach(&self, name: &NsName, subset: Option<&str>, port: u16, decision: &mut Decision) {
        let encoded = self.mesh.model.endpoints(name, &self.client);
        let encoded = encoded.map(|e| self.mesh.compiled(Kind::Endpoints, name.as_str(), &e.body));
        if let Some(Ok(Compiled::Endpoints(_, known, _))) = encoded {
            let slot = known.service_ports.iter().position(|p| *p == port);
            let subset = subset.map(|name| known.subset_names.iter().position(|n| &**n == name));
            let of_subset =
                |of: &[usize]| subset.is_none_or(|i| i.is_some_and(|i| of.contains(&i)));
            for endpoint in &known.endpoints {
                let offered = slot.and_then(|slot| *endpoint.target_ports.get(slot)?);
                if let Some(port) = offered.filter(|_| of_subset(&endpoint.subsets)) {
                    let pod = match endpoint.workload.name() {
                        "" => endpoint.ip.to_string(),
                        _ => words::place(endpoint.workload.as_str()),
                    };
                    decision.pods.push(format!("{pod}:{port}"));
                }
            }
        }
        if let Ok(Some(service)) = self.service(name)
            && let Some(policy) = service.policy(subset, port)
        {
            decision.policies.push(Arc::clone(policy));
        }
    }

    fn connection(&self, table: &RouteTable, sni: Option<&str>, service: &NsName) -> Decision {
        let port = self.port;
        let fits = |only: Option<u16>| only.is_none_or(|only| only == port);
        let rule = table
            .tcp
            .iter()
            .find(|rule| fits(rule.port) && rule.takes(sni));
        let Some(rule) = rule else {
            return self.whole(service);
        };
        let mut decision = Decision {
            origin: rule.origin.to_string(),
            ..Decision::default()
        };
        let as_http = HttpRule::default();
        self.shares(&rule.destinations, &as_http, &mut decision);
        decision
    }

    fn treat(
        &self,
        treatment: &Treatment,
        destinations: &[Destination],
        target: &Uri,
        headers: &HeaderMap,
        decision: &mut Decision,
    ) -> Result<(), String> {
        decision.delay = treatment.fault.delay.as_ref().map(|delay| Delay {
            long: words::time(delay.fixed),
            percent: words::percent(delay.ppm),
        });
        decision.abort = treatment.fault.abort.as_ref().map(|abort| {
            let (status, grpc) = match abort.status {
                AbortStatus::Http(status) => (Some(status.as_u16()), None),
                AbortStatus::Grpc(code) => (None, Some(code.number())),
            };
            let percent = words::percent(abort.ppm);
            Abort {
                status,
                grpc,
                percent,
            }
        });
        match &treatment.answer {
            Some(Answer::Redirect(redirect)) => {
                let location = redirect.location(target, &decision.host);
                decision.location = Some(location.map_err(|error| error.to_string())?);
                decision.status = Some(redirect.status.as_u16());
            }
            Some(Answer::Direct(direct)) => {
                decision.status = Some(direct.status.as_u16());
                let text = String::from_utf8_lossy(&direct.body).into_owned();
                decision.body = (!text.is_empty()).then_some(text);
            }
            None => {}
        }
        for mirror in &treatment.mirrors {
            let to = words::destination(&mirror.destination, self.port);
            decision.mirrors.insert(to, words::percent(mirror.ppm));
        }
        // Of several destinations each may change something else: it is told by their names.
        let several = decision.to.len() > 1;
        let of_one = treatment.destinations.first().filter(|_| !several);
        for rewrite in [Some(&treatment.rewrite), of_one.map(|to| &to.rewrite)]
            .into_iter()
            .flatten()
        {
            if let Some(path) = &rewrite.path {
                let made = path.target(target).map_err(|error| error.to_string())?;
                decision.path = made.unwrap_or(std::mem::take(&mut decision.path));
            }
            if let Some(authority) = &rewrite.authority {
                decision.host = authority.to_string();
            }
        }
        let own = HeaderMap::from_iter([(
            HeaderName::from_static("x-app"),
            HeaderValue::from_static("own"),
        )]);
        let rule = &treatment.headers;
        let both = |one: Option<&'_ HeaderChanges>| {
            let changes: Vec<&HeaderChanges> = [Some(rule), one].into_iter().flatten().collect();
            let request = changed(headers.clone(), changes.iter().map(|c| &c.request));
            let response = changed(own.clone(), changes.iter().map(|c| &c.response));
            (request, response)
        };
        (decision.sends, decision.answers) = both(of_one.map(|to| &to.headers));
        for (to, one) in destinations
            .iter()
            .zip(&treatment.destinations)
            .filter(|_| several)
        {
            let name = words::destination(to, self.port);
            let (sends, answers) = both(Some(&one.headers));
            let named = |(field, value)| (format!("{name}: {field}"), value);
            decision.sends.extend(sends.into_iter().map(named));
            decision.answers.extend(answers.into_iter().map(named));
        }
        decision.sticky = treatment.sticky.as_ref().map(words::key);
        decision.cors = treatment.cors.as_ref().map(|cors| {
            let text = |value: &Option<http::HeaderValue>| {
                let value = value.as_ref()?.to_str().ok()?;
                Some(value.to_owned())
            };
            let origin = headers.get("origin");
            let allows = |m: &StringMatch| origin.is_some_and(|o| m.is_match(o.as_bytes()));
            Cors {
                allowed: cors.allow_origins.iter().any(allows),
                methods: text(&cors.allow_methods),
                headers: text(&cors.allow_headers),
                exposes: text(&cors.expose_headers),
                seconds: text(&cors.max_age),
                credentials: cors.allow_credentials,
                other_preflights: match cors.forward_unmatched_preflights {
                    true => "go on".to_owned(),
                    false => "learn nothing".to_owned(),
                },
            }
        });
        Ok(())
    }
}

/// Every header that is touched, as it is then.
fn changed<'a>(
    mut headers: HeaderMap,
    changes: impl Iterator<Item = &'a Changes>,
) -> BTreeMap<String, Option<String>> {
    let mut touched = BTreeMap::new();
    for changes in changes {
        for name in &changes.remove {
            headers.remove(name);
            touched.insert(name.to_string(), None);
        }
        for (name, value) in &changes.set {
            headers.insert(name, value.clone());
            touched.insert(name.to_string(), None);
        }
        for (name, value) in &changes.add {
            headers.append(name, value.clone());
            touched.insert(name.to_string(), None);
        }
    }
    for (name, then) in &mut touched {
        let values = headers.get_all(name.as_str()).iter();
        let values: Vec<_> = values
            .map(|v| String::from_utf8_lossy(v.as_bytes()))
            .collect();
        *then = (!values.is_empty()).then(|| values.join(","));
    }
    touched
}
