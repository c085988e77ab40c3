//! Changes of heads. What frames a message, belongs to a connection or names the host is no
//! route's to change: a second opinion on where a body ends is how requests are smuggled.

use heddle_proto::mesh;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};

use super::super::{Problem, Refusal, each};
use crate::snapshot::{Changes, HeaderChanges};

pub(super) fn changes(wire: Option<mesh::HeaderChanges>) -> Result<HeaderChanges, Refusal> {
    let Some(wire) = wire else {
        return Ok(HeaderChanges::default());
    };
    Ok(HeaderChanges {
        request: of_head(wire.request).map_err(|refusal| refusal.within("request"))?,
        response: of_head(wire.response).map_err(|refusal| refusal.within("response"))?,
    })
}

fn of_head(wire: Option<mesh::header_changes::Changes>) -> Result<Changes, Refusal> {
    let Some(wire) = wire else {
        return Ok(Changes::default());
    };
    Ok(Changes {
        remove: each(wire.remove, "remove", |header| name(&header))?,
        set: fields(wire.set, "set")?,
        add: fields(wire.add, "add")?,
    })
}

pub(super) fn fields(
    list: Vec<mesh::Header>,
    field: &str,
) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    each(list, field, |header| {
        let name = name(&header.name).map_err(|refusal| refusal.within("name"))?;
        Ok((name, value(&header.value)?))
    })
}

/// The name of a header that a route may change.
fn name(text: &str) -> Result<HeaderName, Refusal> {
    let name = parsed(text)?;
    let reserved = [
        CONNECTION,
        CONTENT_LENGTH,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    if reserved.contains(&name) {
        return Err(Problem::HeaderReserved(name.to_string()).into());
    }
    Ok(name)
}

pub(super) fn parsed(text: &str) -> Result<HeaderName, Refusal> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| Problem::HeaderName(text.to_owned()).into())
}

pub(super) fn value(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|_| Problem::HeaderValue(text.to_owned()).into())
}

/// A list as it is answered; `None` when it is empty.
pub(super) fn list(values: &[String]) -> Result<Option<HeaderValue>, Refusal> {
    match values {
        [] => Ok(None),
        values => value(&values.join(", ")).map(Some),
    }
}
