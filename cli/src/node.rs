//! The small kubelet, a crate of its own so that it builds and is tested apart from the daemon.

pub(crate) use heddle_node::*;
