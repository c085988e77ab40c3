//! What a source emits: objects that know where they were written, changes, and refusals.

use std::{fmt, path::Path, sync::Arc};

use super::{decode::Problem, node::Position};
use crate::{
    name::{NsName, ObjectKey},
    resources::{
        destination_rule::DestinationRule, endpoint_slice::EndpointSlice, node::Node,
        peer_authentication::PeerAuthentication, pod::Pod, service::Service,
        service_entry::ServiceEntry, sidecar::Sidecar, telemetry::Telemetry,
        virtual_service::VirtualService,
    },
};

/// File and position of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file; None: it came from no file.
    pub file: Option<Arc<Path>>,
    /// Where the document begins.
    pub at: Position,
}

impl Origin {
    /// The file as text; empty without one.
    pub fn file_text(&self) -> String {
        self.file
            .as_deref()
            .map(|file| file.display().to_string())
            .unwrap_or_default()
    }
}

/// An object.
#[derive(Debug)]
pub struct Object {
    /// What it is and what it is called.
    pub key: ObjectKey,
    /// Where it was written.
    pub origin: Origin,
    /// `creationTimestamp`, in seconds since 1970.
    pub created: Option<i64>,
    /// Its contents.
    pub resource: Resource,
    /// The text that it was read from, for kinds whose last good version survives a restart.
    pub written: Option<Written>,
    /// Nobody wrote it: it stands for a policy that was refused and never good (`fail_safe`).
    pub stand_in: bool,
}

/// A document as it was written. The objects of one document share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The document.
    pub text: Arc<str>,
    /// Lines of the file before it.
    pub line_offset: u32,
}

/// Contents, by kind.
#[derive(Debug)]
pub enum Resource {
    /// Nothing of it is used yet.
    Namespace,
    /// Nothing of it is used yet.
    ServiceAccount,
    /// A service.
    Service(Arc<Service>),
    /// A node.
    Node(Node),
    /// A pod.
    Pod(Pod),
    /// Endpoints.
    EndpointSlice(EndpointSlice),
    /// Services of elsewhere.
    ServiceEntry(Box<ServiceEntry>),
    /// Subsets.
    DestinationRule(Box<DestinationRule>),
    /// Routes.
    VirtualService(Box<VirtualService>),
    /// Mutual TLS.
    PeerAuthentication(PeerAuthentication),
    /// Telemetry.
    Telemetry(Telemetry),
    /// What pods may call.
    Sidecar(Sidecar),
    /// Nothing of it is used yet.
    NetworkPolicy,
    /// It counts as gone, whatever earlier directories say. The source keeps these to itself.
    Deleted,
}

/// One step from the picture before to the picture now.
#[derive(Clone, Debug)]
pub enum Change {
    /// New or changed.
    Upsert(Arc<Object>),
    /// Really gone.
    Remove(ObjectKey),
}

/// What has changed since the last batch. The first batch is the whole.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In no order.
    pub changes: Vec<Change>,
    /// All that stand now.
    pub refusals: Arc<[Refusal]>,
    /// All objects that stand though their documents do not say so any more, having become bad.
    pub kept: Arc<[Arc<Object>]>,
}

/// Why a document, or a part of it, is not in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The file.
    pub file: String,
    /// Where in it.
    pub at: Position,
    /// Kind, as far as it could be read.
    pub kind: String,
    /// Namespace, as far as it could be read.
    pub namespace: String,
    /// Name, as far as it could be read.
    pub name: String,
    /// What is wrong and what follows.
    pub reason: String,
    /// What to write instead, if known.
    pub suggestion: String,
    /// It is in force all the same: only likely to be a mistake.
    pub warning: bool,
}

impl Refusal {
    /// About an object.
    pub fn of(key: &ObjectKey, origin: &Origin, problem: Problem) -> Self {
        let at = if problem.at == Position::default() {
            origin.at
        } else {
            problem.at
        };
        Self {
            file: origin.file_text(),
            at,
            kind: key.kind.to_string(),
            namespace: key.name.namespace().to_owned(),
            name: key.name.name().to_owned(),
            reason: problem.reason,
            suggestion: problem.suggestion,
            warning: false,
        }
    }

    /// The key, if enough could be read.
    pub fn is_about(&self, key: &ObjectKey) -> bool {
        let name = NsName::new(&self.namespace, &self.name);
        name.as_ref() == Some(&key.name) && self.kind == key.kind.as_str()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.at.line, self.at.column)?;
        if !self.kind.is_empty() {
            write!(f, "{} {}/{}: ", self.kind, self.namespace, self.name)?;
        }
        f.write_str(&self.reason)?;
        if !self.suggestion.is_empty() {
            write!(f, " ({})", self.suggestion)?;
        }
        Ok(())
    }
}
