//! Which way each kind of connection goes.

use heddle_proxy_redirect::apply;

use crate::settings;
use crate::world::{
    APP, Backend, Listeners, PEER_V4, PEER_V6, POD_V4, POD_V6, PROXY, ROOT, User, World, at, dial,
};

struct Addresses {
    pod: &'static str,
    peer: &'static str,
    /// A Service's, that nobody has.
    virtual_ip: &'static str,
    localhost: &'static str,
    inbound_source: &'static str,
}

const FAMILIES: [Addresses; 2] = [
    Addresses {
        pod: POD_V4,
        peer: PEER_V4,
        virtual_ip: "10.96.0.10",
        localhost: "127.0.0.1",
        inbound_source: "127.0.0.6",
    },
    Addresses {
        pod: POD_V6,
        peer: PEER_V6,
        virtual_ip: "fd96::10",
        localhost: "::1",
        inbound_source: "::6",
    },
];

/// Applies the flags in a new world of each backend, and shows it in each family.
fn everywhere(flags: &[&str], case: impl Fn(&World, &Listeners, &Addresses)) {
    for backend in [Backend::Nft, Backend::Legacy] {
        let world = World::with(backend);
        world.pod.run(ROOT, || apply(&settings(flags))).unwrap();
        assert!(
            world.saved(backend).contains("HEDDLE_OUTBOUND"),
            "{backend:?} is the one to use"
        );
        let listeners = world.listen();
        for addresses in &FAMILIES {
            case(&world, &listeners, addresses);
        }
    }
}

#[test]
fn the_app_to_a_service_comes_to_the_sidecar_which_learns_what_was_meant() {
    everywhere(&[], |world, listeners, addresses| {
        for to in [at(addresses.virtual_ip, 80), at(addresses.peer, 8080)] {
            let taken = listeners.taken(dial(&world.pod, APP, None, to));
            assert_eq!((taken.who, taken.meant_for), ("outbound", Some(to)));
        }
    });
}

#[test]
fn the_sidecar_itself_goes_out_directly_by_user_and_by_group() {
    everywhere(&[], |world, listeners, addresses| {
        for user in [PROXY, User(1337, 0), User(1000, 1337)] {
            let taken = listeners.taken(dial(&world.pod, user, None, at(addresses.peer, 8080)));
            assert_eq!(taken.who, "peer", "{user:?}");
        }
    });
}

#[test]
fn what_comes_from_outside_comes_to_the_sidecar() {
    everywhere(&[], |world, listeners, addresses| {
        let to = at(addresses.pod, 8080);
        let taken = listeners.taken(dial(&world.peer, APP, None, to));
        assert_eq!((taken.who, taken.meant_for), ("inbound", Some(to)));
    });
}

#[test]
fn health_is_reached_directly_from_outside() {
    everywhere(&[], |world, listeners, addresses| {
        let taken = listeners.taken(dial(&world.peer, APP, None, at(addresses.pod, 15021)));
        assert_eq!(taken.who, "health");
    });
}

#[test]
fn the_app_talks_to_itself_directly_on_loopback_and_by_its_own_address() {
    everywhere(&[], |world, listeners, addresses| {
        for to in [addresses.localhost, addresses.pod] {
            let taken = listeners.taken(dial(&world.pod, APP, None, at(to, 8080)));
            assert_eq!(taken.who, "app", "to {to}");
        }
    });
}

#[test]
fn the_sidecar_to_its_own_pod_comes_to_its_own_inbound_side() {
    everywhere(&[], |world, listeners, addresses| {
        let to = at(addresses.pod, 8080);
        let taken = listeners.taken(dial(&world.pod, PROXY, None, to));
        assert_eq!((taken.who, taken.meant_for), ("inbound", Some(to)));
    });
}

