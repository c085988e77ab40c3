//! What `dig` is told when the pod's resolvers, the control plane or the client misbehave.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use heddle_proxy_dns::Outcome;

use crate::world::{Dnsmasq, Service, free_port};

/// A server that takes queries and says nothing.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn nobody() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

#[test]
fn the_next_server_answers_for_one_that_does_not() {
    let upstream = Dnsmasq::start(&["--host-record=a.example.com,192.0.2.7"]);
    let refusing = Dnsmasq::start(&[]);
    let (_socket, silent) = silent();
    for dead in [nobody(), silent, refusing.address] {
        let service = Service::start(&[dead, upstream.address], "x");
        assert_eq!(
            service.dig(&["a.example.com", "A"]).answers(),
            ["192.0.2.7"]
        );
        assert_eq!(service.outcomes(), [Outcome::Forwarded]);
    }
}

#[test]
fn without_resolvers_it_fails_in_time_and_the_mesh_still_answers() {
    let (_socket, silent) = silent();
    for servers in [vec![], vec![nobody()], vec![silent], vec![silent, nobody()]] {
        let service = Service::start(&servers, "x");
        service.mesh.set("web.mesh", &["10.96.0.1"]);
        let begun = Instant::now();
        assert_eq!(service.dig(&["a.example.com", "A"]).status(), "SERVFAIL");
        // What libc waits for; the service itself gives up after four.
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert_eq!(service.dig(&["web.mesh", "A"]).answers(), ["10.96.0.1"]);
        assert_eq!(service.outcomes(), [Outcome::Failed, Outcome::Mesh]);
    }
}

#[test]
fn what_all_servers_say_they_cannot_say_is_passed_on() {
    let refusing = Dnsmasq::start(&[]);
    let service = Service::start(&[refusing.address], "x");
    assert_eq!(service.dig(&["a.example.com", "A"]).status(), "REFUSED");
}

#[test]
fn an_answer_counts_only_if_it_is_to_the_question() {
    let (socket, address) = silent();
    let service = Service::start(&[address], "x");
    let forger = std::thread::spawn(move || {
        let mut query = [0; 512];
        let (length, from) = socket.recv_from(&mut query).unwrap();
        let mut answer = query[..length].to_vec();
        answer[2] |= 0x80;
        let mut other_id = answer.clone();
        other_id[0] ^= 1;
        let mut other_question = answer.clone();
        other_question[13] ^= 1;
        // Not an error, so that it would be taken at once.
        for forged in [&query[..length], &other_id, &other_question, &[0x80; 3]] {
            socket.send_to(forged, from).unwrap();
        }
        answer[3] = 3;
        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut forged = answer.clone();
        forged[3] = 0;
        stranger.send_to(&forged, from).unwrap();
        socket.send_to(&answer, from).unwrap();
    });
    assert_eq!(service.dig(&["a.example.com", "A"]).status(), "NXDOMAIN");
    forger.join().unwrap();
}

#[test]
fn every_query_goes_out_under_another_id_from_another_port() {
    let (socket, address) = silent();
    let service = Service::start(&[address], "x");
    let mut seen = Vec::new();
    for n in 0..8_u8 {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let query = [
            &[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, b'a', b'a' + n][..],
            b"\0\0\x01\0\x01",
        ]
        .concat();
        client.send_to(&query, ("127.0.0.1", service.port)).unwrap();
        let mut asked = [0; 512];
        let (length, from) = socket.recv_from(&mut asked).unwrap();
        let mut answer = asked[..length].to_vec();
        answer[2] |= 0x80;
        socket.send_to(&answer, from).unwrap();
        let mut told = [0; 512];
        client.recv(&mut told).unwrap();
        assert_eq!(told[..2], [7, 7], "the client's own id comes back");
        seen.push(([asked[0], asked[1]], from.port()));
    }
    let ids: std::collections::HashSet<_> = seen.iter().map(|(id, _)| *id).collect();
    let ports: std::collections::HashSet<_> = seen.iter().map(|(_, port)| *port).collect();
    // Two of eight may be the same by chance, once in thousands.
    assert!(ids.len() >= 6 && ports.len() >= 6, "{seen:?}");
}

#[test]
fn a_silent_control_plane_does_not_hold_up_what_is_known() {
    let (_socket, address) = silent();
    let service = Service::start(&[address], "x");
    service.mesh.set("web.mesh", &["10.96.0.1"]);
    service.mesh.hush();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // More than may wait: those beyond are told at once.
    for n in 0..400_u16 {
        let name = format!("n{n:03}");
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4];
        query.extend_from_slice(name.as_bytes());
        query.extend_from_slice(b"\0\0\x01\0\x01");
        client.send_to(&query, ("127.0.0.1", service.port)).unwrap();
        if n % 50 == 0 {
            assert_eq!(service.dig(&["web.mesh", "A"]).answers(), ["10.96.0.1"]);
        }
    }
    assert_eq!(service.dig(&["web.mesh", "A"]).answers(), ["10.96.0.1"]);
    assert_eq!(service.dig(&["other.mesh", "A"]).status(), "SERVFAIL");
    assert!(service.outcomes().contains(&Outcome::Overload));
}

#[test]
fn garbage_is_dropped_and_the_service_goes_on() {
    let service = Service::start(&[], "x");
    service.mesh.set("web.mesh", &["10.96.0.1"]);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for garbage in [
        &[][..],
        &[0; 5],
        &[0xff; 40],
        &[0; 2000],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        client
            .send_to(garbage, ("127.0.0.1", service.port))
            .unwrap();
    }
    let mut stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    stream.write_all(&[0, 3, 1, 2, 3]).unwrap();
    let mut nothing = Vec::new();
    // Closed, with or without a reset.
    let _ = stream.read_to_end(&mut nothing);
    assert!(nothing.is_empty());
    assert_eq!(service.dig(&["web.mesh", "A"]).answers(), ["10.96.0.1"]);
}
