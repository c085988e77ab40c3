//! What a push carries over, and what it does not.
#![allow(clippy::unwrap_used)]

use heddle_proxy_config::route::HttpTable;
use heddle_proxy_config::snapshot::{Endpoint, HttpRule, Port};

use super::*;
use crate::balance::Pick;

fn name() -> Name {
    Name::new("default/reviews")
}

fn endpoints(ips: &[[u8; 4]]) -> Arc<Endpoints> {
    let endpoint = |(i, ip): (usize, &[u8; 4])| {
        Arc::new(Endpoint {
            ip: (*ip).into(),
            target_ports: vec![Some(9080)],
            subsets: vec![i % 2],
            identity: None,
            plain_ports: Box::default(),
            workload: Name::new(format!("default/pod-{i}")),
            app: "reviews".into(),
            version: "".into(),
            owner: "".into(),
            placement: Default::default(),
        })
    };
    Arc::new(Endpoints {
        service_ports: vec![80],
        subset_names: vec!["v1".into(), "v2".into()],
        endpoints: ips.iter().enumerate().map(endpoint).collect(),
    })
}

fn routes(weights: [u32; 2]) -> Arc<RouteTable> {
    let destination = |(subset, weight): (&str, u32)| Destination {
        service: name(),
        subset: Some(subset.into()),
        port: None,
        weight,
    };
    let rule = HttpRule {
        origin: "test".into(),
        destinations: ["v1", "v2"]
            .into_iter()
            .zip(weights)
            .map(destination)
            .collect(),
        ..HttpRule::default()
    };
    Arc::new(RouteTable {
        http: HttpTable::new(vec![(vec![], rule)]).unwrap(),
        tcp: vec![],
        http_ports: vec![],
    })
}

fn snapshot(endpoints: Arc<Endpoints>, routes: Arc<RouteTable>) -> Snapshot {
    let service = Service {
        name: name(),
        hosts: vec![],
        ports: vec![Port {
            number: 80,
            name: "http".into(),
            protocol: Protocol::Http1,
        }],
        policies: vec![],
        resolution: Default::default(),
    };
    Snapshot {
        services: [(name(), Arc::new(service))].into(),
        endpoints: [(name(), endpoints)].into(),
        routes: [(name(), routes)].into(),
        ..Snapshot::default()
    }
}

fn draws(view: &View, n: usize) -> Vec<String> {
    let service = view.service(&name()).unwrap();
    let rule = &service.port(80).unwrap().rules[0];
    let draw = |_| rule.draw().unwrap().subset.as_deref().unwrap().to_owned();
    (0..n).map(draw).collect()
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const C: [u8; 4] = [10, 0, 0, 3];

#[test]
fn a_block_goes_on_when_endpoints_change() {
    let mut upstreams = Upstreams::default();
    let first = snapshot(endpoints(&[A, B]), routes([9, 1]));
    let view = View::new(Arc::new(first.clone()), None, &mut upstreams);
    let mut drawn = draws(&view, 4);
    let mut second = first;
    second.endpoints = [(name(), endpoints(&[A, B, C]))].into();
    let view = View::new(Arc::new(second), Some(&view), &mut upstreams);
    drawn.extend(draws(&view, 6));
    assert_eq!(drawn.iter().filter(|s| *s == "v2").count(), 1, "{drawn:?}");
}

#[test]
fn new_weights_begin_a_new_block() {
    let mut upstreams = Upstreams::default();
    let first = snapshot(endpoints(&[A, B]), routes([9, 1]));
    let view = View::new(Arc::new(first.clone()), None, &mut upstreams);
    draws(&view, 5);
    let mut second = first;
    second.routes = [(name(), routes([0, 1]))].into();
    let view = View::new(Arc::new(second), Some(&view), &mut upstreams);
    assert!(draws(&view, 20).iter().all(|s| s == "v2"));
}

#[test]
fn what_did_not_change_is_the_same() {
    let mut upstreams = Upstreams::default();
    let first = snapshot(endpoints(&[A, B]), routes([9, 1]));
    let view = View::new(Arc::new(first.clone()), None, &mut upstreams);
    let mut second = first;
    second.version = "2".into();
    let next = View::new(Arc::new(second), Some(&view), &mut upstreams);
    let (before, after) = (
        view.service(&name()).unwrap(),
        next.service(&name()).unwrap(),
    );
    assert!(Rc::ptr_eq(before, after));
}

#[test]
fn an_endpoint_keeps_its_connections_when_others_come_and_go() {
    let mut upstreams = Upstreams::default();
    let first = snapshot(endpoints(&[A, B]), routes([1, 1]));
    let view = View::new(Arc::new(first.clone()), None, &mut upstreams);
    let pick = |view: &View| {
        let service = view.service(&name()).unwrap();
        let cluster = &service.port(80).unwrap().rules[0].clusters[0];
        Rc::clone(&cluster.pick(Pick::default()).unwrap().upstream)
    };
    let before = pick(&view);
    let mut second = first;
    second.endpoints = [(name(), endpoints(&[A]))].into();
    let next = View::new(Arc::new(second), Some(&view), &mut upstreams);
    assert!(Rc::ptr_eq(&before, &pick(&next)));
    let gone = &next.service(&name()).unwrap().port(80).unwrap().rules[0].clusters[1];
    assert!(gone.pick(Pick::default()).is_none());
}
