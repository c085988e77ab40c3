//! One stream's place in the hub: what it follows, and its mail. Dropping it leaves nothing behind.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{Connected, Hub, Mail, StreamId, Summary, lock};
use crate::name::NsName;

/// A stream's place in the hub; leaving is dropping it.
pub struct Registration {
    hub: Arc<Hub>,
    id: StreamId,
    connected: Arc<Connected>,
    services: HashSet<NsName>,
    addresses: HashSet<IpAddr>,
    names: HashSet<Arc<str>>,
    fresh: Mail,
}

impl Registration {
    pub(super) fn new(hub: Arc<Hub>, id: StreamId, connected: Arc<Connected>) -> Self {
        Self {
            hub,
            id,
            connected,
            services: HashSet::new(),
            addresses: HashSet::new(),
            names: HashSet::new(),
            fresh: Mail::default(),
        }
    }

    /// Waits for mail.
    pub async fn mail(&self) {
        self.connected.notify.notified().await;
    }

    /// Takes the mail.
    pub fn take_mail(&self) -> Mail {
        std::mem::take(&mut lock(&self.connected.mail))
    }

    /// What is followed since the last call: a change between loading the model and following must
    /// be looked for.
    pub fn take_fresh(&mut self) -> Mail {
        std::mem::take(&mut self.fresh)
    }

    /// Tells how the stream is doing.
    pub fn set_summary(&self, summary: Summary) {
        *lock(&self.connected.summary) = summary;
    }

    /// Follows a service.
    pub fn follow_service(&mut self, name: &NsName) {
        if self.services.insert(name.clone()) {
            self.fresh.services.insert(name.clone());
            lock(&self.hub.interests)
                .services
                .entry(name.clone())
                .or_default()
                .insert(self.id);
        }
    }

    /// No more.
    pub fn leave_service(&mut self, name: &NsName) {
        if self.services.remove(name) {
            leave(&mut lock(&self.hub.interests).services, name, self.id);
        }
    }

    /// Follows an address.
    pub fn follow_address(&mut self, address: IpAddr) {
        if self.addresses.insert(address) {
            self.fresh.addresses.insert(address);
            lock(&self.hub.interests)
                .addresses
                .entry(address)
                .or_default()
                .insert(self.id);
        }
    }

    /// No more.
    pub fn leave_address(&mut self, address: IpAddr) {
        if self.addresses.remove(&address) {
            leave(&mut lock(&self.hub.interests).addresses, &address, self.id);
        }
    }

    /// Follows a host name.
    pub fn follow_name(&mut self, name: &Arc<str>) {
        if self.names.insert(name.clone()) {
            self.fresh.names.insert(name.clone());
            lock(&self.hub.interests)
                .names
                .entry(name.clone())
                .or_default()
                .insert(self.id);
        }
    }

    /// No more.
    pub fn leave_name(&mut self, name: &str) {
        if let Some(name) = self.names.take(name) {
            leave(&mut lock(&self.hub.interests).names, &name, self.id);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut interests = lock(&self.hub.interests);
        interests.streams.remove(&self.id);
        for name in &self.services {
            leave(&mut interests.services, name, self.id);
        }
        for address in &self.addresses {
            leave(&mut interests.addresses, address, self.id);
        }
        for name in &self.names {
            leave(&mut interests.names, name, self.id);
        }
    }
}

fn leave<K: std::hash::Hash + Eq>(map: &mut HashMap<K, HashSet<StreamId>>, key: &K, id: StreamId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
