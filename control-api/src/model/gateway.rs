//! Gateway API's routes for the mesh: HTTPRoutes and GRPCRoutes attached to Services. `attach` says
//! to which ports, `order` which match comes first, `backend` who gets requests, `compile` makes
//! wire rules of it, `fault` finds what cannot be meant and `status` tells it to the user. A route
//! is never refused as a whole: what is wrong with it answers with an error where it would apply.

mod attach;
mod backend;
mod compile;
mod fault;
mod filters;
mod merge;
mod order;
mod ports;
mod protocol;
pub mod status;

pub(super) use self::{
    attach::{Attached, parents_named, services_named},
    compile::{ATTEMPTS, http_match, in_order, wire_match},
    fault::to_be_read,
    ports::Ports,
};
