//! W3C trace context, parsed strictly as the recommendation says: lower-case hex, no all-zero ids,
//! version `ff` never, one header only; of a future version the first four fields are used.

use super::{FLAG_RANDOM, FLAG_SAMPLED, Outbound, RemoteContext, TRACEPARENT, TRACESTATE};
use super::{header_value, hex, put_hex};
use http::{HeaderMap, HeaderValue};

/// Length of version 00, and of what later versions must begin with.
const LENGTH: usize = 55;
/// Members that a list may have (recommendation, 3.3.1.1).
const MAX_MEMBERS: usize = 32;

pub(super) fn parse(headers: &HeaderMap) -> Option<RemoteContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    parse_traceparent(value)
}

fn parse_traceparent(value: &[u8]) -> Option<RemoteContext> {
    let head = value.get(..LENGTH)?;
    if head[2] != b'-' || head[35] != b'-' || head[52] != b'-' {
        return None;
    }
    let version = hex(&head[..2], false)?;
    let complete = match version {
        0xff => false,
        0 => value.len() == LENGTH,
        _ => value.len() == LENGTH || value[LENGTH] == b'-',
    };
    let trace_id = hex(&head[3..35], false)?;
    let span_id = hex(&head[36..52], false)? as u64;
    let flags = hex(&head[53..], false)? as u8;
    if !complete || trace_id == 0 || span_id == 0 {
        return None;
    }
    // Of a later version only the sampled flag is sure to keep its meaning.
    let known = if version == 0 {
        FLAG_SAMPLED | FLAG_RANDOM
    } else {
        FLAG_SAMPLED
    };
    Some(RemoteContext {
        trace_id,
        span_id,
        flags: flags & known,
        w3c: true,
    })
}

pub(super) fn format(span: Outbound, flags: u8) -> HeaderValue {
    let mut text = [b'-'; LENGTH];
    put_hex(&mut text[..2], 0);
    put_hex(&mut text[3..35], span.trace_id);
    put_hex(&mut text[36..52], span.span_id.into());
    put_hex(&mut text[53..], flags.into());
    header_value(&text)
}

/// Whether the list, over all its headers, follows the grammar. Absent is valid.
pub(super) fn tracestate_is_valid(headers: &HeaderMap) -> bool {
    let mut members = 0;
    headers.get_all(TRACESTATE).iter().all(|value| {
        value.as_bytes().split(|byte| *byte == b',').all(|member| {
            let member = member.trim_ascii();
            if member.is_empty() {
                return true;
            }
            members += 1;
            members <= MAX_MEMBERS && member_is_valid(member)
        })
    })
}

fn member_is_valid(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (key, value) = (&member[..equals], &member[equals + 1..]);
    let key_byte =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let key_is_valid = (1..=256).contains(&key.len())
        && key.iter().all(key_byte)
        && (key[0].is_ascii_lowercase() || key[0].is_ascii_digit());
    let value_is_valid = (1..=256).contains(&value.len())
        && value
            .iter()
            .all(|byte| matches!(byte, 0x20..=0x7e) && !b",=".contains(byte));
    key_is_valid && value_is_valid
}
