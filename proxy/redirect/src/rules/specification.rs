//! The rules, read as a specification: for each setting, what the chains say and in which order.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::settings::tests::settings;

fn chain_of(
    flags: &[&str],
    nameservers: &[&str],
    family: Family,
    table: &str,
    name: &str,
) -> Vec<String> {
    let nameservers: Vec<IpAddr> = nameservers
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    let rules = ruleset(&settings(flags), &nameservers, family);
    let table = rules.tables.into_iter().find(|t| t.name == table).unwrap();
    table
        .chains
        .into_iter()
        .find(|chain| chain.name == name)
        .unwrap()
        .rules
}

fn outbound_of(flags: &[&str]) -> Vec<String> {
    chain_of(flags, &[], Family::V4, "nat", CHAIN_OUTBOUND)
}

fn inbound_of(flags: &[&str]) -> Vec<String> {
    chain_of(flags, &[], Family::V4, "nat", CHAIN_INBOUND)
}

#[test]
fn tcp_that_comes_and_everything_that_goes_enters_our_chains() {
    let rules = ruleset(&settings(&[]), &[], Family::V4);
    assert_eq!(rules.tables.len(), 1);
    assert_eq!(
        rules.tables[0].jumps,
        [
            "PREROUTING -p tcp -j HEDDLE_INBOUND",
            "OUTPUT -j HEDDLE_OUTBOUND"
        ]
    );
}

#[test]
fn inbound_all_but_the_sidecars_own_ports() {
    assert_eq!(
        inbound_of(&[]),
        [
            "-p tcp --dport 15008 -j RETURN",
            "-p tcp --dport 15020 -j RETURN",
            "-p tcp --dport 15021 -j RETURN",
            "-p tcp --dport 15090 -j RETURN",
            "-p tcp -j HEDDLE_IN_REDIRECT",
        ]
    );
}

#[test]
fn inbound_exclusions_come_before_inclusions() {
    assert_eq!(
        inbound_of(&[
            "--include-inbound-ports",
            "80,9000-9100",
            "--exclude-inbound-ports",
            "9001"
        ])[4..],
        [
            "-p tcp --dport 9001 -j RETURN",
            "-p tcp --dport 80 -j HEDDLE_IN_REDIRECT",
            "-p tcp --dport 9000:9100 -j HEDDLE_IN_REDIRECT",
        ]
    );
}

#[test]
fn inbound_none() {
    assert!(
        inbound_of(&["--include-inbound-ports="])
            .iter()
            .all(|rule| rule.ends_with("-j RETURN"))
    );
}

#[test]
fn outbound_by_default() {
    assert_eq!(
        outbound_of(&[]),
        [
            "-o lo -s 127.0.0.6/32 -j RETURN",
            "-o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j HEDDLE_INBOUND",
            "-o lo -m owner ! --uid-owner 1337 -j RETURN",
            "-m owner --uid-owner 1337 -j RETURN",
            "-o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j HEDDLE_INBOUND",
            "-o lo -m owner ! --gid-owner 1337 -j RETURN",
            "-m owner --gid-owner 1337 -j RETURN",
            "-d 127.0.0.1/32 -j RETURN",
            "-p tcp -j HEDDLE_REDIRECT",
        ]
    );
}

