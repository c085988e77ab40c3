//! Nodes: only where they are.

use super::labels::Labels;

/// Label of a node's region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Label of a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label of a part of a zone.
pub const SUBZONE: &str = "topology.istio.io/subzone";

/// A node, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// "REGION/ZONE/SUBZONE", or nothing.
    pub locality: Box<str>,
}

/// The place that labels name; empty: none.
pub fn place(labels: &Labels) -> String {
    let part = |key: &str| labels.get(key).unwrap_or_default();
    let (region, zone, subzone) = (part(REGION), part(ZONE), part(SUBZONE));
    if region.is_empty() && zone.is_empty() && subzone.is_empty() {
        return String::new();
    }
    let whole = format!("{region}/{zone}/{subzone}");
    whole.trim_end_matches('/').to_owned()
}
