use std::{net::UdpSocket, sync::Arc};

use heddle_node::{
    Layout,
    dns::{ClusterDns, DnsOptions, Names, ServiceNames, add_service},
};
use serde_json::json;
use tokio::sync::watch;

use crate::support::{TestNode, exec, until};

fn names(layout: &Layout, services: &[&str]) -> Arc<Names> {
    let mut pool = layout.plan.service_pool();
    let mut names = Names::new();
    for name in services {
        let service = ServiceNames {
            namespace: "shop",
            name,
            cluster_ips: pool.take().unwrap().all(),
            members: Vec::new(),
            ports: vec![(Some("http"), "TCP", 80)],
            external_name: None,
        };
        add_service(&mut names, "cluster.local", &service);
    }
    Arc::new(names)
}

/// A resolver outside the cluster that says 192.0.2.77 to everything.
fn outside() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let server = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = server.recv_from(&mut buffer) {
            if length < 12 {
                return;
            }
            let mut answer = buffer[..length].to_vec();
            // One answer, no additional records (the query's EDNS is cut off after the question).
            (answer[2], answer[3]) = (0x81, 0x80);
            answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
            let end = 12 + answer[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            answer.truncate(end);
            let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 77];
            answer.extend_from_slice(&record);
            server.send_to(&answer, client).unwrap();
        }
    });
    (socket, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_resolve_services_and_the_outside() {
    let mut node = TestNode::create();
    let layout = node.mesh.layout.clone();
    let (stop, resolver) = outside();
    let dir = tempfile::tempdir().unwrap();
    let resolv_conf = dir.path().join("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver {resolver}\n")).unwrap();
    let (sender, receiver) = watch::channel(names(&layout, &["web"]));
    let options = DnsOptions {
        resolv_conf: resolv_conf.clone(),
        ..DnsOptions::default()
    };
    let dns = ClusterDns::start(&node.node, receiver, options)
        .await
        .unwrap();
    let pod = node.start(
        "client",
        json!({"containers": [{"name": "a", "command": ["sleep", "1000"]}]}),
    );
    let status = until(&pod, "ready", |status| status.ready).await;
    let ip = layout.plan.service_pool().take().unwrap();
    let resolve = |name: &str| {
        format!(
            "python3 -c 'import socket; print(sorted({{a[4][0] for a in socket.getaddrinfo(\"{name}\", 80)}}))'"
        )
    };
    for name in ["web", "web.shop", "web.shop.svc.cluster.local"] {
        let (code, addresses) = exec(&pod, &resolve(name)).await;
        assert_eq!(
            (code, addresses),
            (0, format!("['{}', '{}']", ip.v4, ip.v6.unwrap())),
            "{name}"
        );
    }
    let (code, _) = exec(&pod, &resolve("none.shop.svc.cluster.local")).await;
    assert_ne!(code, 0);
    // The same through `ip netns exec`, which knows the pod by /etc/netns only.
    let command = format!("ip netns exec {} getent ahostsv4 web", status.netns);
    let (code, _) = tokio::task::spawn_blocking(move || {
        let output = std::process::Command::new("sh")
            .args(["-c", &command])
            .output()
            .unwrap();
        (output.status.code(), output.stdout)
    })
    .await
    .unwrap();
    assert_eq!(code, Some(0));
    let outside = exec(
        &pod,
        "getent ahostsv4 example.com | head -1 | cut -d' ' -f1",
    )
    .await;
    assert_eq!(outside.1, "192.0.2.77");
    // New names are known at once.
    sender.send_replace(names(&layout, &["web", "new"]));
    assert_eq!(exec(&pod, &resolve("new")).await.0, 0);
    // Without a resolver the outside is SERVFAIL at once, not a wait.
    std::fs::write(&resolv_conf, "").unwrap();
    let begun = std::time::Instant::now();
    assert_ne!(exec(&pod, "getent ahostsv4 example.com").await.0, 0);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    drop(dns);
    stop.send_to(b"", stop.local_addr().unwrap()).unwrap();
    pod.stop(Some(std::time::Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_tcp_are_whole_and_nonsense_is_survived() {
    let node = TestNode::create();
    let layout = node.mesh.layout.clone();
    let many: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (_sender, receiver) = watch::channel(names(&layout, &many));
    let _dns = ClusterDns::start(&node.node, receiver, DnsOptions::default())
        .await
        .unwrap();
    let server = layout.plan.dns().v4;
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.unwrap();
    socket.connect((server, 53)).await.unwrap();
    for nonsense in [
        &b""[..],
        b"x",
        &[0xff; 40],
        &[0; 12],
        b"\0\x01\x01\0\xff\xff\0\0\0\0\0\0\xc0\x0c",
    ] {
        socket.send(nonsense).await.unwrap();
    }
    let query = |name: &str| {
        let mut bytes = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.extend_from_slice(b"\0\0\x01\0\x01");
        bytes
    };
    let ask = query("s99.shop.svc.cluster.local");
    socket.send(&ask).await.unwrap();
    let mut answer = [0; 512];
    loop {
        let length = socket.recv(&mut answer).await.unwrap();
        if answer[..2] == [0x12, 0x34] {
            assert_eq!(
                (answer[3] & 15, answer[7]),
                (0, 1),
                "{:?}",
                &answer[..length]
            );
            break;
        }
    }
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect((server, 53)).await.unwrap();
    for _ in 0..2 {
        stream
            .write_u16(u16::try_from(ask.len()).unwrap())
            .await
            .unwrap();
        stream.write_all(&ask).await.unwrap();
        let length = usize::from(stream.read_u16().await.unwrap());
        stream.read_exact(&mut answer[..length]).await.unwrap();
        assert_eq!((answer[3] & 15, answer[7]), (0, 1));
    }
}
