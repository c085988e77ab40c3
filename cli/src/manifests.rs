//! Kubernetes manifests as people write them: files and directories of YAML, cut into documents,
//! parsed one by one, each object remembering its file, line and original text.
//! A mistake in one document is a [`Problem`] of that document and never hides its neighbours.

mod document;
mod kinds;
mod object;
mod parse;
mod source;

pub(crate) use kinds::{Kind, Scope, known, resolve};
pub(crate) use object::{Key, Object, Origin, Problem};
pub(crate) use parse::parse;
pub(crate) use source::{Loaded, Source, SourceError, is_manifest, load};
