//! Wire types of the mesh, generated from `proto/`: discovery (the delta half of xDS v3), mesh
//! resources, identity, admin. Nothing else lives here: conversion to domain types happens once,
//! at the edge of the crate that uses them.
#![allow(missing_docs, clippy::all)] // generated code; the .proto files carry the docs

/// `google.rpc.Status`.
pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// The subset of Envoy's discovery API that the mesh speaks.
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod service {
        pub mod discovery {
            pub mod v3 {
                tonic::include_proto!("envoy.service.discovery.v3");
            }
        }
    }
}

/// Mesh resources, pushed by the control plane.
pub mod mesh {
    tonic::include_proto!("heddle.mesh.v1");

    /// Type URLs of the resources, as they appear in discovery.
    pub mod type_url {
        pub const ADDRESS: &str = "type.googleapis.com/heddle.mesh.v1.Address";
        pub const SERVICE: &str = "type.googleapis.com/heddle.mesh.v1.Service";
        pub const ENDPOINTS: &str = "type.googleapis.com/heddle.mesh.v1.Endpoints";
        pub const ROUTE_TABLE: &str = "type.googleapis.com/heddle.mesh.v1.RouteTable";
        pub const WORKLOAD: &str = "type.googleapis.com/heddle.mesh.v1.Workload";
        pub const TRUST_BUNDLE: &str = "type.googleapis.com/heddle.mesh.v1.TrustBundle";
        pub const TELEMETRY: &str = "type.googleapis.com/heddle.mesh.v1.Telemetry";
        pub const DNS_NAME: &str = "type.googleapis.com/heddle.mesh.v1.DnsName";
    }
}

/// The certificate exchange.
pub mod identity {
    tonic::include_proto!("heddle.identity.v1");
}

/// What the control plane tells operators.
pub mod admin {
    tonic::include_proto!("heddle.admin.v1");
}
