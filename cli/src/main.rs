//! Entry point.
#![allow(dead_code, unused_imports)]

mod api;
mod args;
mod cluster;
mod failure;
mod manifests;
mod node;
mod terminal;
mod traces;

fn main() {}
