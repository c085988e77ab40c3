//! Makes the namespace's rules what the settings say, and takes them away again. Both families change or neither does:
//! what fails is rolled back to what was there before, so that no half of a redirect is ever left.

use std::io;

use crate::backend::{self, Backend, Held, by_preference, installed};
use crate::check::{self, check_families};
use crate::loopback;
use crate::namespace::{self, families, nameservers};
use crate::rules::{Family, ruleset};
use crate::ruleset::Ruleset;
use crate::settings::{DnsCapture, Settings};

/// Why the redirect was not made, removed or proved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// iptables.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The namespace.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The proof.
    #[error(transparent)]
    Check(#[from] check::Error),
    /// The address ::6.
    #[error(
        "cannot {what} ::6/128 on lo, the source of the sidecar's IPv6 connections to the app; IPv6 may be disabled on \
         lo (sysctl net.ipv6.conf.lo.disable_ipv6): enable it, or set HEDDLE_REDIRECT_IPV6=false"
    )]
    Loopback {
        /// Add or remove.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Neither the change nor the way back.
    #[error(
        "{failed}; and what was there before could not be put back: {rollback}; run `heddle-proxy redirect clean`"
    )]
    Rollback {
        /// What went wrong first.
        failed: Box<Error>,
        /// What went wrong then.
        rollback: backend::Error,
    },
}

const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// Programs the redirect in the network namespace of the calling thread, then proves that it works.
///
/// Twice is as good as once; other settings replace those before.
pub fn apply(settings: &Settings) -> Result<(), Error> {
    let mut plan = Plan {
        families: families(settings)?,
        nameservers: nameservers(settings)?,
        settings,
    };
    let backends = by_preference(installed()?)?;
    let mut made = install(&plan, &backends);
    if let Err(error) = &made
        && settings.dns_capture == DnsCapture::Auto
        && !plan.nameservers.is_empty()
        && !matches!(error, Error::Rollback { .. })
    {
        // Conntrack zones need a table and a target that not every kernel has.
        tracing::warn!(%error, "cannot capture DNS here; going on without (HEDDLE_REDIRECT_DNS_CAPTURE=true would stop the pod)");
        plan.nameservers.clear();
        made = install(&plan, &backends);
    }
    let (used, held) = made?;
    tracing::info!(
        backend = used.name,
        ipv6 = plan.families.len() > 1,
        dns = !plan.nameservers.is_empty(),
        "redirect applied"
    );
    if !plan.families.contains(&Family::V6) && held.ours() {
        remove_loopback()?;
    }
    // What an earlier apply left in the other implementation would act beside what was made now.
    for (other, _) in backends
        .iter()
        .filter(|(other, held)| other.name != used.name && held.ours())
    {
        for family in BOTH {
            other.make(family, &Ruleset::default())?;
        }
    }
    Ok(check_families(settings, &plan.families)?)
}

/// Removes our chains, the jumps to them and `::6`, and nothing else.
pub fn clean() -> Result<(), Error> {
    for (backend, held) in by_preference(installed()?)? {
        for family in BOTH
            .into_iter()
            .filter(|family| !held.of(*family).ours().is_empty())
        {
            backend.make(family, &Ruleset::default())?;
            tracing::info!(backend = backend.name, %family, "redirect removed");
        }
    }
    remove_loopback()
}

struct Plan<'a> {
    settings: &'a Settings,
    families: Vec<Family>,
    nameservers: Vec<std::net::IpAddr>,
}

impl Plan<'_> {
    fn wanted(&self, family: Family) -> Ruleset {
        if self.families.contains(&family) {
            ruleset(self.settings, &self.nameservers, family)
        } else {
            Ruleset::default()
        }
    }
}

/// Tries the preferred backend; the next one too when nobody uses the preferred one, whose kernel side may lack what a
/// redirect needs.
fn install<'a>(
    plan: &Plan<'_>,
    backends: &'a [(Backend, Held)],
) -> Result<(&'a Backend, &'a Held), Error> {
    let mut first_error = None;
    for (backend, held) in backends {
        match install_with(plan, backend, held) {
            Ok(()) => return Ok((backend, held)),
            Err(error) if held.has_rules() || matches!(error, Error::Rollback { .. }) => {
                return Err(error);
            }
            Err(error) => {
                tracing::debug!(backend = backend.name, %error, "could not apply the redirect");
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or(Error::Backend(backend::Error::NotInstalled)))
}

fn install_with(plan: &Plan<'_>, backend: &Backend, before: &Held) -> Result<(), Error> {
    let made = BOTH.into_iter().try_for_each(|family| {
        backend
            .make(family, &plan.wanted(family))
            .map_err(Error::from)
    });
    let made = made.and_then(|()| {
        if plan.families.contains(&Family::V6) {
            add_loopback()
        } else {
            Ok(())
        }
    });
    let Err(failed) = made else { return Ok(()) };
    for family in BOTH {
        // A table at a time is atomic, a family need not be: both go back.
        if let Err(rollback) = backend.make(family, before.of(family).ours()) {
            if matches!(rollback, backend::Error::NotPermitted { .. }) {
                break;
            }
            return Err(Error::Rollback {
                failed: Box::new(failed),
                rollback,
            });
        }
    }
    Err(failed)
}

fn add_loopback() -> Result<(), Error> {
    loopback::add().map(drop).map_err(|source| Error::Loopback {
        what: "add",
        source,
    })
}

fn remove_loopback() -> Result<(), Error> {
    match loopback::remove() {
        Ok(_) => Ok(()),
        // A kernel without IPv6 has no such address.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(nix::libc::EAFNOSUPPORT | nix::libc::EOPNOTSUPP)
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(Error::Loopback {
            what: "remove",
            source,
        }),
    }
}
