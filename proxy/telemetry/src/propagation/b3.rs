//! B3, as Zipkin's instrumentation speaks it: `b3: TRACE-SPAN[-STATE[-PARENT]]` or `b3: STATE`, and
//! the `X-B3-*` headers. Ids of 64 bits are padded; upper-case digits are tolerated.

use super::{B3, B3_FLAGS, B3_PARENT_SPAN_ID, B3_SAMPLED, B3_SPAN_ID, B3_TRACE_ID, FLAG_SAMPLED};
use super::{ONE, Outbound, RemoteContext, header_value, hex, put_hex};
use http::{HeaderMap, HeaderName, HeaderValue};

/// What one form of B3 said. Present but broken headers say nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Parsed {
    pub(super) context: Option<RemoteContext>,
    pub(super) decision: Option<bool>,
    pub(super) debug: bool,
}

impl Parsed {
    pub(super) fn is_empty(&self) -> bool {
        self.context.is_none() && self.decision.is_none()
    }
}

/// `None`: the header is absent.
pub(super) fn parse_single(headers: &HeaderMap) -> Option<Parsed> {
    let mut values = headers.get_all(B3).iter();
    let value = values.next()?.as_bytes();
    let one = values.next().is_none();
    Some(one.then(|| single(value)).flatten().unwrap_or_default())
}

fn single(value: &[u8]) -> Option<Parsed> {
    if let Some((decision, debug)) = state(value) {
        return Some(Parsed {
            context: None,
            decision: Some(decision),
            debug,
        });
    }
    let mut fields = value.split(|byte| *byte == b'-');
    let (trace, span) = (fields.next()?, fields.next()?);
    let mut parsed = Parsed {
        context: Some(ids(trace, span)?),
        ..Parsed::default()
    };
    if let Some(field) = fields.next() {
        let (decision, debug) = state(field)?;
        (parsed.decision, parsed.debug) = (Some(decision), debug);
    }
    if let Some(parent) = fields.next() {
        (parent.len() == 16).then(|| hex(parent, true))??;
    }
    if fields.next().is_some() {
        return None;
    }
    Some(parsed.with_flags())
}

/// `None`: none of the headers is there.
pub(super) fn parse_multi(headers: &HeaderMap) -> Option<Parsed> {
    let trace = headers.get(B3_TRACE_ID);
    let sampled = headers.get(B3_SAMPLED);
    let flags = headers.get(B3_FLAGS);
    if trace.is_none() && sampled.is_none() && flags.is_none() {
        return None;
    }
    let span = trace.and_then(|_| headers.get(B3_SPAN_ID));
    let debug = flags.is_some_and(|flags| flags == "1");
    let decision = match sampled.map(HeaderValue::as_bytes) {
        _ if debug => Some(true),
        Some(b"1" | b"true") => Some(true),
        Some(b"0" | b"false") => Some(false),
        _ => None,
    };
    let context = trace
        .zip(span)
        .and_then(|(t, s)| ids(t.as_bytes(), s.as_bytes()));
    Some(
        Parsed {
            context,
            decision,
            debug,
        }
        .with_flags(),
    )
}

impl Parsed {
    fn with_flags(mut self) -> Self {
        if let Some(context) = &mut self.context {
            context.flags = if self.decision == Some(true) {
                FLAG_SAMPLED
            } else {
                0
            };
        }
        self
    }
}

fn state(field: &[u8]) -> Option<(bool, bool)> {
    match field {
        b"0" => Some((false, false)),
        b"1" => Some((true, false)),
        b"d" => Some((true, true)),
        _ => None,
    }
}

fn ids(trace: &[u8], span: &[u8]) -> Option<RemoteContext> {
    if !matches!(trace.len(), 16 | 32) || span.len() != 16 {
        return None;
    }
    let (trace_id, span_id) = (hex(trace, true)?, hex(span, true)? as u64);
    (trace_id != 0 && span_id != 0).then_some(RemoteContext {
        trace_id,
        span_id,
        flags: 0,
        w3c: false,
    })
}

pub(super) fn format_single(span: Outbound, parent: Option<u64>, debug: bool) -> HeaderValue {
    let mut text = [b'-'; 68];
    put_hex(&mut text[..32], span.trace_id);
    put_hex(&mut text[33..49], span.span_id.into());
    text[50] = if debug { b'd' } else { b'1' };
    let Some(parent) = parent else {
        return header_value(&text[..51]);
    };
    put_hex(&mut text[52..], parent.into());
    header_value(&text)
}

pub(super) fn inject_multi(
    headers: &mut HeaderMap,
    span: Outbound,
    parent: Option<u64>,
    debug: bool,
) {
    headers.insert(B3_TRACE_ID, hex_value::<32>(span.trace_id));
    headers.insert(B3_SPAN_ID, hex_value::<16>(span.span_id.into()));
    match parent {
        Some(parent) => {
            headers.insert(B3_PARENT_SPAN_ID, hex_value::<16>(parent.into()));
        }
        None => {
            headers.remove(B3_PARENT_SPAN_ID);
        }
    }
    // Debug implies sampled, and then only the flag is sent.
    let (set, clear): (HeaderName, HeaderName) = if debug {
        (B3_FLAGS, B3_SAMPLED)
    } else {
        (B3_SAMPLED, B3_FLAGS)
    };
    headers.insert(set, ONE);
    headers.remove(clear);
}

fn hex_value<const N: usize>(value: u128) -> HeaderValue {
    let mut text = [0; N];
    put_hex(&mut text, value);
    header_value(&text)
}
