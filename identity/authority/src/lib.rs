//! The authority of a trust domain: [`ca`] signs, [`token`] decides which identity a bearer of a token
//! has, [`server`] joins the two on the wire.
//!
//! Nothing outside [`ca`] ever holds the root key. The proxy does not link this crate, and this crate
//! knows no cluster: what it needs of one comes through [`token::Authenticator`] and files.

pub mod ca;
pub mod server;
pub mod token;
