//! Apply, apply again, replace, fail, clean: what the namespace holds after each.

use heddle_proxy_redirect::{Error, apply, clean};

use crate::settings;
use crate::world::{Backend, ROOT, World};

const BOTH: [Backend; 2] = [Backend::Nft, Backend::Legacy];
const OTHERS: &str =
    "--exclude-outbound-ports=25 --include-inbound-ports=80 --exclude-outbound-cidrs=10.0.0.0/8";

fn apply_in(world: &World, flags: &[&str]) -> Result<(), Error> {
    world.pod.run(ROOT, || apply(&settings(flags)))
}

fn clean_in(world: &World) {
    world.pod.run(ROOT, clean).unwrap();
}

fn add_foreign_chain(world: &World, backend: Backend) {
    for command in ["iptables", "ip6tables"] {
        let command = format!("{command}-{} -w -t nat", backend.infix());
        world.pod.sh(&format!(
            "{command} -N THEIRS; {command} -A THEIRS -p tcp --dport 4 -j RETURN; {command} -A OUTPUT -p tcp -j THEIRS"
        ));
    }
}

#[test]
fn twice_is_as_good_as_once() {
    for backend in BOTH {
        let world = World::with(backend);
        apply_in(&world, &[]).unwrap();
        let once = world.saved(backend);
        assert_eq!(
            once.matches("-j HEDDLE_OUTBOUND").count(),
            2,
            "one jump in each family"
        );
        apply_in(&world, &[]).unwrap();
        assert_eq!(world.saved(backend), once);
    }
}

#[test]
fn other_settings_replace_those_before() {
    let others: Vec<&str> = OTHERS.split(' ').collect();
    for backend in BOTH {
        let (world, fresh) = (World::with(backend), World::with(backend));
        apply_in(&world, &[]).unwrap();
        apply_in(&world, &others).unwrap();
        apply_in(&fresh, &others).unwrap();
        assert_eq!(world.saved(backend), fresh.saved(backend));
    }
}

#[test]
fn rules_of_others_stay_and_keep_their_place() {
    for backend in BOTH {
        let world = World::with(backend);
        apply_in(&world, &[]).unwrap();
        add_foreign_chain(&world, backend);
        let before = world.saved(backend);
        apply_in(&world, &[]).unwrap();
        assert_eq!(world.saved(backend), before);
    }
}

#[test]
fn clean_removes_exactly_ours() {
    for backend in BOTH {
        let world = World::with(backend);
        add_foreign_chain(&world, backend);
        let before = world.saved(backend);
        apply_in(&world, &[]).unwrap();
        assert_ne!(world.saved(backend), before);
        assert!(world.pod.sh("ip -6 addr show dev lo").contains("::6/128"));
        clean_in(&world);
        assert_eq!(world.saved(backend), before);
        assert!(!world.pod.sh("ip -6 addr show dev lo").contains("::6/128"));
        clean_in(&world);
        assert_eq!(world.saved(backend), before);
    }
}

#[test]
fn when_ipv6_fails_ipv4_is_taken_back() {
    for backend in BOTH {
        let world = World::with(backend);
        // Somebody jumps to a chain of ours that this apply would remove: IPv6 is refused after IPv4 was made.
        world.pod.sh(&format!(
            "t='ip6tables-{} -w -t nat'; $t -N HEDDLE_DNS; $t -N THEIRS; $t -A THEIRS -j HEDDLE_DNS",
            backend.infix()
        ));
        let before = world.saved(backend);
        let refused = apply_in(&world, &[]).unwrap_err();
        assert!(
            refused.to_string().contains("refused the IPv6 rules"),
            "{refused}"
        );
        assert_eq!(
            without_empty_tables(&world.saved(backend)),
            without_empty_tables(&before)
        );
        let refused = apply_in(&world, &["--ipv6=on"]).unwrap_err();
        assert!(
            refused.to_string().contains("refused the IPv6 rules"),
            "{refused}"
        );
    }
}

#[test]
fn a_failed_change_keeps_what_was_there() {
    let world = World::new();
    apply_in(&world, &[]).unwrap();
    world
        .pod
        .sh("ip6tables-nft -t nat -N THEIRS; ip6tables-nft -t nat -A THEIRS -j HEDDLE_REDIRECT");
    world.pod.sh("ip -6 addr flush dev eth0");
    let before = world.saved(Backend::Nft);
    // IPv6 is no longer used, but its chains cannot go.
    apply_in(&world, &["--exclude-outbound-ports=25"]).unwrap_err();
    assert_eq!(world.saved(Backend::Nft), before);
}

#[test]
fn without_ipv6_on_loopback_nothing_is_left_behind() {
    let world = World::new();
    world
        .pod
        .sh("echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6");
    let refused = apply_in(&world, &[]).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("net.ipv6.conf.lo.disable_ipv6"),
        "{refused}"
    );
    assert!(!world.saved(Backend::Nft).contains("HEDDLE"));
}

#[test]
fn ipv6_is_left_alone_when_it_is_not_used_and_removed_when_it_no_longer_is() {
    let world = World::new();
    apply_in(&world, &[]).unwrap();
    assert!(world.pod.sh("ip6tables-nft-save").contains("HEDDLE"));
    apply_in(&world, &["--ipv6=off"]).unwrap();
    assert!(!world.pod.sh("ip6tables-nft-save").contains("HEDDLE"));
    assert!(!world.pod.sh("ip -6 addr show dev lo").contains("::6/128"));
    assert!(world.pod.sh("iptables-nft-save").contains("HEDDLE"));
    clean_in(&world);
    world.pod.sh("ip -6 addr flush dev eth0");
    apply_in(&world, &[]).unwrap();
    assert!(!world.pod.sh("ip6tables-nft-save").contains("HEDDLE"));
}

#[test]
fn a_backend_with_our_rules_is_the_one_to_use_and_holds_them_alone() {
    let world = World::with(Backend::Legacy);
    apply_in(&world, &[]).unwrap();
    world
        .pod
        .sh("iptables-nft -t nat -A OUTPUT -d 203.0.113.78/32 -j RETURN");
    apply_in(&world, &[]).unwrap();
    assert!(world.saved(Backend::Legacy).contains("HEDDLE"));
    assert!(!world.saved(Backend::Nft).contains("HEDDLE"));
    clean_in(&world);
    assert!(!world.saved(Backend::Legacy).contains("HEDDLE"));
}

/// Reading a table makes it.
fn without_empty_tables(saved: &str) -> String {
    let tables = saved.split_inclusive("COMMIT\n");
    tables
        .filter(|table| table.contains("-A ") || table.contains(" -\n"))
        .collect()
}
