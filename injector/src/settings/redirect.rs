//! Which traffic the init step redirects: the mesh's defaults, changed key by key by annotations,
//! handed to `heddle-proxy redirect` as `HEDDLE_REDIRECT_*`. What is not set is left to it.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::keys::{self, Key};
use super::{Annotations, CidrChoice, CidrList, PortChoice, PortList};
use crate::config::ValueError;
use crate::error::InjectError;

/// Settings of the redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RedirectSettings {
    /// Destinations that are redirected; `*` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_outbound_cidrs: Option<CidrChoice>,
    /// Destinations that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_outbound_cidrs: Option<CidrList>,
    /// Inbound ports that are redirected; `*` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_inbound_ports: Option<PortChoice>,
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
        let d = defaults;
        Ok(Self {
            include_outbound_cidrs: either(
                annotations,
                &keys::INCLUDE_OUTBOUND_CIDRS,
                &d.include_outbound_cidrs,
            )?,
            exclude_outbound_cidrs: either(
                annotations,
                &keys::EXCLUDE_OUTBOUND_CIDRS,
                &d.exclude_outbound_cidrs,
            )?,
            include_inbound_ports: either(
                annotations,
                &keys::INCLUDE_INBOUND_PORTS,
                &d.include_inbound_ports,
            )?,
            exclude_inbound_ports: either(
                annotations,
                &keys::EXCLUDE_INBOUND_PORTS,
                &d.exclude_inbound_ports,
            )?,
            include_outbound_ports: either(
                annotations,
                &keys::INCLUDE_OUTBOUND_PORTS,
                &d.include_outbound_ports,
            )?,
            exclude_outbound_ports: either(
                annotations,
                &keys::EXCLUDE_OUTBOUND_PORTS,
                &d.exclude_outbound_ports,
            )?,
        })
    }

    /// Environment of the init step, in a fixed order.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        [
            (
                "HEDDLE_REDIRECT_INCLUDE_OUTBOUND_CIDRS",
                text(&self.include_outbound_cidrs),
            ),
            (
                "HEDDLE_REDIRECT_EXCLUDE_OUTBOUND_CIDRS",
                text(&self.exclude_outbound_cidrs),
            ),
            (
                "HEDDLE_REDIRECT_INCLUDE_INBOUND_PORTS",
                text(&self.include_inbound_ports),
            ),
            (
                "HEDDLE_REDIRECT_EXCLUDE_INBOUND_PORTS",
                text(&self.exclude_inbound_ports),
            ),
            (
                "HEDDLE_REDIRECT_INCLUDE_OUTBOUND_PORTS",
                text(&self.include_outbound_ports),
            ),
            (
                "HEDDLE_REDIRECT_EXCLUDE_OUTBOUND_PORTS",
                text(&self.exclude_outbound_ports),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

fn either<T: FromStr<Err = ValueError> + Clone>(
    annotations: &mut Annotations<'_>,
    key: &Key,
    default: &Option<T>,
) -> Result<Option<T>, InjectError> {
    Ok(annotations.parsed(key)?.or_else(|| default.clone()))
}

fn text(list: &Option<impl Display>) -> Option<String> {
    list.as_ref().map(ToString::to_string)
}
