//! A mesh's network: the node namespace with its bridge, and the way to it from the machine.
//!
//! The root namespace gets one veth end and routes to the mesh's own ranges, nothing else: no rule,
//! no forwarding. The node namespace forwards between that link and the bridge, and answers on the
//! system Service IPs. Made under the machine-wide lock; what fails halfway is taken away again.

use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt as _, path::Path, process};

use ipnet::IpNet;

use crate::{
    AddressPlan, DualIp, Layout, MeshName, NodeError,
    address::INDEXES,
    destroy, ip,
    layout::{STATE_ROOT, state_dir},
    lock::MeshLock,
    netns,
};

/// The bridge's name in the node namespace.
pub(crate) const BRIDGE: &str = "pods";
/// The node's end of the link to the root namespace.
const UPLINK: &str = "host";

/// Makes a mesh's state directory, chooses its addresses and makes its node namespace.
///
/// What a mesh of the same name left behind is removed first: the caller makes sure that its daemon
/// does not live any more.
pub fn create(mesh: &MeshName) -> Result<Layout, NodeError> {
    crate::privilege::require()?;
    let lock = MeshLock::take()?;
    destroy::remove(mesh)?;
    let layout = Layout {
        mesh: mesh.clone(),
        plan: choose_plan(mesh)?,
    };
    let made = write_layout(&layout).and_then(|()| make(&layout));
    if let Err(error) = made {
        // The first error is the one to report; `heddle down` finishes what this cannot.
        let _ = destroy::remove(mesh);
        lock.release_last();
        return Err(error);
    }
    Ok(layout)
}

fn make(layout: &Layout) -> Result<(), NodeError> {
    let netns = layout.node_netns();
    let plan = &layout.plan;
    destroy::claim_netns(&layout.mesh, &netns)?;
    netns::create_with_ip(&netns)?;
    let link = format!(
        "link add {} type veth peer name {UPLINK} netns {netns}",
        layout.root_veth()
    );
    ip::batch(&[link])?;
    netns::enter(&netns, || {
        netns::sysctl("net.ipv4.ip_forward", "1")?;
        netns::sysctl("net.ipv4.ip_unprivileged_port_start", "0")?;
        if plan.ipv6 {
            netns::sysctl("net.ipv6.conf.all.forwarding", "1")?;
            no_duplicate_address_detection()?;
        }
        ip::batch(&node_lines(plan))
    })?;
    ip::batch(&root_lines(layout))
}

/// A pod's address is usable at once: we hand each out only once.
pub(crate) fn no_duplicate_address_detection() -> Result<(), NodeError> {
    for interfaces in ["all", "default"] {
        netns::sysctl(&format!("net.ipv6.conf.{interfaces}.accept_dad"), "0")?;
        netns::sysctl(&format!("net.ipv6.conf.{interfaces}.accept_ra"), "0")?;
    }
    Ok(())
}

fn node_lines(plan: &AddressPlan) -> Vec<String> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        // A fixed address: else it follows the ports, and every pod's ARP entry goes stale.
        format!(
            "link add {BRIDGE} address {} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            bridge_mac(plan)
        ),
        format!("link set {BRIDGE} up"),
    ];
    add_addresses(&mut lines, plan.gateway(), (16, 64), BRIDGE);
    add_addresses(&mut lines, plan.link_node(), (30, 126), UPLINK);
    lines.push(format!("link set {UPLINK} up"));
    for service in plan.system_services() {
        add_addresses(&mut lines, service, (32, 128), "lo");
    }
    lines
}

fn root_lines(layout: &Layout) -> Vec<String> {
    let plan = &layout.plan;
    let veth = layout.root_veth();
    let mut lines = Vec::new();
    add_addresses(&mut lines, plan.link_host(), (30, 126), &veth);
    lines.push(format!("link set {veth} up"));
    let via = plan.link_node();
    for net in [plan.pods_v4(), plan.services_v4()] {
        lines.push(format!("route add {net} via {} dev {veth}", via.v4));
    }
    if let Some(via) = via.v6 {
        for net in [plan.pods_v6(), plan.services_v6()].into_iter().flatten() {
            lines.push(format!("route add {net} via {via} dev {veth}"));
        }
    }
    lines
}

/// `ip` lines that give an interface both addresses.
pub(crate) fn add_addresses(lines: &mut Vec<String>, ip: DualIp, prefix: (u8, u8), device: &str) {
    lines.push(format!("addr add {}/{} dev {device}", ip.v4, prefix.0));
    if let Some(v6) = ip.v6 {
        lines.push(format!("addr add {v6}/{} dev {device} nodad", prefix.1));
    }
}