#[test]
fn the_sidecar_reaches_the_app_from_the_inbound_source_and_on_localhost() {
    everywhere(&[], |world, listeners, addresses| {
        let from = Some(addresses.inbound_source);
        let taken = listeners.taken(dial(&world.pod, PROXY, from, at(addresses.pod, 8080)));
        assert_eq!(
            (taken.who, taken.seen.ip()),
            ("app", addresses.inbound_source.parse().unwrap())
        );
        let taken = listeners.taken(dial(&world.pod, PROXY, None, at(addresses.localhost, 8080)));
        assert_eq!(taken.who, "app");
    });
}

#[test]
fn excluded_outbound_ports_and_networks_are_direct() {
    everywhere(
        &["--exclude-outbound-ports", "9000"],
        |world, listeners, addresses| {
            assert_eq!(
                listeners
                    .taken(dial(&world.pod, APP, None, at(addresses.peer, 9000)))
                    .who,
                "peer"
            );
            assert_eq!(
                listeners
                    .taken(dial(&world.pod, APP, None, at(addresses.peer, 8080)))
                    .who,
                "outbound"
            );
        },
    );
    everywhere(
        &["--exclude-outbound-cidrs", "10.77.0.0/24,fd77::/64"],
        |world, listeners, addresses| {
            assert_eq!(
                listeners
                    .taken(dial(&world.pod, APP, None, at(addresses.peer, 8080)))
                    .who,
                "peer"
            );
            assert_eq!(
                listeners
                    .taken(dial(&world.pod, APP, None, at(addresses.virtual_ip, 80)))
                    .who,
                "outbound"
            );
        },
    );
}

#[test]
fn only_included_networks_and_ports_come_to_the_sidecar() {
    let flags = [
        "--include-outbound-cidrs",
        "10.96.0.0/12,fd96::/16",
        "--include-outbound-ports",
        "9000",
    ];
    everywhere(&flags, |world, listeners, addresses| {
        assert_eq!(
            listeners
                .taken(dial(&world.pod, APP, None, at(addresses.virtual_ip, 80)))
                .who,
            "outbound"
        );
        assert_eq!(
            listeners
                .taken(dial(&world.pod, APP, None, at(addresses.peer, 9000)))
                .who,
            "outbound"
        );
        assert_eq!(
            listeners
                .taken(dial(&world.pod, APP, None, at(addresses.peer, 8080)))
                .who,
            "peer"
        );
    });
}

#[test]
fn excluded_inbound_ports_are_direct_from_outside_and_for_the_pod_itself() {
    everywhere(
        &["--exclude-inbound-ports", "9000"],
        |world, listeners, addresses| {
            assert_eq!(
                listeners
                    .taken(dial(&world.peer, APP, None, at(addresses.pod, 9000)))
                    .who,
                "app"
            );
            assert_eq!(
                listeners
                    .taken(dial(&world.pod, PROXY, None, at(addresses.pod, 9000)))
                    .who,
                "app"
            );
            assert_eq!(
                listeners
                    .taken(dial(&world.peer, APP, None, at(addresses.pod, 8080)))
                    .who,
                "inbound"
            );
        },
    );
}

#[test]
fn only_included_inbound_ports_come_to_the_sidecar() {
    everywhere(
        &["--include-inbound-ports", "9000-9010"],
        |world, listeners, addresses| {
            assert_eq!(
                listeners
                    .taken(dial(&world.peer, APP, None, at(addresses.pod, 9000)))
                    .who,
                "inbound"
            );
            assert_eq!(
                listeners
                    .taken(dial(&world.peer, APP, None, at(addresses.pod, 8080)))
                    .who,
                "app"
            );
        },
    );
}

#[test]
fn a_whole_process_of_another_user_is_seen_as_such() {
    everywhere(&[], |world, listeners, addresses| {
        for (uid, expected) in [(1337, "peer"), (1000, "outbound")] {
            let command = format!(
                "setpriv --reuid {uid} --regid {uid} --clear-groups bash -c 'exec 3<>/dev/tcp/{}/8080; read -t 5 -u 3 x; true'",
                addresses.peer
            );
            std::thread::scope(|scope| {
                let dialling = scope.spawn(|| world.pod.sh(&command));
                assert_eq!(listeners.next().who, expected, "uid {uid}");
                dialling.join().unwrap();
            });
        }
    });
}
