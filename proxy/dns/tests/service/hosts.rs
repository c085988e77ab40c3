//! Hosts outside the mesh, as the sidecar itself asks for them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use heddle_proxy_dns::{LookupError, Resolved, Upstream, lookup};

use crate::world::{Dnsmasq, free_port, resolv_conf};

fn ask(servers: &[SocketAddr], host: &str) -> Result<Resolved, LookupError> {
    let (_dir, path) = resolv_conf(servers, "x");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .unwrap()
        .block_on(lookup(&Upstream::new(path), host))
}

#[test]
fn addresses_come_with_their_time_through_aliases() {
    let upstream = Dnsmasq::start(&[
        "--host-record=real.example.com,192.0.2.8,60",
        "--host-record=real.example.com,192.0.2.7,60",
        "--host-record=six.example.com,2001:db8::7,50",
        "--cname=alias.example.com,real.example.com,30",
        "--local=/example.com/",
    ]);
    let found = ask(&[upstream.address], "alias.example.com").unwrap();
    let expect: [std::net::IpAddr; 2] = [[192, 0, 2, 7].into(), [192, 0, 2, 8].into()];
    assert_eq!(
        (&found.ips[..], found.ttl),
        (&expect[..], Duration::from_secs(30))
    );
    let found = ask(&[upstream.address], "six.example.com").unwrap();
    assert_eq!(
        found.ips,
        ["2001:db8::7".parse::<std::net::IpAddr>().unwrap()]
    );
    assert!(
        ask(&[upstream.address], "no.example.com")
            .unwrap()
            .ips
            .is_empty()
    );
}

#[test]
fn failures_are_told_apart() {
    let refusing = Dnsmasq::start(&[]);
    assert_eq!(ask(&[refusing.address], "a.b"), Err(LookupError::Code(5)));
    let nobody = (Ipv4Addr::LOCALHOST, free_port()).into();
    assert_eq!(ask(&[nobody], "a.b"), Err(LookupError::Unanswered));
    assert_eq!(
        ask(&[nobody], "a..b"),
        Err(LookupError::Name("a..b".into()))
    );
}

#[test]
fn nonsense_is_not_believed() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let mut answer = query[..length].to_vec();
            answer[2] |= 0x80;
            answer[7] = 9;
            let _ = socket.send_to(&answer, from);
        }
    });
    assert_eq!(ask(&[address], "a.b"), Err(LookupError::Malformed));
}
