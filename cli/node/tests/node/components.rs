use std::{net::SocketAddr, time::Duration};

use heddle_node::{ComponentSpec, ComponentStatus, Components, Ready};
use tokio::{sync::watch, time::timeout};

use crate::support::TestNode;

const WAIT: Duration = Duration::from_secs(20);

async fn until(
    status: &mut watch::Receiver<ComponentStatus>,
    wanted: impl Fn(&ComponentStatus) -> bool,
) -> ComponentStatus {
    let last = status.clone();
    match timeout(WAIT, status.wait_for(|s| wanted(s))).await {
        Ok(status) => status.unwrap().clone(),
        Err(_) => panic!("{:?}", last.borrow().clone()),
    }
}

#[tokio::test]
async fn a_component_is_started_again_until_it_is_stopped() {
    let node = TestNode::create();
    let address = SocketAddr::new(node.mesh.layout.plan.control().v4.into(), 15012);
    let script = "import socket,sys,time; s=socket.create_server((sys.argv[1],15012)); print('up', flush=True); time.sleep(1000)";
    let mut components = Components::new(&node.node);
    let mut control = components.start(ComponentSpec {
        name: "control".into(),
        program: "/usr/bin/python3".into(),
        args: vec!["-c".into(), script.into(), address.ip().to_string()],
        env: vec![("A".into(), "1".into())],
        ready: Ready::Tcp(address),
    });
    let first = until(&mut control, |status| status.ready).await;
    tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(std::fs::read_to_string(&first.log).unwrap(), "up\n");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(first.pid.unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let again = until(&mut control, |s| s.ready && s.pid != first.pid).await;
    assert_eq!(again.restarts, 1);
    assert!(components.stop("control", Duration::from_secs(2)).await);
    let stopped = components.status().remove(0);
    assert!(
        stopped.stopped && stopped.pid.is_none() && !stopped.ready,
        "{stopped:?}"
    );
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert!(components.start_again("control"));
    until(&mut control, |status| status.ready).await;
    assert!(!components.stop("nobody", Duration::ZERO).await);
    let mut wrong = components.start(ComponentSpec {
        name: "wrong".into(),
        program: "/no/such/program".into(),
        args: Vec::new(),
        env: Vec::new(),
        ready: Ready::Running,
    });
    let wrong = until(&mut wrong, |status| status.last_exit.is_some()).await;
    assert!(wrong.reason.unwrap().contains("/no/such/program"));
    components.stop_all(Duration::from_secs(2)).await;
    assert!(
        components
            .status()
            .iter()
            .all(|status| status.pid.is_none())
    );
}
