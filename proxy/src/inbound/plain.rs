//! Connections that came in without a certificate, as the policy of their port allowed then. When it
//! comes to demand one, they end; who has a certificate is not touched. A connection waits for that
//! alone and is woken by nothing else, however often the configuration changes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;

use heddle_proxy_config::snapshot::MtlsMode;
use tokio::sync::Notify;

use super::policy;
use crate::worker::Worker;

/// Ports with connections in plain text, each with what tells them of their end. At most one for
/// each port that there is.
#[derive(Default)]
pub(crate) struct Plain(RefCell<HashMap<u16, Rc<Notify>>>);

impl Plain {
    /// Returns when plain text is not let in on this port any more.
    pub(super) async fn denied(&self, worker: &Worker, port: u16) {
        let told = Rc::clone(self.0.borrow_mut().entry(port).or_default());
        loop {
            let mut next = pin!(told.notified());
            // Before the look: what changes after it is told.
            next.as_mut().enable();
            if is_denied(worker, port) {
                return;
            }
            next.await;
        }
    }

    /// The policy may have changed: ends the connections that it denies.
    pub(crate) fn heed(&self, worker: &Worker) {
        let mut ports = self.0.borrow_mut();
        ports.retain(|_, told| Rc::strong_count(told) > 1);
        for (port, told) in &*ports {
            if is_denied(worker, *port) {
                told.notify_waiters();
            }
        }
    }
}

/// A policy that is not known any more takes nothing back.
fn is_denied(worker: &Worker, port: u16) -> bool {
    let known = worker.view().snapshot.workload.is_some();
    known && policy(worker, port).mtls == MtlsMode::Strict
}
