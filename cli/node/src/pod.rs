//! A pod's sandbox: its network namespace, its addresses, and the files that name it.
//!
//! The namespace is one veth pair away from the node's bridge. `ip netns exec` finds the pod's
//! resolver in /etc/netns, containers get the same files mounted. Taking the sandbox away ends
//! whatever still runs in it.

use std::{fs, path::PathBuf};

use crate::{
    DualIp, Layout, NodeError, destroy, ip, netns,
    network::{BRIDGE, add_addresses, no_duplicate_address_detection},
};

/// What a pod is called in its own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNames {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What `hostname` answers; its name unless its spec says otherwise.
    pub hostname: String,
    /// The headless Service it belongs to, for its full name.
    pub subdomain: Option<String>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
}

/// One pod's namespace and the files beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSandbox {
    /// The namespace's name in /run/netns.
    pub netns: String,
    /// Its addresses.
    pub ip: DualIp,
    /// What it is called.
    pub names: PodNames,
    layout: Layout,
}

impl PodSandbox {
    /// Makes the namespace, joined to the bridge; blocks for some milliseconds.
    pub fn create(layout: &Layout, names: PodNames, ip: DualIp) -> Result<Self, NodeError> {
        let netns = layout.pod_netns(&names.namespace, &names.name);
        let sandbox = Self {
            netns,
            ip,
            names,
            layout: layout.clone(),
        };
        sandbox.make_room()?;
        destroy::claim_netns(&layout.mesh, &sandbox.netns)?;
        let made = sandbox.make();
        if made.is_err() {
            // The first error is the one to report.
            let _ = sandbox.remove();
        }
        made.map(|()| sandbox)
    }

    /// Ends what still runs in the namespace and removes it; blocks until then.
    pub fn remove(&self) -> Result<(), NodeError> {
        destroy::end_processes(std::slice::from_ref(&self.netns))?;
        // A namespace's links go when the kernel gets to it; this one's address may be needed sooner.
        let _ = ip::batch_in(
            &self.layout.node_netns(),
            &[format!("link delete {}", self.veth())],
        );
        netns::delete(&self.netns)?;
        destroy::disclaim_netns(&self.layout.mesh, &self.netns);
        Ok(())
    }

    /// The directory with this pod's resolv.conf, hosts and hostname.
    pub fn etc(&self) -> PathBuf {
        PathBuf::from(netns::ETC_NETNS).join(&self.netns)
    }

    /// What an earlier pod of the same name left is ours to remove; another mesh's is not.
    fn make_room(&self) -> Result<(), NodeError> {
        if !netns::path(&self.netns).exists() {
            return Ok(());
        }
        if destroy::is_claimed(&self.layout.mesh, &self.netns) {
            return self.remove();
        }
        Err(NodeError::Name {
            kind: "network namespace",
            name: self.netns.clone(),
            reason: "is there already and not this mesh's; name the mesh or the pod differently, \
                     or remove it (`ip netns delete`)"
                .into(),
        })
    }

    fn make(&self) -> Result<(), NodeError> {
        self.write_etc()?;
        let plan = &self.layout.plan;
        let node = self.layout.node_netns();
        let veth = self.veth();
        netns::create(&self.netns, || {
            if plan.ipv6 {
                no_duplicate_address_detection()?;
            }
            // As container runtimes do: the pod's ports are nobody else's.
            netns::sysctl("net.ipv4.ip_unprivileged_port_start", "0")?;
            netns::sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
            let mut lines = vec![
                "link set lo up".to_owned(),
                format!(
                    "link add eth0 address {} type veth peer name {veth} netns {node}",
                    self.mac()
                ),
            ];
            add_addresses(&mut lines, self.ip, (16, 64), "eth0");
            lines.push("link set eth0 up".to_owned());
            lines.push(format!("route add default via {}", plan.gateway().v4));
            if let (Some(_), Some(gateway)) = (self.ip.v6, plan.gateway().v6) {
                lines.push(format!("route add ::/0 via {gateway} dev eth0"));
            }
            ip::batch(&lines)
        })?;
        ip::batch_in(&node, &[format!("link set {veth} master {BRIDGE} up")])
    }

    fn write_etc(&self) -> Result<(), NodeError> {
        let dir = self.etc();
        fs::create_dir_all(&dir).map_err(NodeError::file("make", &dir))?;
        for (file, text) in [
            ("resolv.conf", self.resolv_conf()),
            ("hosts", self.hosts()),
            ("hostname", format!("{}\n", self.names.hostname)),
        ] {
            let path = dir.join(file);
            fs::write(&path, text).map_err(NodeError::file("write", path))?;
        }
        Ok(())
    }

    fn resolv_conf(&self) -> String {
        let PodNames {
            namespace,
            cluster_domain,
            ..
        } = &self.names;
        format!(
            "nameserver {}\nsearch {namespace}.svc.{cluster_domain} svc.{cluster_domain} {cluster_domain}\noptions ndots:5\n",
            self.layout.plan.dns().v4
        )
    }

    fn hosts(&self) -> String {
        let PodNames {
            namespace,
            hostname,
            subdomain,
            cluster_domain,
            ..
        } = &self.names;
        let own = match subdomain {
            Some(sub) => format!("{hostname}.{sub}.{namespace}.svc.{cluster_domain} {hostname}"),
            None => hostname.clone(),
        };
        let mut text = "127.0.0.1 localhost\n".to_owned();
        if self.ip.v6.is_some() {
            text.push_str("::1 localhost ip6-localhost ip6-loopback\n");
        }
        for ip in self.ip.all() {
            text.push_str(&format!("{ip} {own}\n"));
        }
        text
    }

    /// The bridge's end; its name follows from the address, unique in the node namespace.
    fn veth(&self) -> String {
        let [_, _, high, low] = self.ip.v4.octets();
        format!("pod-{high}-{low}")
    }

    /// Follows from the address, so that neighbours who know the one know the other when the
    /// address becomes another pod's.
    fn mac(&self) -> String {
        let [a, b, c, d] = self.ip.v4.octets();
        format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}
