//! Which ports the endpoints have, and what the injector wrote down about the app.

use std::net::IpAddr;

use crate::checks::{AppChecks, AppMetrics};

/// Status, configuration, drain and quit; on loopback only.
pub const ADMIN_PORT: u16 = 15000;
/// Merged metrics and the app's probes.
pub const APP_PORT: u16 = 15020;
/// The sidecar's health.
pub const HEALTH_PORT: u16 = 15021;
/// The sidecar's metrics.
pub const METRICS_PORT: u16 = 15090;

/// The ports of the endpoints; 0 takes a free one, for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// See [`ADMIN_PORT`].
    pub admin: u16,
    /// See [`APP_PORT`].
    pub app: u16,
    /// See [`HEALTH_PORT`].
    pub health: u16,
    /// See [`METRICS_PORT`].
    pub metrics: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            admin: ADMIN_PORT,
            app: APP_PORT,
            health: HEALTH_PORT,
            metrics: METRICS_PORT,
        }
    }
}

/// What the endpoints are told at the start.
#[derive(Clone, Debug, Default)]
pub struct AdminSettings {
    /// Where they listen.
    pub ports: Ports,
    /// Where the app is, as the kubelet sees it; loopback when it is not known.
    pub pod_ip: Option<IpAddr>,
    /// The app's probes (HEDDLE_APP_PROBES).
    pub app_probes: AppChecks,
    /// The app's hooks (HEDDLE_APP_LIFECYCLE).
    pub app_lifecycle: AppChecks,
    /// The app's metrics (HEDDLE_APP_METRICS).
    pub app_metrics: Option<AppMetrics>,
}