fn bridge_mac(plan: &AddressPlan) -> String {
    format!("02:68:65:64:{:02x}:01", plan.index)
}

fn write_layout(layout: &Layout) -> Result<(), NodeError> {
    let dir = layout.state_dir();
    for (path, mode) in [
        (dir.clone(), 0o755),
        (dir.join("pods"), 0o700),
        (layout.keys_dir(), 0o700),
        (layout.log_dir(), 0o755),
    ] {
        fs::create_dir_all(&path).map_err(NodeError::file("make", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(NodeError::file("set the mode of", &path))?;
    }
    let path = dir.join("layout.json");
    let text =
        serde_json::to_string(layout).map_err(|e| NodeError::file("write", &path)(e.into()))?;
    fs::write(&path, text).map_err(NodeError::file("write", path))
}

/// The first index whose ranges neither this machine nor another mesh uses.
fn choose_plan(mesh: &MeshName) -> Result<AddressPlan, NodeError> {
    let ipv6 = has_ipv6();
    let mut used = routes(&ip::output(&["-4", "route", "show", "table", "all"])?);
    used.extend(routes(&ip::output(&[
        "-6", "route", "show", "table", "all",
    ])?));
    used.extend(other_meshes(mesh).iter().flat_map(ranges));
    // Meshes started by different people on one machine rarely get the same addresses in turn.
    let start = u8::try_from(process::id() % 32).unwrap_or(0);
    (0..INDEXES)
        .map(|n| if n < 32 { (start + n) % 32 } else { n })
        .map(|index| AddressPlan::new(index, ipv6))
        .find(|plan| {
            ranges(plan)
                .iter()
                .all(|range| !used.iter().any(|u| overlap(range, u)))
        })
        .ok_or_else(|| NodeError::NoRange {
            mesh: mesh.to_string(),
            tried: usize::from(INDEXES),
        })
}

fn has_ipv6() -> bool {
    let read = |file: &str| fs::read_to_string(Path::new("/proc/sys/net/ipv6/conf").join(file));
    read("default/disable_ipv6").is_ok_and(|value| value.trim() == "0")
}

fn other_meshes(mesh: &MeshName) -> Vec<AddressPlan> {
    let Ok(entries) = fs::read_dir(STATE_ROOT) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<MeshName>().ok())
        .filter(|other| other != mesh && state_dir(other).is_dir())
        .filter_map(|other| Layout::load(&other).ok())
        .map(|layout| layout.plan)
        .collect()
}

fn ranges(plan: &AddressPlan) -> Vec<IpNet> {
    let v4 = [plan.pods_v4(), plan.services_v4()].map(IpNet::V4);
    let v6 = [plan.pods_v6(), plan.services_v6()]
        .into_iter()
        .flatten()
        .map(IpNet::V6);
    v4.into_iter().chain(v6).collect()
}

/// The destinations in the output of `ip route show table all`; default routes use no range.
fn routes(text: &str) -> Vec<IpNet> {
    let kinds = [
        "local",
        "broadcast",
        "unreachable",
        "anycast",
        "multicast",
        "blackhole",
        "prohibit",
    ];
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| !kinds.contains(word)))
        .filter_map(|word| {
            word.parse()
                .ok()
                .or_else(|| Some(word.parse::<IpAddr>().ok()?.into()))
        })
        .filter(|net: &IpNet| net.prefix_len() > 0)
        .collect()
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_kind_of_route_keeps_its_range_from_us() {
        let text = "default via 192.0.2.1 dev eth0 \n10.0.0.0/8 via 192.0.2.9 dev tun0\n\
                    local 100.64.3.4 dev lo table local scope host\n\
                    unreachable fd68:6564:646c:4::/64 dev lo metric 1024\nmulticast ff00::/8 dev eth0\n";
        let used = routes(text);
        assert_eq!(used.len(), 4, "{used:?}");
        let plan = |index| ranges(&AddressPlan::new(index, true));
        let free = |index| {
            plan(index)
                .iter()
                .all(|range| !used.iter().any(|u| overlap(range, u)))
        };
        assert!(!free(0), "10/8 covers it");
        assert!(!free(32), "100.64.0.0/16 has an address of the machine");
        assert!(free(33) && free(40));
    }
}
