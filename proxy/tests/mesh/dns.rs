//! What an application's resolver is told in a pod whose DNS its sidecar answers: real redirect,
//! `dig` and libc as clients, dnsmasq as the pod's nameserver.

use std::net::IpAddr;

use crate::support::dns::{World, set_name, v4};
use crate::support::eventually;

const WEB: &str = "web.default.svc.cluster.local";

#[test]
fn names_of_the_mesh_over_udp_and_tcp() {
    let world = World::new(&["--local=/local/"]);
    set_name(&world.mesh.control, WEB, &["10.96.0.1", "fd96::1"]);
    let v6: IpAddr = "fd96::1".parse().unwrap();
    assert_eq!(world.ips(&[WEB, "A"]), [v4("10.96.0.1")]);
    assert_eq!(world.ips(&[WEB, "A", "+tcp"]), [v4("10.96.0.1")]);
    assert_eq!(world.ips(&[WEB, "AAAA"]), [v6]);
    // As libc asks: with search domains, both families at once.
    assert_eq!(world.libc("web"), [v4("10.96.0.1"), v6]);
    assert_eq!(world.libc("web.default"), [v4("10.96.0.1"), v6]);
    assert_eq!(
        world.libc("web.default.svc.cluster.local."),
        [v4("10.96.0.1"), v6]
    );
    assert!(world.outcomes("mesh") >= 7.0);
    assert_eq!(world.outcomes("malformed"), 0.0);
}

#[test]
fn headless_services_and_pod_names() {
    let world = World::new(&[]);
    let control = &world.mesh.control;
    let name = "db.default.svc.cluster.local";
    set_name(control, name, &["10.78.1.20", "10.78.1.21"]);
    set_name(control, &format!("db-0.{name}"), &["10.78.1.20"]);
    assert_eq!(world.libc("db"), [v4("10.78.1.20"), v4("10.78.1.21")]);
    assert_eq!(world.libc("db-0.db"), [v4("10.78.1.20")]);
    // A pod that comes or goes is seen without anybody asking anew.
    set_name(control, name, &["10.78.1.21"]);
    eventually("the change is seen", || {
        world.ips(&[name, "A"]) == [v4("10.78.1.21")]
    });
    set_name(control, name, &[]);
    eventually("none is left", || world.ips(&[name, "A"]).is_empty());
    assert_eq!(world.status(&[name, "A"]), "NOERROR");
}

#[test]
fn a_service_entrys_host_and_what_lies_around_it() {
    let world = World::new(&["--local=/local/", "--local=/example.com/"]);
    set_name(&world.mesh.control, "api.example.com", &["240.240.0.1"]);
    assert_eq!(world.libc("api.example.com"), [v4("240.240.0.1")]);
    assert_eq!(world.ips(&["api.example.com", "A"]), [v4("240.240.0.1")]);
    assert_eq!(world.status(&["api.example.com", "AAAA"]), "NOERROR");
    assert!(world.ips(&["api.example.com", "AAAA"]).is_empty());
    assert_eq!(world.status(&["no.example.com", "A"]), "NXDOMAIN");
    // With its search domains libc asks in four forms; none of them costs the resolver a query.
    let forwarded = world.outcomes("forwarded");
    world.libc("api.example.com");
    assert_eq!(world.outcomes("forwarded"), forwarded);
}

#[test]
fn other_names_are_forwarded() {
    let world = World::new(&[
        "--host-record=www.example.org,192.0.2.7,2001:db8::7,60",
        "--local=/local/",
    ]);
    assert_eq!(world.ips(&["www.example.org", "A"]), [v4("192.0.2.7")]);
    assert_eq!(
        world.ips(&["www.example.org", "A", "+tcp"]),
        [v4("192.0.2.7")]
    );
    let both: [IpAddr; 2] = ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse().unwrap());
    assert_eq!(world.libc("www.example.org"), both);
    assert!(world.outcomes("forwarded") >= 1.0 && world.outcomes("cached") >= 1.0);
}

