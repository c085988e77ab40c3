//! Which destination of a rule a request takes: the one that keeps whoever sent it, where the rule says
//! so and the request shows who that is; else the next of the block.

use std::net::IpAddr;

use heddle_proxy_config::key;
use heddle_proxy_config::route::stick;
use heddle_proxy_config::snapshot::{HttpRule, Treatment};
use http::{HeaderValue, Request};

use crate::view::LocalRule;

/// What was drawn for a request.
#[derive(Default)]
pub(crate) struct Drawn {
    /// Which destination of the rule; `None`: it has none.
    pub(crate) destination: Option<usize>,
    /// For a client that had no cookie yet.
    pub(super) set_cookie: Option<HeaderValue>,
}

pub(crate) fn draw<B>(
    treatment: &Treatment,
    config: &HttpRule,
    rule: &LocalRule,
    request: &Request<B>,
    caller: IpAddr,
) -> Drawn {
    let key = match &treatment.sticky {
        Some(by) if config.destinations.len() > 1 => key::of(by, request, caller),
        _ => None,
    };
    match key {
        Some(key) => Drawn {
            destination: Some(stick(key.hash, &config.destinations)),
            set_cookie: key.set_cookie,
        },
        None => Drawn {
            destination: rule.draw_index(),
            set_cookie: None,
        },
    }
}
