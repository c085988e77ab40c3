//! What rules ask of requests, compared without any request: which match takes all that another one
//! takes, and which takes nothing. Works on what is sent to sidecars, whatever language a rule was
//! written in.
//!
//! Everything here errs on one side: what it says holds for every request with a path; where it
//! cannot tell it says nothing.

mod asked;
mod conditions;
mod cover;
mod pattern;
mod vain;

pub(crate) use self::{
    asked::{Asked, Regexes},
    conditions::{Conditions, Part, Source},
    cover::Covers,
    vain::{Vain, vain},
};
