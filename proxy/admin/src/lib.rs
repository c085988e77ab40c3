//! The sidecar's own endpoints: health, rewritten application probes, metrics, admin.
//!
//! Knows no data path: what it shows and what it sets in motion comes in through [`AdminHandles`]. Only 15000 can
//! change anything, and it listens on loopback alone; what others can reach only reads. The app is asked nothing but
//! what the injector wrote down. Connections, their idle time, answers of the app and probes at once are all bounded.

mod admin;
mod app;
mod checks;
mod explain;
mod handles;
mod health;
mod listen;
mod merge;
mod metrics;
mod probe;
mod serve;
mod settings;

pub use checks::{AppChecks, AppMetrics, Invalid};
pub use handles::{AdminHandles, Answer, Asked, Drained, NoAnswer, Readiness, Slot};
pub use listen::Error;
pub use serve::{Bound, bind, serve};
pub use settings::{ADMIN_PORT, APP_PORT, AdminSettings, HEALTH_PORT, METRICS_PORT, Ports};
