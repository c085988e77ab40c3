//! The data plane: a sidecar proxy, and the redirect that leads a pod's traffic to it.
