//! A copy of a request's head, to send again. Nearly none ever is, so it is cheap to make and to drop,
//! and dear to use: its fields are written down one after the other, in one piece of memory.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Request, Uri, Version};

/// What is kept of a request.
pub(crate) struct Spare<B> {
    method: Method,
    uri: Uri,
    version: Version,
    /// The letters of the names, where they are kept.
    extensions: Extensions,
    /// Of each field the lengths of its name and value, as [`LENGTHS`] bytes, and both.
    fields: Vec<u8>,
    body: B,
}

/// The longest of either is a head: 32 bits, of which the value's highest says that it is sensitive.
const LENGTHS: usize = 8;
const SENSITIVE: u32 = 1 << 31;

impl<B> Spare<B> {
    pub(crate) fn of<T>(request: &Request<T>, body: B) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            extensions: request.extensions().clone(),
            fields: write(request.headers()),
            body,
        }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn body(&self) -> &B {
        &self.body
    }

    pub(crate) fn into_request(self) -> Request<B> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.extensions_mut() = self.extensions;
        *request.headers_mut() = read(&self.fields);
        request
    }
}

fn write(headers: &HeaderMap) -> Vec<u8> {
    let one = |(name, value): (&HeaderName, &HeaderValue)| {
        LENGTHS + name.as_str().len() + value.as_bytes().len()
    };
    let mut fields = Vec::with_capacity(headers.iter().map(one).sum());
    for (name, value) in headers {
        let (name, text) = (name.as_str().as_bytes(), value.as_bytes());
        let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
        fields.extend_from_slice(&(name.len() as u32).to_le_bytes());
        fields.extend_from_slice(&(text.len() as u32 | sensitive).to_le_bytes());
        fields.extend_from_slice(name);
        fields.extend_from_slice(text);
    }
    fields
}

fn read(mut fields: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    while let Some((name, value, rest)) = first(fields) {
        headers.append(name, value);
        fields = rest;
    }
    headers
}

/// `None`: there is no more, or, which cannot be, not what was written.
fn first(fields: &[u8]) -> Option<(HeaderName, HeaderValue, &[u8])> {
    let (name, rest) = fields.split_first_chunk()?;
    let (value, rest) = rest.split_first_chunk()?;
    let (name, value) = (u32::from_le_bytes(*name), u32::from_le_bytes(*value));
    let (name, rest) = rest.split_at_checked(name as usize)?;
    let (text, rest) = rest.split_at_checked((value & !SENSITIVE) as usize)?;
    let mut text = HeaderValue::from_bytes(text).ok()?;
    text.set_sensitive(value & SENSITIVE != 0);
    Some((HeaderName::from_bytes(name).ok()?, text, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sent_again_is_the_same() {
        let mut request = Request::put("http://web:80/a?b=c")
            .version(Version::HTTP_2)
            .header("x-a", "1")
            .header("accept", "*/*")
            .header("x-a", "")
            .header("x-b", HeaderValue::from_bytes(b"\xff\t\xfe").unwrap())
            .body(())
            .unwrap();
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        request.headers_mut().insert("authorization", secret);
        request.extensions_mut().insert(7_u32);
        let again = Spare::of(&request, "body").into_request();
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.version(), request.version());
        assert_eq!(again.headers(), request.headers());
        assert_eq!(again.extensions().get::<u32>(), Some(&7));
        assert!(again.headers()["authorization"].is_sensitive());
        assert!(!again.headers()["accept"].is_sensitive());
        assert_eq!(*again.body(), "body");
    }

    proptest! {
        #[test]
        fn no_field_is_lost(fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,20}", "[ -~]{0,200}"), 0..40)) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            }
            prop_assert_eq!(read(&write(&headers)), headers);
        }
    }
}
