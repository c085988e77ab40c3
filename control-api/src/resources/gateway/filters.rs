//! Filters: what a rule, or one of its backends, does with requests. The two kinds of routes write
//! them in structs of their own, since GRPCRoute has fewer; kept, they are one type. A filter that
//! this mesh does not have is kept too, under its name: its requests are answered with an error.

use serde::Deserialize;

use super::{
    BackendRef,
    http_route::{BackendObject, Method},
};
use crate::resources::at::{At, Ignored};

/// Statuses of redirects.
pub const STATUSES: [u32; 5] = [301, 302, 303, 307, 308];

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Headers of requests change.
    RequestHeaders(HeaderModifier),
    /// Headers of responses change.
    ResponseHeaders(HeaderModifier),
    /// Somebody gets copies.
    Mirror(Mirror),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// Path and host change.
    Rewrite(Rewrite),
    /// Pages of other origins may call.
    Cors(Cors),
    /// One that this mesh does not have.
    Unsupported(&'static str),
}

impl Filter {
    /// Its type, as it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RequestHeaders(_) => "RequestHeaderModifier",
            Self::ResponseHeaders(_) => "ResponseHeaderModifier",
            Self::Mirror(_) => "RequestMirror",
            Self::Redirect(_) => "RequestRedirect",
            Self::Rewrite(_) => "URLRewrite",
            Self::Cors(_) => "CORS",
            Self::Unsupported(name) => name,
        }
    }
}

/// `requestHeaderModifier:` and `responseHeaderModifier:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct HeaderModifier {
    /// In place of what is there.
    #[serde(default)]
    pub set: Vec<HeaderValue>,
    /// Beside what is there.
    #[serde(default)]
    pub add: Vec<HeaderValue>,
    /// Taken out.
    #[serde(default)]
    pub remove: Vec<At<String>>,
}

/// `set[]` and `add[]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HeaderValue {
    /// The header's name.
    pub name: At<String>,
    /// As it is sent.
    pub value: At<String>,
}

/// `requestMirror:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets copies.
    pub to: BackendRef,
    /// Of how many requests in a million.
    pub ppm: u32,
}

/// `requestMirror:` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MirrorSpec {
    pub(super) backend_ref: At<BackendObject>,
    pub(super) percent: Option<At<u32>>,
    pub(super) fraction: Option<At<Fraction>>,
}

/// `fraction:`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fraction {
    pub(super) numerator: u32,
    pub(super) denominator: Option<u32>,
}

impl Fraction {
    pub(super) fn denominator(&self) -> u32 {
        self.denominator.unwrap_or(100)
    }
}

/// `requestRedirect:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// `http` or `https`; absent: as it came.
    pub scheme: Option<At<String>>,
    /// The host; absent: as it came.
    pub hostname: Option<At<String>>,
    /// The path; absent: as it came.
    pub path: Option<At<PathModifier>>,
    /// The port.
    pub port: Option<At<u16>>,
    /// 302 when absent.
    pub status_code: Option<At<u32>>,
}

/// `urlRewrite:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Rewrite {
    /// The host; absent: as it came.
    pub hostname: Option<At<String>>,
    /// The path; absent: as it came.
    pub path: Option<At<PathModifier>>,
}

/// `path:` of a redirect or a rewrite.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathModifier {
    /// Which of the two.
    #[serde(rename = "type")]
    pub kind: PathModifierType,
    /// The whole path.
    pub replace_full_path: Option<At<String>>,
    /// What stands in the place of the prefix that matched.
    pub replace_prefix_match: Option<At<String>>,
}

/// `path.type:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PathModifierType {
    /// The whole path is another.
    ReplaceFullPath,
    /// Its beginning is.
    ReplacePrefixMatch,
}

/// `cors:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins that may call; `*` in a host stands for any beginning, alone for any origin.
    #[serde(default)]
    pub allow_origins: Vec<At<String>>,
    /// Also with cookies.
    pub allow_credentials: Option<bool>,
    /// Methods that may be used.
    #[serde(default)]
    pub allow_methods: Vec<At<String>>,
    /// Headers that may be sent.
    #[serde(default)]
    pub allow_headers: Vec<At<String>>,
    /// Headers that may be read.
    #[serde(default)]
    pub expose_headers: Vec<At<String>>,
    /// For how many seconds a browser remembers; 5 when absent.
    pub max_age: Option<At<u32>>,
}

