use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use heddle_node::{AddressPool, Layout, PodNames, PodSandbox};

use crate::support::{TestMesh, connects, inside, listener, sh, unique_name};

fn pod(layout: &Layout, pool: &mut AddressPool, name: &str) -> PodSandbox {
    let names = PodNames {
        namespace: "shop".into(),
        name: name.into(),
        hostname: name.into(),
        subdomain: None,
        cluster_domain: "cluster.local".into(),
    };
    PodSandbox::create(layout, names, pool.take().unwrap()).unwrap()
}

#[test]
fn pods_reach_each_other_and_the_machine_reaches_them() {
    let mesh = TestMesh::create();
    let mut pool = mesh.layout.plan.pod_pool();
    let one = pod(&mesh.layout, &mut pool, "one");
    let start = Instant::now();
    let two = pod(&mesh.layout, &mut pool, "two");
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(500),
        "a pod's network took {took:?}"
    );
    println!("a pod's network took {took:?}");
    assert_eq!(one.netns, format!("heddle-{}-shop-one", mesh.layout.mesh));
    for ip in two.ip.all() {
        let listener = listener(&two.netns, ip);
        let address = listener.local_addr().unwrap();
        assert!(
            inside(&one.netns, || connects(address)),
            "{address} from another pod"
        );
        assert!(connects(address), "{address} from the machine");
    }
    let node = mesh.layout.node_netns();
    let plan = &mesh.layout.plan;
    for ip in plan.dns().all() {
        let listener = listener(&node, ip);
        let address = listener.local_addr().unwrap();
        assert!(
            inside(&one.netns, || connects(address)),
            "{address} from a pod"
        );
        assert!(connects(address), "{address} from the machine");
    }
    for ip in plan.link_host().all() {
        let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(
            inside(&one.netns, || connects(address)),
            "{address} on the machine from a pod"
        );
    }
    let resolv = sh(&format!("ip netns exec {} cat /etc/resolv.conf", one.netns));
    assert!(
        resolv.contains(&format!("nameserver {}", mesh.layout.plan.dns().v4)),
        "{resolv}"
    );
    assert!(resolv.contains("search shop.svc.cluster.local svc.cluster.local cluster.local"));
    two.remove().unwrap();
    assert!(!std::path::Path::new("/run/netns").join(&two.netns).exists());
    let again = PodSandbox::create(&mesh.layout, two.names.clone(), two.ip).unwrap();
    let listener = listener(&again.netns, again.ip.v4.into());
    let address = listener.local_addr().unwrap();
    assert!(
        inside(&one.netns, || connects(address)),
        "{address} when it is another pod's"
    );
}

#[test]
fn meshes_made_at_the_same_time_share_nothing() {
    let meshes: Vec<TestMesh> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(TestMesh::create)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut indexes: Vec<u8> = meshes.iter().map(|mesh| mesh.layout.plan.index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 4);
}

#[test]
fn destroy_ends_what_was_left_running_and_leaves_nothing() {
    let mesh = unique_name();
    let guard = TestMesh::named(&mesh);
    let layout = guard.layout.clone();
    let other = TestMesh::named(&format!("{mesh}-b").parse().unwrap());
    let sandbox = pod(&layout, &mut layout.plan.pod_pool(), "p");
    // A stubborn process, as after `kill -9` of the daemon; and a polite one in the node itself.
    let spawn = |netns: &str, script: &str| {
        Command::new("ip")
            .args(["netns", "exec", netns, "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut stubborn = spawn(
        &sandbox.netns,
        "trap '' TERM; echo ready; while :; do sleep 1; done",
    );
    let mut first = [0_u8; 5];
    std::io::Read::read_exact(stubborn.stdout.as_mut().unwrap(), &mut first).unwrap();
    let mut polite = spawn(&layout.node_netns(), "sleep 1000");
    heddle_node::destroy(&mesh).unwrap();
    assert!(!stubborn.wait().unwrap().success());
    assert!(!polite.wait().unwrap().success());
    let left = sh(&format!(
        "ls -d /run/netns/heddle-{mesh} /run/netns/heddle-{mesh}-shop-* /etc/netns/heddle-{mesh}* \
         /run/heddle/{mesh} /sys/class/net/{} 2>/dev/null || true; ip route | grep {} || true",
        layout.root_veth(),
        layout.plan.pods_v4(),
    ));
    assert_eq!(left, "");
    assert!(
        Layout::load(&mesh)
            .unwrap_err()
            .to_string()
            .contains("no mesh")
    );
    let listener = listener(
        &other.layout.node_netns(),
        other.layout.plan.dns().v4.into(),
    );
    assert!(
        connects(listener.local_addr().unwrap()),
        "a mesh with a longer name is untouched"
    );
    heddle_node::destroy(&mesh).unwrap();
}

#[test]
fn a_name_that_another_mesh_uses_is_left_alone() {
    let mesh = TestMesh::create();
    let longer = TestMesh::named(&format!("{}-shop-p", mesh.layout.mesh).parse().unwrap());
    let names = PodNames {
        namespace: "shop".into(),
        name: "p".into(),
        hostname: "p".into(),
        subdomain: None,
        cluster_domain: "cluster.local".into(),
    };
    let ip = mesh.layout.plan.pod_pool().take().unwrap();
    let error = PodSandbox::create(&mesh.layout, names, ip)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is there already and not this mesh's"),
        "{error}"
    );
    assert!(
        std::path::Path::new("/run/netns")
            .join(longer.layout.node_netns())
            .exists()
    );
    drop(mesh);
    let listener = listener(
        &longer.layout.node_netns(),
        longer.layout.plan.dns().v4.into(),
    );
    assert!(
        connects(listener.local_addr().unwrap()),
        "destroying the one left the other alone"
    );
}
