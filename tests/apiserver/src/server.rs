//! One request to one answer: who asks, whether they may, what goes wrong on purpose, and then discovery,
//! reading, writing or a review.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use serde_json::{Value, json};

use crate::{
    Options,
    answer::{Body, Refused, json_response, respond, stream, warn},
    apply::Manager,
    discovery,
    faults::{Effect, Faults},
    forward::{self, Ports},
    kinds::{Kind, REVIEWS},
    read,
    request::{self, Asked},
    reviews,
    store::Store,
    users::{API_AUDIENCE, Tokens, User, may},
    write::{Writing, Written},
};

/// What the real server takes.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// Requests that are remembered.
const MAX_ASKED: usize = 100_000;

pub(crate) struct Server {
    pub(crate) options: Options,
    pub(crate) store: Arc<Store>,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) ports: Ports,
    asked: Mutex<Vec<Asked>>,
    services: Mutex<HashMap<String, SocketAddr>>,
    documents: Mutex<HashMap<String, Value>>,
}

impl Server {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            store: Arc::new(Store::new()),
            tokens: Tokens::default(),
            faults: Faults::default(),
            ports: Ports::default(),
            asked: Mutex::default(),
            services: Mutex::default(),
            documents: Mutex::default(),
        }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn forget_asked(&self) {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(crate) fn route(&self, service: &str, address: SocketAddr) {
        self.services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(service.to_owned(), address);
    }

    pub(crate) fn publish(&self, path: &str, document: Value) {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned(), document);
    }

    fn document(&self, path: &str) -> Option<Value> {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned()
    }

    pub(crate) fn service(&self, name: &str) -> Option<SocketAddr> {
        self.services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .copied()
    }

    /// An error closes the connection.
    pub(crate) async fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, io::Error> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let text = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value: &http::HeaderValue| value.to_str().ok())
                .unwrap_or_default()
        };
        let user = match text(header::AUTHORIZATION).strip_prefix("Bearer ") {
            None => User::anonymous(),
            Some(token) => match self.tokens.user(token.trim()) {
                Some(user)
                    if user
                        .audiences
                        .iter()
                        .any(|audience| audience == API_AUDIENCE) =>
                {
                    user
                }
                _ => return Ok(Refused::new(401, "Unauthorized", "Unauthorized").response()),
            },
        };
        let query = parts.uri.query().unwrap_or_default();
        let asked = request::read(&parts.method, parts.uri.path(), query, &self.store.lock());
        let mut asked = match asked {
            Ok(asked) => asked,
            Err(refused) => return Ok(refused.response()),
        };
        asked.user = user.name.clone();
        asked.content_type = text(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        self.remember(&asked);
        match self.faults.take(&asked) {
            Some(Effect::Refuse(code, reason)) => {
                return Ok(Refused::new(code, reason, "this goes wrong for a test").response());
            }
            Some(Effect::Drop) => return Err(io::Error::other("dropped for a test")),
            Some(Effect::Delay(time)) => tokio::time::sleep(time).await,
            None => {}
        }
        if asked.subresource == "portforward" {
            let answer = self.forward(&asked, &user, &parts.headers, upgrade);
            return Ok(answer.unwrap_or_else(|refused| refused.response()));
        }
        let agent = text(header::USER_AGENT)
            .split('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let is_aggregated = text(header::ACCEPT).contains(discovery::AGGREGATED)
            && self.options.aggregated_discovery;
        let bytes = match Limited::new(body, MAX_BODY).collect().await {
            Ok(bytes) => bytes.to_bytes(),
            Err(_) => {
                let message = "Request entity too large: limit is 3145728";
                return Ok(Refused::new(413, "RequestEntityTooLarge", message).response());
            }
        };
        let answer = self
            .serve(&parts.method, &asked, &user, &agent, is_aggregated, &bytes)
            .await;
        Ok(answer.unwrap_or_else(|refused| refused.response()))
    }

    /// Bytes to and from a pod that there is.
    fn forward(
        &self,
        asked: &Asked,
        user: &User,
        headers: &http::HeaderMap,
        upgrade: OnUpgrade,
    ) -> Result<Response<Body>, Refused> {
        self.allow(user, asked)?;
        let pod = self.store.get("pods", &asked.key());
        pod.ok_or_else(|| Refused::not_found("pods", &asked.name))?;
        forward::start(&self.ports, asked, headers, upgrade)
    }

    fn allow(&self, user: &User, asked: &Asked) -> Result<(), Refused> {
        let mut groups = user.groups.iter();
        let nobody = groups.any(|group| group == "system:unauthenticated");
        match (self.options.rbac || nobody) && !may(&self.store, user, asked) {
            true => Err(forbidden(user, asked)),
            false => Ok(()),
        }
    }

    fn remember(&self, asked: &Asked) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_ASKED {
            all.push(asked.clone());
        }
    }

    /// Whether what comes of a request is allowed too, such as making what is applied.
    pub(crate) fn may_also(&self, user: &User, asked: &Asked) -> Result<(), Refused> {
        self.remember(asked);
        match self.options.rbac && !may(&self.store, user, asked) {
            true => Err(forbidden(user, asked)),
            false => Ok(()),
        }
    }

    async fn serve(
        &self,
        method: &Method,
        asked: &Asked,
        user: &User,
        agent: &str,
        is_aggregated: bool,
        body: &[u8],
    ) -> Result<Response<Body>, Refused> {
        self.allow(user, asked)?;
        if asked.resource.is_empty() {
            if matches!(asked.path.as_str(), "/healthz" | "/livez" | "/readyz") {
                return Ok(respond(200, "text/plain; charset=utf-8", "ok".into()));
            }
            if let Some(document) = self.document(&asked.path) {
                return Ok(json_response(200, &document));
            }
            let found = discovery::answer(&self.store.lock(), &asked.path, is_aggregated);
            return match found {
                Some(found) if is_aggregated && matches!(asked.path.as_str(), "/api" | "/apis") => {
                    let content_type =
                        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
                    Ok(respond(200, content_type, found.to_string()))
                }
                Some(found) => Ok(json_response(200, &found)),
                None => Err(Refused::new(
                    404,
                    "NotFound",
                    "the server could not find the requested resource",
                )),
            };
        }
        let is_review = |(group, _, plural, _): &(&str, &str, &str, bool)| {
            asked.group == *group && asked.resource == *plural
        };
        if REVIEWS.iter().any(is_review) {
            let body = reviews::review(self, asked, user, parse(asked, body)?)?;
            return Ok(json_response(201, &body));
        }
        let kind = self
            .store
            .lock()
            .kind(&asked.group, &asked.version, &asked.resource)
            .cloned();
        let kind = kind.ok_or_else(|| {
            Refused::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        })?;
        if kind.namespaced
            && asked.namespace.is_empty()
            && !matches!(asked.verb.as_str(), "list" | "watch")
        {
            return Err(Refused::bad_request(
                "an empty namespace may not be set during creation",
            ));
        }
        match asked.verb.as_str() {
            "get" => Ok(json_response(200, &read::get(&self.store, &kind, asked)?)),
            "list" => Ok(json_response(200, &read::list(&self.store, &kind, asked)?)),
            "watch" => Ok(stream(read::watch(
                &self.store,
                &kind,
                asked,
                self.options.bookmarks,
            )?)),
            _ => {
                let written = self.write(method, &kind, asked, user, agent, body).await?;
                let mut response = json_response(written.code, &written.object);
                warn(&mut response, &written.warnings);
                Ok(response)
            }
        }
    }

    pub(crate) async fn write(
        &self,
        method: &Method,
        kind: &Kind,
        asked: &Asked,
        user: &User,
        agent: &str,
        body: &[u8],
    ) -> Result<Written, Refused> {
        let manager = match asked.parameter("fieldManager") {
            // A name is required to apply.
            "" if asked.content_type == "application/apply-patch+yaml" => "",
            "" => agent,
            name => name,
        };
        let writing = Writing {
            server: self,
            kind,
            asked,
            user,
            manager: Manager {
                name: manager.to_owned(),
                subresource: asked.subresource.clone(),
                api_version: kind.api_version(&asked.version),
            },
        };
        match (method, asked.subresource.as_str()) {
            (&Method::POST, "token") if kind.resource() == "serviceaccounts" => Ok(Written {
                code: 201,
                object: reviews::token_request(self, asked, parse(asked, body)?)?,
                warnings: Vec::new(),
            }),
            (&Method::POST, "") => writing.create(parse(asked, body)?).await,
            (&Method::PUT, _) => writing.update(parse(asked, body)?).await,
            (&Method::PATCH, _) => match asked.content_type.as_str() {
                "application/merge-patch+json" => writing.merge_patch(parse(asked, body)?).await,
                "application/json-patch+json" => writing.json_patch(parse(asked, body)?).await,
                "application/apply-patch+yaml" => writing.apply(parse(asked, body)?).await,
                other => {
                    let message = format!(
                        "the body of the request was in an unknown format - accepted media types include: \
                         application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml; not {other}"
                    );
                    Err(Refused::new(415, "UnsupportedMediaType", message))
                }
            },
            (&Method::DELETE, "") if !asked.name.is_empty() => {
                writing.delete(parse(asked, body)?).await
            }
            _ => {
                let message = "the server does not allow this method on the requested resource";
                Err(Refused::new(405, "MethodNotAllowed", message))
            }
        }
    }
}

