//! What a host in a route means. A name without a dot is short for a service of the resource's own
//! namespace; `NAME.NS.svc` and `NAME.NS.svc.DOMAIN` name a service; `*` and `*.REST` are patterns
//! over full names; everything else is outside of the cluster: a ServiceEntry's, if anybody's.
//!
//! A service whose name has a dot is a host of a ServiceEntry. Routes and rules for such hosts are filed
//! under `*/HOST`, whichever namespace the entry is in.

use crate::name::NsName;

#[derive(Clone, Copy)]
pub(super) struct Hosts<'a> {
    pub(super) cluster_domain: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host {
    Service(NsName),
    /// What a full name must end with; empty: every name.
    Pattern(Box<str>),
    /// In small letters.
    External(Box<str>),
}

impl Host {
    /// Where routes and rules that name it are filed; None: they are patterns.
    pub(super) fn filed(&self) -> Option<NsName> {
        match self {
            Self::Service(name) => Some(name.clone()),
            Self::External(host) => NsName::new(ANYWHERE, host),
            Self::Pattern(_) => None,
        }
    }
}

/// Where routes and rules of a service are filed.
pub(super) fn filed(service: &NsName) -> NsName {
    let external = is_external(service).then(|| NsName::new(ANYWHERE, service.name()));
    external.flatten().unwrap_or_else(|| service.clone())
}

/// Whether a service is a host of a ServiceEntry.
pub(super) fn is_external(service: &NsName) -> bool {
    service.name().contains('.')
}

const ANYWHERE: &str = "*";

impl Hosts<'_> {
    /// `host` as the resource in `namespace` means it.
    pub(super) fn resolve(self, host: &str, namespace: &str) -> Host {
        let host = host.to_ascii_lowercase();
        if let Some(rest) = host.strip_prefix('*') {
            return Host::Pattern(rest.into());
        }
        if !host.contains('.') {
            let name = NsName::new(namespace, &host);
            return name.map_or_else(|| Host::External(host.into()), Host::Service);
        }
        let short = host
            .strip_suffix(self.cluster_domain)
            .and_then(|short| short.strip_suffix('.'))
            .unwrap_or(&host);
        match short
            .strip_suffix(".svc")
            .and_then(|short| short.split_once('.'))
        {
            Some((name, namespace)) if !namespace.contains('.') => {
                let name = NsName::new(namespace, name);
                name.map_or_else(|| Host::External(host.into()), Host::Service)
            }
            _ => Host::External(host.into()),
        }
    }

    /// The full name of a service.
    pub(super) fn full_name(self, service: &NsName) -> String {
        if is_external(service) {
            return service.name().to_owned();
        }
        format!(
            "{}.{}.svc.{}",
            service.name(),
            service.namespace(),
            self.cluster_domain
        )
    }

    /// Every name of a service, the full one first.
    pub(super) fn names(self, service: &NsName) -> Vec<String> {
        let (name, namespace) = (service.name(), service.namespace());
        if is_external(service) {
            return vec![name.to_owned()];
        }
        vec![
            self.full_name(service),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}"),
            name.to_owned(),
        ]
    }

    /// Whether a pattern's suffix covers the service.
    pub(super) fn covers(self, suffix: &str, service: &NsName) -> bool {
        suffix.is_empty() || self.full_name(service).ends_with(suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_mean_what_the_specification_says() {
        let hosts = Hosts {
            cluster_domain: "cluster.local",
        };
        let service = |name: &str| Host::Service(NsName::parse(name).expect("valid"));
        for (host, meaning) in [
            ("reviews", service("shop/reviews")),
            ("Reviews", service("shop/reviews")),
            ("reviews.other.svc", service("other/reviews")),
            ("reviews.other.svc.cluster.local", service("other/reviews")),
            ("Example.com", Host::External("example.com".into())),
            (
                "a.b.c.svc.cluster.local",
                Host::External("a.b.c.svc.cluster.local".into()),
            ),
            (
                "reviews.other.svc.elsewhere",
                Host::External("reviews.other.svc.elsewhere".into()),
            ),
            ("*", Host::Pattern("".into())),
            (
                "*.shop.svc.cluster.local",
                Host::Pattern(".shop.svc.cluster.local".into()),
            ),
        ] {
            assert_eq!(hosts.resolve(host, "shop"), meaning, "{host}");
        }
    }
}
