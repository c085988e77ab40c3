//! Which traffic the init step redirects: the mesh's defaults, changed key by key by annotations,
//! handed to `heddle-proxy redirect` as `HEDDLE_REDIRECT_*`. What is not set is left to it.

use serde::{Deserialize, Serialize};

use super::{Annotations, CidrList, PortList, keys};
use crate::error::InjectError;

/// Settings of the redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RedirectSettings {
    /// Destinations that are redirected; `*` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_outbound_cidrs: Option<CidrList>,
    /// Destinations that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_outbound_cidrs: Option<CidrList>,
    /// Inbound ports that are redirected; `*` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_inbound_ports: Option<PortList>,
    /// Inbound ports that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_inbound_ports: Option<PortList>,
    /// Outbound ports that are redirected whatever the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_outbound_ports: Option<PortList>,
    /// Outbound ports that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_outbound_ports: Option<PortList>,
}

impl RedirectSettings {
    pub(super) fn read(
        annotations: &mut Annotations<'_>,
        defaults: &Self,
    ) -> Result<Self, InjectError> {
        let mut settings = defaults.clone();
        for (key, cidrs) in [
            (
                &keys::INCLUDE_OUTBOUND_CIDRS,
                &mut settings.include_outbound_cidrs,
            ),
            (
                &keys::EXCLUDE_OUTBOUND_CIDRS,
                &mut settings.exclude_outbound_cidrs,
            ),
        ] {
            if let Some(set) = annotations.parsed(key)? {
                *cidrs = Some(set);
            }
        }
        for (key, ports) in [
            (
                &keys::INCLUDE_INBOUND_PORTS,
                &mut settings.include_inbound_ports,
            ),
            (
                &keys::EXCLUDE_INBOUND_PORTS,
                &mut settings.exclude_inbound_ports,
            ),
            (
                &keys::INCLUDE_OUTBOUND_PORTS,
                &mut settings.include_outbound_ports,
            ),
            (
                &keys::EXCLUDE_OUTBOUND_PORTS,
                &mut settings.exclude_outbound_ports,
            ),
        ] {
            if let Some(set) = annotations.parsed(key)? {
                *ports = Some(set);
            }
        }
        Ok(settings)
    }

    /// Environment of the init step, in a fixed order.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let cidrs = |list: &Option<CidrList>| list.as_ref().map(ToString::to_string);
        let ports = |list: &Option<PortList>| list.as_ref().map(ToString::to_string);
        [
            (
                "HEDDLE_REDIRECT_INCLUDE_OUTBOUND_CIDRS",
                cidrs(&self.include_outbound_cidrs),
            ),
            (
                "HEDDLE_REDIRECT_EXCLUDE_OUTBOUND_CIDRS",
                cidrs(&self.exclude_outbound_cidrs),
            ),
            (
                "HEDDLE_REDIRECT_INCLUDE_INBOUND_PORTS",
                ports(&self.include_inbound_ports),
            ),
            (
                "HEDDLE_REDIRECT_EXCLUDE_INBOUND_PORTS",
                ports(&self.exclude_inbound_ports),
            ),
            (
                "HEDDLE_REDIRECT_INCLUDE_OUTBOUND_PORTS",
                ports(&self.include_outbound_ports),
            ),
            (
                "HEDDLE_REDIRECT_EXCLUDE_OUTBOUND_PORTS",
                ports(&self.exclude_outbound_ports),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}