#[test]
fn a_nameserver_over_ipv6() {
    let world = World::with(&["--host-record=www.example.org,192.0.2.7"], "fd78::1");
    set_name(&world.mesh.control, WEB, &["10.96.0.1"]);
    assert_eq!(world.ips(&["www.example.org", "A"]), [v4("192.0.2.7")]);
    assert_eq!(world.ips(&[WEB, "A"]), [v4("10.96.0.1")]);
    assert_eq!(world.ips(&[WEB, "A", "+tcp"]), [v4("10.96.0.1")]);
}

#[test]
fn answers_that_do_not_fit_come_over_tcp() {
    let records: Vec<String> = (1..=60)
        .map(|n| format!("--host-record=many.example.org,192.0.2.{n}"))
        .collect();
    let flags: Vec<&str> = records.iter().map(String::as_str).collect();
    let world = World::new(&flags);
    let ips: Vec<String> = (1..=60).map(|n| format!("10.0.0.{n}")).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    set_name(&world.mesh.control, "many.mesh", &ips);
    for name in ["many.example.org", "many.mesh"] {
        let cut = world.dig(&[name, "A", "+noedns", "+ignore"]);
        assert!(
            cut.contains(" tc ") && !cut.contains("ANSWER SECTION"),
            "{cut}"
        );
        assert_eq!(world.ips(&[name, "A", "+noedns"]).len(), 60);
        assert_eq!(world.ips(&[name, "A"]).len(), 60);
    }
}

#[test]
fn the_mesh_answers_while_the_resolver_is_away() {
    let mut world = World::new(&[]);
    set_name(&world.mesh.control, WEB, &["10.96.0.1"]);
    world.resolver = None;
    assert_eq!(world.status(&["www.example.org", "A"]), "SERVFAIL");
    assert_eq!(world.ips(&[WEB, "A"]), [v4("10.96.0.1")]);
    assert_eq!(world.libc("web"), [v4("10.96.0.1")]);
    assert!(world.outcomes("failed") >= 1.0);
}

#[test]
fn known_names_and_the_resolver_answer_while_the_control_plane_is_away() {
    let flags = [
        "--host-record=www.example.org,192.0.2.7",
        "--host-record=late.default.svc.cluster.local,10.96.0.9",
    ];
    let mut world = World::new(&flags);
    set_name(&world.mesh.control, WEB, &["10.96.0.1"]);
    set_name(
        &world.mesh.control,
        "late.default.svc.cluster.local",
        &["10.96.0.2"],
    );
    assert_eq!(world.ips(&[WEB, "A"]), [v4("10.96.0.1")]);
    eventually("the name is on the volume", || {
        world.pod.sidecar().keeps(WEB)
    });
    world.mesh.stop_control();
    // A sidecar that restarts meanwhile knows what it knew.
    world.sidecar().kill();
    world.sidecar().spawn();
    world.sidecar().wait_ready();
    assert_eq!(world.ips(&[WEB, "A"]), [v4("10.96.0.1")]);
    assert_eq!(world.outcomes("mesh"), 1.0);
    assert_eq!(world.ips(&["www.example.org", "A"]), [v4("192.0.2.7")]);
    let late = ["late.default.svc.cluster.local", "A"];
    assert_eq!(
        world.ips(&late),
        [v4("10.96.0.9")],
        "the pod's own resolver"
    );
    world.mesh.start_control();
    eventually("the mesh's answer again", || {
        world.ips(&late) == [v4("10.96.0.2")]
    });
}

#[test]
fn nobody_but_the_own_pod_is_answered() {
    let world = World::new(&[]);
    set_name(&world.mesh.control, WEB, &["10.96.0.1"]);
    let (ip, other) = (world.pod.ip, world.mesh.strict("other"));
    let refused = other.run(async move {
        tokio::time::timeout(
            std::time::Duration::from_secs(5),
            tokio::net::TcpStream::connect((ip, 15053)),
        )
        .await
    });
    let answered = matches!(refused, Ok(Ok(_)));
    // The inbound redirect takes it for the application's port, where nobody listens.
    if answered {
        let dig = format!("dig +tcp +tries=1 +time=5 @{ip} -p 15053 {WEB} A || true");
        assert!(!other.netns.exec("sh", &["-c", &dig]).contains("10.96.0.1"));
    }
    let dig = format!("dig +tries=1 +time=1 @{ip} -p 15053 {WEB} A || true");
    assert!(!other.netns.exec("sh", &["-c", &dig]).contains("10.96.0.1"));
}