impl Cors {
    /// Methods that may be listed.
    pub(super) fn is_method(text: &str) -> bool {
        const ALL: [Method; 9] = [
            Method::Get,
            Method::Head,
            Method::Post,
            Method::Put,
            Method::Delete,
            Method::Connect,
            Method::Options,
            Method::Trace,
            Method::Patch,
        ];
        text == "*" || ALL.iter().any(|method| method.as_str() == text)
    }
}

/// `filters[]` of an HTTPRoute.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FilterSpec {
    #[serde(rename = "type")]
    pub(super) kind: FilterType,
    pub(super) request_header_modifier: Option<At<HeaderModifier>>,
    pub(super) response_header_modifier: Option<At<HeaderModifier>>,
    pub(super) request_mirror: Option<At<MirrorSpec>>,
    pub(super) request_redirect: Option<At<Redirect>>,
    pub(super) url_rewrite: Option<At<Rewrite>>,
    pub(super) cors: Option<At<Cors>>,
    pub(super) external_auth: Option<At<Ignored>>,
    pub(super) extension_ref: Option<At<Ignored>>,
}

/// `type:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum FilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestMirror,
    RequestRedirect,
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    #[serde(rename = "CORS")]
    Cors,
    ExternalAuth,
    ExtensionRef,
}

impl FilterSpec {
    /// What its type names; where that is absent (a problem), it does nothing.
    pub(super) fn build(self) -> Filter {
        fn or_default<T: Default>(given: Option<At<T>>) -> T {
            given.map(|given| given.value).unwrap_or_default()
        }
        match self.kind {
            FilterType::RequestHeaderModifier => {
                Filter::RequestHeaders(or_default(self.request_header_modifier))
            }
            FilterType::ResponseHeaderModifier => {
                Filter::ResponseHeaders(or_default(self.response_header_modifier))
            }
            FilterType::RequestMirror => match self.request_mirror {
                Some(mirror) => Filter::Mirror(mirror.value.build()),
                None => Filter::Unsupported("RequestMirror"),
            },
            FilterType::RequestRedirect => Filter::Redirect(or_default(self.request_redirect)),
            FilterType::UrlRewrite => Filter::Rewrite(or_default(self.url_rewrite)),
            FilterType::Cors => Filter::Cors(or_default(self.cors)),
            FilterType::ExternalAuth => Filter::Unsupported("ExternalAuth"),
            FilterType::ExtensionRef => Filter::Unsupported("ExtensionRef"),
        }
    }
}

/// `filters[]` of a GRPCRoute.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GrpcFilterSpec {
    #[serde(rename = "type")]
    pub(super) kind: GrpcFilterType,
    pub(super) request_header_modifier: Option<At<HeaderModifier>>,
    pub(super) response_header_modifier: Option<At<HeaderModifier>>,
    pub(super) request_mirror: Option<At<MirrorSpec>>,
    pub(super) extension_ref: Option<At<Ignored>>,
}

/// `type:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum GrpcFilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestMirror,
    ExtensionRef,
}

impl GrpcFilterSpec {
    pub(super) fn build(written: At<Self>) -> At<Filter> {
        let spec = written.value.widen();
        At {
            at: written.at,
            value: spec.build(),
        }
    }

    /// The same as a filter of an HTTPRoute.
    pub(super) fn widen(self) -> FilterSpec {
        FilterSpec {
            kind: match self.kind {
                GrpcFilterType::RequestHeaderModifier => FilterType::RequestHeaderModifier,
                GrpcFilterType::ResponseHeaderModifier => FilterType::ResponseHeaderModifier,
                GrpcFilterType::RequestMirror => FilterType::RequestMirror,
                GrpcFilterType::ExtensionRef => FilterType::ExtensionRef,
            },
            request_header_modifier: self.request_header_modifier,
            response_header_modifier: self.response_header_modifier,
            request_mirror: self.request_mirror,
            request_redirect: None,
            url_rewrite: None,
            cors: None,
            external_auth: None,
            extension_ref: self.extension_ref,
        }
    }
}

impl MirrorSpec {
    fn build(self) -> Mirror {
        let of_fraction = |fraction: &At<Fraction>| {
            let (part, whole) = (u64::from(fraction.numerator), fraction.denominator());
            u32::try_from(part * 1_000_000 / u64::from(whole.max(1))).unwrap_or(1_000_000)
        };
        let percent = self.percent.as_ref().map(|percent| percent.value * 10_000);
        let fraction = self.fraction.as_ref().map(of_fraction);
        Mirror {
            to: self.backend_ref.value.build(),
            ppm: percent.or(fraction).unwrap_or(1_000_000),
        }
    }
}
