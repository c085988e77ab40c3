//! What a pod's annotations change: one table of keys in three spellings (ours, Istio's,
//! Linkerd's; the first that is set wins, and a different second one is warned of), each value
//! checked. A key under `heddle.io/` that nobody reads is warned of, since it is a typing error.

use std::str::FromStr;

use crate::config::{ImageRef, InjectConfig, LogLevel, ValueError, Workers};
use crate::error::InjectError;
use crate::names;
use crate::view::PodView;

mod keys;
mod lists;
mod quantity;
mod redirect;
mod resources;

use keys::Key;
pub use lists::{CidrChoice, CidrList, PortChoice, PortList};
pub use quantity::Quantity;
pub use redirect::RedirectSettings;
pub use resources::ProxyResources;

/// Between the sidecar's last moment and the kubelet's: closing connections and exporting spans.
const GRACE_MARGIN_SECONDS: u32 = 2;

/// The configuration as it holds for one pod.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) image: ImageRef,
    pub(crate) log_level: LogLevel,
    pub(crate) native_sidecar: bool,
    pub(crate) rewrite_probes: bool,
    pub(crate) merge_metrics: bool,
    pub(crate) resources: ProxyResources,
    pub(crate) redirect: RedirectSettings,
    pub(crate) dns_capture: DnsCapture,
    pub(crate) opaque_ports: Option<PortList>,
    pub(crate) preserve_header_case: bool,
    pub(crate) workers: Workers,
    pub(crate) termination_grace_seconds: u32,
}

/// Whether the sidecar answers the pod's DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DnsCapture {
    /// The pod asks for it: one where that is not possible does not start.
    Always,
    /// The mesh's default.
    WherePossible,
    Never,
}

impl Settings {
    pub(crate) fn read(
        pod: &PodView,
        config: &InjectConfig,
        warnings: &mut Vec<String>,
    ) -> Result<Self, InjectError> {
        let mut annotations = Annotations { pod, warnings };
        annotations.warn_of_unknown();
        annotations.status_port()?;
        let grace = annotations.value(&keys::TERMINATION_GRACE, parse_seconds)?;
        Ok(Self {
            image: annotations
                .parsed(&keys::PROXY_IMAGE)?
                .unwrap_or_else(|| config.image.clone()),
            log_level: annotations
                .parsed(&keys::LOG_LEVEL)?
                .unwrap_or(config.log_level),
            native_sidecar: annotations
                .switch(&keys::NATIVE_SIDECAR)?
                .unwrap_or(config.native_sidecar)
                && config.podman.is_none(),
            rewrite_probes: annotations
                .switch(&keys::REWRITE_PROBES)?
                .unwrap_or(config.rewrite_probes),
            merge_metrics: annotations
                .switch(&keys::MERGE_METRICS)?
                .unwrap_or(config.merge_metrics),
            resources: ProxyResources::read(&mut annotations, &config.resources)?,
            redirect: RedirectSettings::read(&mut annotations, &config.redirect)?,
            dns_capture: match annotations.switch(&keys::DNS_CAPTURE)? {
                Some(true) => DnsCapture::Always,
                None if config.dns_capture => DnsCapture::WherePossible,
                _ => DnsCapture::Never,
            },
            opaque_ports: annotations.parsed(&keys::OPAQUE_PORTS)?,
            preserve_header_case: annotations
                .switch(&keys::PRESERVE_HEADER_CASE)?
                .unwrap_or(false),
            workers: annotations
                .parsed(&keys::WORKERS)?
                .unwrap_or(config.workers),
            termination_grace_seconds: grace.unwrap_or_else(|| default_grace(pod, config)),
        })
    }
}

/// The kubelet kills what is left when the pod's own grace ends: the sidecar has to be done before.
fn default_grace(pod: &PodView, config: &InjectConfig) -> u32 {
    let pods = pod
        .spec
        .termination_grace_period_seconds
        .unwrap_or(names::DEFAULT_GRACE_SECONDS);
    let usable = u32::try_from(pods)
        .unwrap_or(0)
        .saturating_sub(GRACE_MARGIN_SECONDS);
    let longest = config.termination_grace_seconds.unwrap_or(u32::MAX);
    usable.min(longest)
}

fn parse_seconds(text: &str) -> Result<u32, ValueError> {
    text.parse()
        .map_err(|_| ValueError::new(text, "a whole number of seconds"))
}

/// Reads a pod's annotations through the table of keys.
struct Annotations<'a> {
    pod: &'a PodView,
    warnings: &'a mut Vec<String>,
}

/// An annotation that is set, in the spelling used.
struct Found<'a> {
    key: &'static str,
    value: &'a str,
}

impl Found<'_> {
    fn refused(&self, allowed: impl Into<String>) -> InjectError {
        InjectError::BadValue {
            place: "annotation",
            key: self.key.into(),
            value: self.value.into(),
            allowed: allowed.into(),
        }
    }
}

impl<'a> Annotations<'a> {
    fn find(&mut self, key: &Key) -> Option<Found<'a>> {
        let pod = self.pod;
        let mut set = key.spellings().filter_map(|key| {
            Some(Found {
                key,
                value: pod.annotation(key)?.trim(),
            })
        });
        let first = set.next()?;
        for other in set.filter(|other| other.value != first.value) {
            self.warnings.push(format!(
                "annotations {} ({:?}) and {} ({:?}) differ: the first holds",
                first.key, first.value, other.key, other.value
            ));
        }
        Some(first)
    }

    fn value<T>(
        &mut self,
        key: &Key,
        parse: fn(&str) -> Result<T, ValueError>,
    ) -> Result<Option<T>, InjectError> {
        let Some(found) = self.find(key) else {
            return Ok(None);
        };
        parse(found.value)
            .map(Some)
            .map_err(|error| found.refused(error.allowed))
    }

    fn parsed<T: FromStr<Err = ValueError>>(
        &mut self,
        key: &Key,
    ) -> Result<Option<T>, InjectError> {
        self.value(key, str::parse)
    }

    fn switch(&mut self, key: &Key) -> Result<Option<bool>, InjectError> {
        self.value(key, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(ValueError::new(text, "\"true\", \"false\"")),
        })
    }

    /// The sidecar's port for probes and metrics is the same in every pod; a pod that needs it
    /// moved must hear that it is not, instead of failing its probes.
    fn status_port(&mut self) -> Result<(), InjectError> {
        match self.find(&keys::STATUS_PORT) {
            Some(found) if found.value != names::PROBE_PORT.to_string() => {
                Err(found.refused(format!(
                    "{}, which is where Heddle's sidecar answers",
                    names::PROBE_PORT
                )))
            }
            _ => Ok(()),
        }
    }

    fn warn_of_unknown(&mut self) {
        let ours = self
            .pod
            .annotation_keys()
            .filter(|key| key.starts_with("heddle.io/"));
        let unknown: Vec<_> = ours.filter(|key| !keys::is_known(key)).collect();
        for key in unknown {
            self.warnings.push(format!(
                "annotation {key} is not one that Heddle's injector knows, and has no effect"
            ));
        }
    }
}
