//! What a source emits: objects that know where they were written, changes, and refusals.

use std::{fmt, path::Path, sync::Arc};

use super::{decode::Problem, node::Position, suggest};
use crate::{
    check::{Code, Severity},
    name::{NsName, ObjectKey},
    resources::{
        destination_rule::DestinationRule, endpoint_slice::EndpointSlice, gateway::Route,
        node::Node, peer_authentication::PeerAuthentication, pod::Pod, service::Service,
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
    /// Routes of Gateway API, of either kind.
    GatewayRoute(Box<Route>),
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
    /// What it is, for programs.
    pub code: Code,
    /// How bad it is; only an error keeps the object from being in force.
    pub severity: Severity,
    /// What is wrong.
    pub reason: String,
    /// What will happen because of it.
    pub consequence: String,
    /// What to write instead, if known.
    pub suggestion: String,
}

impl Refusal {
    /// About an object.
    pub fn of(key: &ObjectKey, origin: &Origin, problem: Problem) -> Self {
        let at = if problem.at == Position::default() {
            origin.at
        } else {
            problem.at
        };
        let (namespace, name) = (key.name.namespace(), key.name.name());
        Self::about(
            (key.kind.as_str(), namespace, name),
            origin.file_text(),
            Problem { at, ..problem },
        )
    }

    /// About what may be an object: (kind, namespace, name), as far as they could be read.
    pub fn about(
        (kind, namespace, name): (&str, &str, &str),
        file: String,
        problem: Problem,
    ) -> Self {
        let suggestion = match suggest::placeholder(&problem.reason) {
            Some(_) => suggest::RENDER.to_owned(),
            None => problem.suggestion,
        };
        Self {
            file,
            at: problem.at,
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            code: problem.code,
            severity: problem.severity,
            reason: problem.reason,
            consequence: problem.consequence,
            suggestion,
        }
    }

    /// What is wrong, what follows and what to write, without what it is about.
    pub fn in_words(&self) -> String {
        let mut text = self.reason.clone();
        if !self.consequence.is_empty() {
            text += &format!("; {}", self.consequence);
        }
        if !self.suggestion.is_empty() {
            text += &format!(" ({})", self.suggestion);
        }
        text + &format!(" [{}]", self.code)
    }

    /// Whether it is in force all the same.
    pub fn is_warning(&self) -> bool {
        self.severity != Severity::Error
    }

    /// The key, if enough could be read.
    pub fn is_about(&self, key: &ObjectKey) -> bool {
        let name = NsName::new(&self.namespace, &self.name);
        name.as_ref() == Some(&key.name) && self.kind == key.kind.as_str()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:{}:{}: ", self.file, self.at.line, self.at.column)?;
        }
        if !self.kind.is_empty() {
            write!(f, "{} {}/{}: ", self.kind, self.namespace, self.name)?;
        }
        f.write_str(&self.in_words())
    }
}
