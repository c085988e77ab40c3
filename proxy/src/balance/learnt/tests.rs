//! Ejection and return by a clock that the tests set.
#![allow(clippy::unwrap_used)]

use heddle_proxy_config::snapshot::Name;

use super::*;
use crate::balance::ejections::Ejections;

const BASE: Duration = Duration::from_secs(30);

fn addr(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 80).into()
}

fn endpoints(numbers: &[u8]) -> Vec<(SocketAddr, Arc<Endpoint>)> {
    let endpoint = |n: &u8| {
        let endpoint = Endpoint {
            ip: addr(*n).ip(),
            target_ports: vec![],
            subsets: vec![],
            identity: None,
            plain_ports: Box::default(),
            workload: Name::new(format!("default/pod-{n}")),
            app: "".into(),
            version: "".into(),
            owner: "".into(),
            placement: Default::default(),
        };
        (addr(*n), Arc::new(endpoint))
    };
    numbers.iter().map(endpoint).collect()
}

fn policy(percent: u32, warmup: Option<Duration>) -> TrafficPolicy {
    TrafficPolicy {
        outlier: Some(OutlierDetection {
            consecutive_5xx: 1,
            max_ejection_percent: percent,
            ..OutlierDetection::default()
        }),
        warmup,
        ..TrafficPolicy::default()
    }
}

struct World {
    learnt: Learnt,
    metrics: Metrics,
    ejections: Ejections,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (metrics, ejections) = (Metrics::default(), Ejections::default());
        Self {
            learnt: Learnt::new(
                "service a".into(),
                "default/a".into(),
                metrics.clone(),
                ejections.clone(),
            ),
            metrics,
            ejections,
            now: Instant::now(),
        }
    }

    fn link(&self, policy: &TrafficPolicy, numbers: &[u8]) -> Vec<Rc<Standing>> {
        self.learnt.link(policy, &endpoints(numbers), self.now)
    }

    fn eject(&self, standing: &Standing) {
        let terms = self.learnt.terms.borrow().clone().unwrap();
        self.learnt
            .eject(standing, &terms, "consecutive-5xx", self.now);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.learnt.review(self.now);
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        self.metrics.render(&mut text);
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

#[test]
fn the_time_grows_with_each_ejection_and_shrinks_when_it_goes_well() {
    let mut world = World::new();
    let standings = world.link(&policy(100, None), &[1, 2]);
    let one = &standings[0];
    for times in 1..=3 {
        world.eject(one);
        world.pass(30 * times - 1);
        assert!(one.is_ejected(), "for {times} times 30 s");
        world.pass(1);
        assert!(!one.is_ejected());
    }
    // Two intervals without a failure.
    world.pass(20);
    world.eject(one);
    assert_eq!(one.times.get(), 2);
    assert_eq!(one.until.get(), Some(world.now + 2 * BASE));
    world.pass(3600);
    world.eject(one);
    assert_eq!(one.times.get(), 1);
    assert_eq!(world.metric("heddle_outlier_ejections_total"), 5.0);
    assert_eq!(world.metric("heddle_outlier_returns_total"), 4.0);
    assert_eq!(world.metric("heddle_outlier_ejected{"), 1.0);
    drop(standings);
    let World {
        metrics,
        learnt,
        ejections,
        now,
    } = world;
    assert_eq!(ejections.ejected().len(), 1);
    drop(learnt);
    assert!(ejections.ejected().is_empty());
    let world = World {
        metrics,
        learnt: World::new().learnt,
        ejections,
        now,
    };
    assert_eq!(world.metric("heddle_outlier_ejected{"), 0.0);
}

#[test]
fn no_more_than_may_be_are_ejected_but_one_of_several_always() {
    let world = World::new();
    let ejected = |all: &[Rc<Standing>]| {
        all.iter().for_each(|s| world.eject(s));
        all.iter().filter(|s| s.is_ejected()).count()
    };
    let all: Vec<u8> = (1..=20).collect();
    assert_eq!(ejected(&world.link(&policy(10, None), &all)), 2);
    assert_eq!(world.metric("heddle_outlier_overflow_total"), 18.0);
    for (percent, endpoints, most) in [(10, 2, 1), (10, 1, 0), (100, 1, 1), (0, 3, 0), (50, 3, 1)] {
        let world = World::new();
        let standings = world.link(&policy(percent, None), &all[..endpoints]);
        standings.iter().for_each(|s| world.eject(s));
        let ejected = standings.iter().filter(|s| s.is_ejected()).count();
        assert_eq!(ejected, most, "{percent} % of {endpoints}");
    }
}

#[test]
fn a_push_forgets_only_whoever_goes() {
    let mut world = World::new();
    let policy = policy(100, None);
    let before = world.link(&policy, &[1, 2, 3]);
    before.iter().for_each(|standing| world.eject(standing));
    let after = world.link(&policy, &[2, 3, 4]);
    assert!(Rc::ptr_eq(&before[1], &after[0]) && after[0].is_ejected());
    assert!(!after[2].is_ejected());
    assert_eq!(
        (
            world.learnt.ejected.get(),
            world.metric("heddle_outlier_ejected{")
        ),
        (2, 2.0)
    );
    // What is still under way to the one that went changes nothing.
    world.learnt.observe(&before[0], Outcome::Answered(500));
    assert_eq!(world.learnt.ejected.get(), 2);
    world.pass(30);
    assert_eq!(
        (
            world.learnt.ejected.get(),
            world.metric("heddle_outlier_ejected{")
        ),
        (0, 0.0)
    );
    let back = world.link(&policy, &[1, 2]);
    assert_eq!(back[0].times.get(), 0);
}

#[test]
fn without_detection_nobody_stays_ejected() {
    let world = World::new();
    let standings = world.link(&policy(100, None), &[1, 2]);
    world.eject(&standings[0]);
    world.link(&TrafficPolicy::default(), &[1, 2]);
    assert!(!standings[0].is_ejected());
    world.learnt.observe(&standings[0], Outcome::Answered(500));
    assert!(!standings[0].is_ejected());
}

#[test]
fn who_is_new_or_comes_back_warms_up() {
    let warmup = Duration::from_secs(100);
    let mut world = World::new();
    let policy = policy(100, Some(warmup));
    let first = world.link(&policy, &[1, 2]);
    let warmth = |world: &World, standing: &Standing| standing.warmth(warmup, world.now);
    assert_eq!(warmth(&world, &first[0]), 1.0, "there was nobody before");
    assert!(!world.learnt.is_timed());
    world.pass(10);
    let second = world.link(&policy, &[1, 2, 3]);
    assert!(world.learnt.is_timed());
    for (seconds, share) in [(0, 0.1), (5, 0.1), (20, 0.25), (50, 0.75), (24, 0.99)] {
        world.pass(seconds);
        assert!((warmth(&world, &second[2]) - share).abs() < 1e-9, "{share}");
        assert_eq!(warmth(&world, &second[0]), 1.0);
    }
    world.pass(1);
    assert_eq!(warmth(&world, &second[2]), 1.0);
    assert!(!world.learnt.is_timed());
    world.eject(&second[0]);
    world.pass(30);
    assert_eq!(warmth(&world, &second[0]), 0.1);
}
