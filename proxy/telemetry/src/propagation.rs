//! Trace context in request headers: W3C (`traceparent`, `tracestate`) and B3 (one header or
//! several), in and out.
//!
//! Reading never allocates. A valid W3C context wins over B3; `b3` wins over `X-B3-*`. What came in
//! is what goes out: W3C always, B3 in the forms that were seen. A request that is not sampled
//! keeps its headers as they are, except that a decision taken here is passed on as the static
//! header `b3: 0` (or `X-B3-Sampled: 0` where those were used), so that no later hop decides again.

mod b3;
mod w3c;

use http::{HeaderMap, HeaderName, HeaderValue};

/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Vendors' part of the W3C trace context.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// B3 in one header.
pub const B3: HeaderName = HeaderName::from_static("b3");
/// B3, trace id.
pub const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
/// B3, span id.
pub const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
/// B3, id of the span's parent.
pub const B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
/// B3, decision.
pub const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
/// B3, debug.
pub const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

const ZERO: HeaderValue = HeaderValue::from_static("0");
const ONE: HeaderValue = HeaderValue::from_static("1");

/// W3C trace flag: the caller may have recorded this request.
pub const FLAG_SAMPLED: u8 = 0x01;
/// W3C trace flag (level 2): the trace id is random.
pub const FLAG_RANDOM: u8 = 0x02;

/// The caller's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteContext {
    /// Never zero.
    pub trace_id: u128,
    /// Never zero.
    pub span_id: u64,
    /// W3C trace flags that this version knows.
    pub flags: u8,
    /// Whether it came as `traceparent`, so that `tracestate` belongs to it.
    pub w3c: bool,
}

/// In which forms context came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// A valid `traceparent`.
    pub w3c: bool,
    /// `b3`.
    pub b3_single: bool,
    /// Any of `X-B3-*`.
    pub b3_multi: bool,
}

/// What a request's headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// The span to continue from.
    pub context: Option<RemoteContext>,
    /// Whether an earlier hop decided, and what.
    pub decision: Option<bool>,
    /// B3's debug flag: sampled, and so marked onwards.
    pub debug: bool,
    /// Forms seen. After a W3C context that is not sampled nothing more is looked for.
    pub formats: Formats,
}

/// The span that the next hop continues from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Trace id.
    pub trace_id: u128,
    /// The new span.
    pub span_id: u64,
}

/// Reads the context of a request.
pub fn extract(headers: &HeaderMap) -> Inbound {
    let mut inbound = Inbound::default();
    let there = there(headers);
    if let Some(context) = there.w3c.then(|| w3c::parse(headers)).flatten() {
        let sampled = context.flags & FLAG_SAMPLED != 0;
        inbound.context = Some(context);
        inbound.decision = Some(sampled);
        inbound.formats.w3c = true;
        if !sampled {
            return inbound;
        }
    }
    let single = there.b3_single.then(|| b3::parse_single(headers)).flatten();
    let multi = there.b3_multi.then(|| b3::parse_multi(headers)).flatten();
    inbound.formats.b3_single = single.is_some();
    inbound.formats.b3_multi = multi.is_some();
    if !inbound.formats.w3c
        && let Some(b3) = single.filter(|b3| !b3.is_empty()).or(multi)
    {
        inbound.context = b3.context;
        inbound.decision = b3.decision;
        inbound.debug = b3.debug;
    }
    inbound
}

/// Which forms there are headers of, valid or not, from one pass over the names: most requests
/// carry one form or none, and a look-up of each costs more.
fn there(headers: &HeaderMap) -> Formats {
    let mut there = Formats::default();
    for name in headers.keys() {
        match name.as_str() {
            "traceparent" => there.w3c = true,
            "b3" => there.b3_single = true,
            "x-b3-traceid" | "x-b3-sampled" | "x-b3-flags" => there.b3_multi = true,
            _ => {}
        }
    }
    there
}

/// Writes the context of a sampled request: the next hop continues from `span`.
pub fn inject(headers: &mut HeaderMap, inbound: &Inbound, span: Outbound) {
    let random = inbound
        .context
        .map_or(0, |context| context.flags & FLAG_RANDOM);
    headers.insert(TRACEPARENT, w3c::format(span, FLAG_SAMPLED | random));
    // The list belongs to the traceparent it came with; without that, or broken, it means nothing.
    if !(inbound.formats.w3c && w3c::tracestate_is_valid(headers)) {
        headers.remove(TRACESTATE);
    }
    let parent = inbound.context.map(|context| context.span_id);
    if inbound.formats.b3_single {
        headers.insert(B3, b3::format_single(span, parent, inbound.debug));
    }
    if inbound.formats.b3_multi {
        b3::inject_multi(headers, span, parent, inbound.debug);
    }
}

/// Passes on that this hop decided not to sample. Allocates nothing of its own.
pub fn inject_unsampled(headers: &mut HeaderMap, inbound: &Inbound) {
    if inbound.formats.b3_multi {
        headers.insert(B3_SAMPLED, ZERO);
    }
    if inbound.formats.b3_single || !inbound.formats.b3_multi {
        headers.insert(B3, ZERO);
    }
}

/// Digits of exactly `N / 4` bits; any other byte or length is refused.
fn hex(digits: &[u8], upper: bool) -> Option<u128> {
    let mut value = 0_u128;
    for digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' if upper => digit - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    Some(value)
}

fn put_hex(out: &mut [u8], value: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in out.iter_mut().rev().enumerate() {
        *byte = DIGITS[(value >> (4 * index) & 0xf) as usize];
    }
}

/// Only hex digits and dashes are ever given to this.
fn header_value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(ZERO)
}

#[cfg(test)]
mod tests;
