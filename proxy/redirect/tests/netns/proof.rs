//! The proof that ends an apply: it tells a working redirect from one that does not work, and says so in words.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use heddle_proxy_redirect::{CheckError, Error, RedirectArgs, apply, check, run};

use crate::settings;
use crate::world::{APP, PROXY, ROOT, World, at, dial};

#[test]
fn without_rules_the_proof_fails_closed() {
    let world = World::new();
    let refused = world
        .pod
        .run(ROOT, || check(&settings(&["--ipv6=off"])))
        .unwrap_err();
    assert!(
        matches!(refused, CheckError::NotIntercepted { .. }),
        "{refused}"
    );
    let words = refused.to_string();
    assert!(
        words.contains("192.0.2.1:80 was dialled") && words.contains("must not start"),
        "{words}"
    );
    assert_eq!(words.lines().count(), 1);
}

#[test]
fn a_rule_of_others_that_comes_first_is_found_out() {
    let world = World::new();
    world
        .pod
        .sh("iptables-nft -t nat -A OUTPUT -p tcp -j DNAT --to-destination 10.77.0.1:1");
    let refused = world
        .pod
        .run(ROOT, || apply(&settings(&["--ipv6=off"])))
        .unwrap_err();
    assert!(
        matches!(refused, Error::Check(CheckError::NotIntercepted { .. })),
        "{refused}"
    );
    // Fail closed: the rules stay.
    assert!(
        world
            .pod
            .sh("iptables-nft-save")
            .contains("HEDDLE_OUTBOUND")
    );
}

#[test]
fn a_port_that_a_connection_of_the_pod_still_has_does_not_confuse_the_proof() {
    let world = World::new();
    let settings = settings(&["--ipv6=off"]);
    world.pod.run(ROOT, || apply(&settings)).unwrap();
    // One port for every connection: the redirect must give the proof's another.
    world
        .pod
        .sh("echo 42000 42000 > /proc/sys/net/ipv4/ip_local_port_range");
    let listener = world
        .pod
        .run(PROXY, || std::net::TcpListener::bind("127.0.0.1:15001"))
        .unwrap();
    let dialled = dial(&world.pod, APP, None, at("198.51.100.1", 80)).unwrap();
    let accepted = listener.accept().unwrap();
    drop(listener);
    world.pod.run(ROOT, || check(&settings)).unwrap();
    drop((dialled, accepted));
}

#[test]
fn without_a_default_route_a_neighbours_address_is_dialled() {
    let world = World::new();
    world
        .pod
        .sh("ip route del default; ip -6 route del default");
    world.pod.run(ROOT, || apply(&settings(&[]))).unwrap();
}

#[test]
fn without_any_network_it_says_so() {
    let world = World::new();
    world.pod.sh("ip link del eth0");
    let refused = world.pod.run(ROOT, || apply(&settings(&[]))).unwrap_err();
    assert!(
        matches!(refused, Error::Check(CheckError::NoRoute)),
        "{refused}"
    );
}

#[test]
fn a_sidecar_that_listens_already_is_named() {
    let world = World::new();
    let _listeners = world.listen();
    let refused = world.pod.run(ROOT, || check(&settings(&[]))).unwrap_err();
    assert!(
        refused.to_string().contains("port 15001 is in use"),
        "{refused}"
    );
}

#[test]
fn where_nothing_is_redirected_there_is_nothing_to_prove() {
    let world = World::new();
    world
        .pod
        .run(ROOT, || apply(&settings(&["--include-outbound-cidrs="])))
        .unwrap();
}

#[test]
fn the_sidecars_user_proves_the_inbound_side() {
    let world = World::new();
    let output = as_user(
        &world,
        "--reuid 1337 --regid 1337 --clear-groups",
        "redirect_check",
    );
    assert!(
        said(&output).contains("NotIntercepted"),
        "{}",
        said(&output)
    );
    world.pod.run(ROOT, || apply(&settings(&[]))).unwrap();
    let output = as_user(
        &world,
        "--reuid 1337 --regid 1337 --clear-groups",
        "redirect_check",
    );
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn without_the_capability_it_says_which() {
    let world = World::new();
    for way in [
        "--bounding-set=-net_admin --inh-caps=-net_admin",
        "--reuid 1000 --regid 1000 --clear-groups",
    ] {
        let output = as_user(&world, way, "redirect_apply");
        assert!(!output.status.success());
        assert!(said(&output).contains("NET_ADMIN"), "{}", said(&output));
    }
    assert!(
        !world
            .pod
            .sh("iptables-nft-save; iptables-legacy-save")
            .contains("HEDDLE")
    );
}

#[test]
#[ignore = "run by the tests above as another user"]
fn redirect_check() {
    run(command(&["redirect", "check"])).unwrap();
}

#[test]
#[ignore = "run by the tests above without capabilities"]
fn redirect_apply() {
    if let Err(error) = run(command(&["redirect", "apply"])) {
        panic!("{error}");
    }
}

#[derive(clap::Parser)]
struct Redirect {
    #[command(flatten)]
    args: RedirectArgs,
}

fn command(words: &[&str]) -> RedirectArgs {
    <Redirect as clap::Parser>::parse_from(words).args
}

/// Runs one of the ignored tests in the pod, with what setpriv is told. A copy, where any user can read it.
fn as_user(world: &World, setpriv: &str, test: &str) -> Output {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let copy = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = copy.display();
    world.pod.try_sh(&format!(
        "cd /; setpriv {setpriv} {copy} --ignored --exact proof::{test} --nocapture"
    ))
}

fn said(output: &Output) -> String {
    [
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ]
    .concat()
}