fn forbidden(user: &User, asked: &Asked) -> Refused {
    let scope = if asked.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", asked.namespace)
    };
    let resource = if asked.subresource.is_empty() {
        asked.resource.clone()
    } else {
        format!("{}/{}", asked.resource, asked.subresource)
    };
    let message = format!(
        "{}{} is forbidden: User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
        asked.of_kind(),
        if asked.name.is_empty() {
            String::new()
        } else {
            format!(" \"{}\"", asked.name)
        },
        user.name,
        asked.verb,
        asked.group
    );
    Refused::new(403, "Forbidden", message).about(&asked.of_kind(), &asked.name)
}

/// A body: JSON; YAML where it is applied.
fn parse(asked: &Asked, body: &[u8]) -> Result<Value, Refused> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    match asked.content_type.as_str() {
        "application/apply-patch+yaml" | "application/yaml" => {
            let text = std::str::from_utf8(body)
                .map_err(|error| Refused::bad_request(error.to_string()))?;
            serde_saphyr::from_str(text)
                .map_err(|error| Refused::bad_request(format!("error decoding YAML: {error}")))
        }
        ""
        | "application/json"
        | "application/merge-patch+json"
        | "application/json-patch+json" => serde_json::from_slice(body)
            .map_err(|error| Refused::bad_request(format!("invalid JSON: {error}"))),
        other => {
            let message = format!("the body of the request was in an unknown format - {other}");
            Err(Refused::new(415, "UnsupportedMediaType", message))
        }
    }
}
