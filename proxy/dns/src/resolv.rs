//! The pod's resolv.conf: whom to ask, and which domains the application's resolver appends.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// As many as libc asks.
const SERVERS: usize = 3;
/// As many as any libc appends.
const SEARCH: usize = 32;
/// A pod's file hardly ever changes.
const FRESH: Duration = Duration::from_secs(5);
const PORT: u16 = 53;

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Conf {
    pub(crate) servers: Vec<SocketAddr>,
    /// Lower-case, without dots at the ends.
    pub(crate) search: Vec<String>,
}

/// The file, read anew when it may have changed.
pub(crate) struct ResolvConf {
    path: PathBuf,
    last: Mutex<Option<(Instant, Arc<Conf>)>>,
}

impl ResolvConf {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::default(),
        }
    }

    /// What it says; what it said before when it cannot be read.
    pub(crate) fn current(&self) -> Arc<Conf> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, conf)) = &*last
            && read.elapsed() < FRESH
        {
            return Arc::clone(conf);
        }
        let conf = match (fs::read_to_string(&self.path), &*last) {
            (Ok(text), _) => Arc::new(parse(&text)),
            (Err(_), Some((_, before))) => Arc::clone(before),
            (Err(error), None) => {
                tracing::warn!(path = %self.path.display(), %error, "no resolvers are known: names outside the mesh cannot be answered");
                Arc::default()
            }
        };
        *last = Some((Instant::now(), Arc::clone(&conf)));
        conf
    }
}

fn parse(text: &str) -> Conf {
    let mut conf = Conf::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if conf.servers.len() < SERVERS => {
                conf.servers.extend(words.next().and_then(server));
            }
            // The last line holds, as in libc.
            Some("search" | "domain") => {
                let domain = |word: &str| word.trim_matches('.').to_ascii_lowercase();
                conf.search = words
                    .map(domain)
                    .filter(|domain| !domain.is_empty())
                    .take(SEARCH)
                    .collect();
            }
            _ => {}
        }
    }
    conf
}

/// An address, of a zone where it is link-local; a port is for resolvers that are not a pod's.
fn server(word: &str) -> Option<SocketAddr> {
    if let Some((ip, zone)) = word.split_once('%') {
        let ip: Ipv6Addr = ip.parse().ok()?;
        return Some(SocketAddrV6::new(ip, PORT, 0, index(zone)?).into());
    }
    let ip = word.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    ip.or(word.parse()).ok()
}

/// The number of an interface.
fn index(zone: &str) -> Option<u32> {
    let named = || {
        // A name is one component of a path, or it is none.
        let name = Path::new(zone).file_name().filter(|name| *name == zone)?;
        let file = Path::new("/sys/class/net").join(name).join("ifindex");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    zone.parse().ok().or_else(named)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn servers_and_search_are_those_of_the_file() {
        let conf = parse(
            "# x\nsearch old\nsearch default.svc.Cluster.local. svc.cluster.local\n\
             nameserver 192.0.2.1\nnameserver ::1\nnameserver what\nnameserver fe80::1%1\n\
             nameserver 127.0.0.1:5353\noptions ndots:5\n",
        );
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(
            conf.search,
            ["default.svc.cluster.local", "svc.cluster.local"]
        );
        assert_eq!(server("127.0.0.1:5353"), "127.0.0.1:5353".parse().ok());
        assert_eq!(server("fe80::1%../lo"), None);
        assert_eq!(index("lo"), Some(1));
    }

    #[test]
    fn a_file_that_goes_away_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let file = ResolvConf::new(path.clone());
        assert_eq!(*file.current(), Conf::default());
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        file.last.lock().unwrap().take();
        assert_eq!(file.current().servers.len(), 1);
        fs::remove_file(&path).unwrap();
        file.last.lock().unwrap().as_mut().unwrap().0 -= FRESH;
        assert_eq!(file.current().servers.len(), 1);
    }
}