#[test]
fn outbound_ipv6_is_the_mirror_image() {
    assert_eq!(
        chain_of(&[], &[], Family::V6, "nat", CHAIN_OUTBOUND),
        outbound_of(&[])
            .iter()
            .map(|rule| rule
                .replace("127.0.0.6/32", "::6/128")
                .replace("127.0.0.1/32", "::1/128"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn excluded_outbound_ports_come_first_for_tcp_and_udp() {
    assert_eq!(
        outbound_of(&["--exclude-outbound-ports", "3306"])[..3],
        [
            "-p tcp --dport 3306 -j RETURN",
            "-p udp --dport 3306 -j RETURN",
            "-o lo -s 127.0.0.6/32 -j RETURN"
        ]
    );
}

#[test]
fn excluded_networks_then_included_ports_then_included_networks_each_in_their_family() {
    let flags = [
        "--exclude-outbound-cidrs",
        "10.1.0.0/16,2001:db8:1::/48",
        "--include-outbound-ports",
        "443",
        "--include-outbound-cidrs",
        "10.0.0.0/8,2001:db8::/32",
    ];
    assert_eq!(
        outbound_of(&flags)[7..],
        [
            "-d 127.0.0.1/32 -j RETURN",
            "-d 10.1.0.0/16 -j RETURN",
            "-p tcp --dport 443 -j HEDDLE_REDIRECT",
            "-d 10.0.0.0/8 -p tcp -j HEDDLE_REDIRECT",
        ]
    );
    assert_eq!(
        chain_of(&flags, &[], Family::V6, "nat", CHAIN_OUTBOUND)[7..],
        [
            "-d ::1/128 -j RETURN",
            "-d 2001:db8:1::/48 -j RETURN",
            "-p tcp --dport 443 -j HEDDLE_REDIRECT",
            "-d 2001:db8::/32 -p tcp -j HEDDLE_REDIRECT",
        ]
    );
}

#[test]
fn the_sidecars_user_and_group_can_be_chosen() {
    let rules = outbound_of(&["--proxy-uid", "2102", "--proxy-gid", "2103"]);
    assert_eq!(rules[3], "-m owner --uid-owner 2102 -j RETURN");
    assert_eq!(rules[6], "-m owner --gid-owner 2103 -j RETURN");
}

#[test]
fn dns_is_captured_per_nameserver_for_all_but_the_sidecar() {
    let rules = chain_of(
        &["--dns-capture"],
        &["10.96.0.10", "2001:db8::53"],
        Family::V4,
        "nat",
        CHAIN_OUTBOUND,
    );
    assert_eq!(
        rules[..3],
        [
            "-o lo -s 127.0.0.6/32 -j RETURN",
            "-d 10.96.0.10/32 -p udp --dport 53 -m owner ! --uid-owner 1337 ! --gid-owner 1337 -j HEDDLE_DNS",
            "-d 10.96.0.10/32 -p tcp --dport 53 -m owner ! --uid-owner 1337 ! --gid-owner 1337 -j HEDDLE_DNS",
        ]
    );
    assert_eq!(rules[3..], outbound_of(&[])[1..]);
    assert_eq!(
        chain_of(
            &["--dns-capture"],
            &["10.96.0.10"],
            Family::V4,
            "nat",
            CHAIN_DNS
        ),
        [
            "-p udp -j REDIRECT --to-ports 15053",
            "-p tcp -j REDIRECT --to-ports 15053"
        ]
    );
}

#[test]
fn dns_capture_keeps_the_sidecars_own_queries_in_a_conntrack_zone_of_their_own() {
    let nameservers = ["10.96.0.10"];
    assert_eq!(
        chain_of(
            &["--dns-capture"],
            &nameservers,
            Family::V4,
            "raw",
            CHAIN_DNS_ZONE_OUT
        ),
        [
            "-p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1",
            "-p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2",
            "-p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1",
            "-p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2",
            "-d 10.96.0.10/32 -p udp --dport 53 -j CT --zone 2",
        ]
    );
    assert_eq!(
        chain_of(
            &["--dns-capture"],
            &nameservers,
            Family::V4,
            "raw",
            CHAIN_DNS_ZONE_IN
        ),
        ["-s 10.96.0.10/32 -p udp --sport 53 -j CT --zone 1"]
    );
}

#[test]
fn without_dns_capture_nameservers_change_nothing() {
    let nameservers = ["10.96.0.10".parse().unwrap()];
    assert_eq!(
        ruleset(&settings(&[]), &nameservers, Family::V4),
        ruleset(&settings(&[]), &[], Family::V4)
    );
}

#[test]
fn every_chain_that_is_made_is_known_as_ours() {
    let rules = ruleset(
        &settings(&["--dns-capture"]),
        &["10.96.0.10".parse().unwrap()],
        Family::V4,
    );
    for chain in rules.tables.iter().flat_map(|table| &table.chains) {
        assert!(
            OUR_CHAINS.contains(&chain.name.as_str()),
            "{} would never be cleaned",
            chain.name
        );
        assert!(
            chain.name.len() < 29,
            "{} is longer than iptables allows",
            chain.name
        );
    }
}
