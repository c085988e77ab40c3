//! What a rule does beside sending requests on. A rule that says nothing of the kind gets `None`, and
//! costs its requests nothing.

use std::sync::Arc;
use std::time::Duration;

use heddle_proto::mesh;
use http::StatusCode;
use http::uri::{Authority, Scheme};

use super::super::{Problem, Refusal, each, optional_port, policy, refusal::MOST_BODY};
use super::{destination, duration, headers, string_match};
use crate::route::PathRewrite;
use crate::snapshot::{
    Abort, AbortStatus, Answer, Changes, Cors, Delay, DestinationTreatment, DirectResponse, Fault,
    GrpcCode, HashKey, HeaderChanges, Mirror, Redirect, Rewrite, Treatment,
};

/// A whole, in parts.
const MILLION: u32 = 1_000_000;

pub(super) fn treatment(rule: &mut mesh::HttpRule) -> Result<Option<Box<Treatment>>, Refusal> {
    use mesh::http_rule::Answer as Wire;
    let answer = match rule.answer.take() {
        None => None,
        Some(Wire::Redirect(wire)) => {
            let redirect = redirect(wire).map_err(|refusal| refusal.within("redirect"))?;
            Some(Answer::Redirect(redirect))
        }
        Some(Wire::DirectResponse(wire)) => {
            let direct = direct(wire).map_err(|refusal| refusal.within("direct_response"))?;
            Some(Answer::Direct(direct))
        }
    };
    let fault = fault(rule.fault.take()).map_err(|refusal| refusal.within("fault"))?;
    let mirrors = each(std::mem::take(&mut rule.mirrors), "mirrors", mirror)?;
    let rewrite = rewrite(rule.rewrite.take()).map_err(|refusal| refusal.within("rewrite"))?;
    let headers =
        headers::changes(rule.headers.take()).map_err(|refusal| refusal.within("headers"))?;
    let cors = rule.cors.take().map(cors).transpose();
    let cors = cors.map_err(|refusal| refusal.within("cors"))?;
    let sticky = sticky(rule.sticky.take()).map_err(|refusal| refusal.within("sticky"))?;
    let destinations = of_destinations(&mut rule.destinations)?;
    let nothing = answer.is_none()
        && fault.delay.is_none()
        && fault.abort.is_none()
        && mirrors.is_empty()
        && is_empty(&rewrite)
        && changes_nothing(&headers)
        && cors.is_none()
        && sticky.is_none()
        && destinations.is_empty();
    let treatment = || Treatment {
        answer,
        fault,
        mirrors,
        rewrite,
        headers,
        cors,
        sticky,
        destinations,
    };
    Ok((!nothing).then(|| Box::new(treatment())))
}

fn is_empty(rewrite: &Rewrite) -> bool {
    rewrite.path.is_none() && rewrite.authority.is_none()
}

fn changes_nothing(headers: &HeaderChanges) -> bool {
    let nothing = |c: &Changes| c.remove.is_empty() && c.set.is_empty() && c.add.is_empty();
    nothing(&headers.request) && nothing(&headers.response)
}

fn of_destinations(
    destinations: &mut [mesh::Destination],
) -> Result<Vec<DestinationTreatment>, Refusal> {
    let mut of_each = Vec::with_capacity(destinations.len());
    let mut any = false;
    for (index, wire) in destinations.iter_mut().enumerate() {
        let within = |refusal: Refusal, field: &str| {
            refusal
                .within(field)
                .within(format!("destinations[{index}]"))
        };
        let treatment = DestinationTreatment {
            headers: headers::changes(wire.headers.take())
                .map_err(|refusal| within(refusal, "headers"))?,
            rewrite: rewrite(wire.rewrite.take()).map_err(|refusal| within(refusal, "rewrite"))?,
            invalid: (!wire.invalid.is_empty()).then(|| Arc::from(wire.invalid.as_str())),
        };
        any |= treatment.invalid.is_some()
            || !is_empty(&treatment.rewrite)
            || !changes_nothing(&treatment.headers);
        of_each.push(treatment);
    }
    Ok(if any { of_each } else { Vec::new() })
}

fn status(code: u32, fits: impl Fn(u16) -> bool) -> Result<StatusCode, Refusal> {
    u16::try_from(code)
        .ok()
        .filter(|code| fits(*code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| Problem::Status(code).into())
}

fn redirect(wire: mesh::Redirect) -> Result<Redirect, Refusal> {
    let scheme = match wire.scheme.as_str() {
        "" => None,
        "http" => Some(Scheme::HTTP),
        "https" => Some(Scheme::HTTPS),
        _ => return Err(Refusal::from(Problem::Scheme(wire.scheme)).within("scheme")),
    };
    let code = if wire.status == 0 { 301 } else { wire.status };
    Ok(Redirect {
        scheme,
        authority: authority(&wire.authority)?,
        port: optional_port(wire.port).map_err(|refusal| refusal.within("port"))?,
        path: path(wire.path).map_err(|refusal| refusal.within("path"))?,
        keep_port: wire.keep_port,
        status: status(code, |code| matches!(code, 301 | 302 | 303 | 307 | 308))
            .map_err(|refusal| refusal.within("status"))?,
    })
}

fn direct(wire: mesh::DirectResponse) -> Result<DirectResponse, Refusal> {
    if wire.body.len() > MOST_BODY {
        return Err(Refusal::from(Problem::Body(wire.body.len())).within("body"));
    }
    Ok(DirectResponse {
        status: status(wire.status, |code| (200..600).contains(&code))
            .map_err(|refusal| refusal.within("status"))?,
        body: Arc::from(wire.body),
        headers: headers::fields(wire.headers, "headers")?,
    })
}

fn authority(text: &str) -> Result<Option<Authority>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = || Refusal::from(Problem::Authority(text.to_owned())).within("authority");
    let authority: Authority = text.parse().map_err(|_| refused())?;
    // A user's name before the host would go on to the application.
    if text.contains('@') || authority.host().is_empty() {
        return Err(refused());
    }
    Ok(Some(authority))
}

fn path(wire: Option<mesh::PathRewrite>) -> Result<Option<PathRewrite>, Refusal> {
    use mesh::path_rewrite::Kind;
    let Some(kind) = wire.and_then(|wire| wire.kind) else {
        return Ok(None);
    };
    let made = match kind {
        Kind::Full(path) => PathRewrite::full(&path),
        Kind::Prefix(p) => PathRewrite::prefix(&p.prefix, &p.replacement, p.segments),
        Kind::Regex(r) => PathRewrite::regex(&r.pattern, &r.substitution),
    };
    Ok(Some(made?))
}

fn rewrite(wire: Option<mesh::Rewrite>) -> Result<Rewrite, Refusal> {
    let Some(wire) = wire else {
        return Ok(Rewrite::default());
    };
    Ok(Rewrite {
        path: path(wire.path).map_err(|refusal| refusal.within("path"))?,
        authority: authority(&wire.authority)?,
    })
}

fn ppm(ppm: u32) -> Result<u32, Refusal> {
    if ppm > MILLION {
        return Err(Refusal::from(Problem::Sampling(ppm)).within("ppm"));
    }
    Ok(ppm)
}

/// What happens to no request is left out.
fn fault(wire: Option<mesh::Fault>) -> Result<Fault, Refusal> {
    let Some(wire) = wire else {
        return Ok(Fault::default());
    };
    let delay = wire.delay.map(delay).transpose();
    let abort = wire.abort.map(abort).transpose();
    Ok(Fault {
        delay: delay
            .map_err(|refusal| refusal.within("delay"))?
            .filter(|delay| delay.ppm > 0 && delay.fixed > Duration::ZERO),
        abort: abort
            .map_err(|refusal| refusal.within("abort"))?
            .filter(|abort| abort.ppm > 0),
    })
}

fn delay(wire: mesh::fault::Delay) -> Result<Delay, Refusal> {
    Ok(Delay {
        fixed: duration(wire.fixed)
            .map_err(|refusal| refusal.within("fixed"))?
            .unwrap_or_default(),
        ppm: ppm(wire.ppm)?,
    })
}

fn abort(wire: mesh::fault::Abort) -> Result<Abort, Refusal> {
    use mesh::fault::abort::Status;
    let status = match wire.status {
        None => return Err(Refusal::from(Problem::Missing).within("status")),
        Some(Status::Http(code)) => AbortStatus::Http(
            status(code, |code| (200..600).contains(&code))
                .map_err(|refusal| refusal.within("http"))?,
        ),
        Some(Status::Grpc(code)) => AbortStatus::Grpc(
            GrpcCode::new(code)
                .ok_or_else(|| Refusal::from(Problem::GrpcStatus(code)).within("grpc"))?,
        ),
    };
    Ok(Abort {
        status,
        ppm: ppm(wire.ppm)?,
    })
}

fn mirror(wire: mesh::Mirror) -> Result<Mirror, Refusal> {
    let to = wire
        .destination
        .ok_or_else(|| Refusal::from(Problem::Missing).within("destination"))?;
    Ok(Mirror {
        destination: destination(to).map_err(|refusal| refusal.within("destination"))?,
        ppm: ppm(wire.ppm)?,
    })
}

fn cors(wire: mesh::Cors) -> Result<Cors, Refusal> {
    let max_age = duration(wire.max_age).map_err(|refusal| refusal.within("max_age"))?;
    let list = |values: &[String], field: &str| {
        headers::list(values).map_err(|refusal| refusal.within(field))
    };
    Ok(Cors {
        allow_origins: each(wire.allow_origins, "allow_origins", string_match)?,
        allow_methods: list(&wire.allow_methods, "allow_methods")?,
        allow_headers: list(&wire.allow_headers, "allow_headers")?,
        expose_headers: list(&wire.expose_headers, "expose_headers")?,
        max_age: max_age.map(|age| age.as_secs().into()),
        allow_credentials: wire.allow_credentials,
        forward_unmatched_preflights: wire.forward_unmatched_preflights,
    })
}

fn sticky(wire: Option<mesh::Sticky>) -> Result<Option<HashKey>, Refusal> {
    use mesh::sticky::Key;
    Ok(match wire.and_then(|wire| wire.key) {
        None | Some(Key::SourceIp(false)) => None,
        Some(Key::SourceIp(true)) => Some(HashKey::SourceIp),
        Some(Key::Header(name)) => Some(HashKey::Header(
            headers::parsed(&name).map_err(|refusal| refusal.within("header"))?,
        )),
        Some(Key::Cookie(wire)) => Some(HashKey::Cookie(
            policy::cookie(wire).map_err(|refusal| refusal.within("cookie"))?,
        )),
    })
}
