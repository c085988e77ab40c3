//! What was answered beside what must be.

use std::collections::BTreeMap;

use heddle_tests::reflect::{self, Answer, Asked};
use http::HeaderMap;

use super::case::{Request, Split, uri};
use super::world::World;

/// Calls at a time, as in the suite.
const AT_A_TIME: usize = 20;

/// What is wrong with the answers to all of them.
pub(super) fn wrong(world: &World, requests: &[Request]) -> Vec<String> {
    let mut wrong = Vec::new();
    for request in requests {
        let asked = asked(
            world,
            &request.ask,
            request.connect.as_deref(),
            request.header_map(),
        );
        let netns = world.netns(request.from.as_deref());
        let answer = match request.is_grpc() {
            true => reflect::calls(&netns, asked, 1, 1).map(|mut answers| answers.remove(0)),
            false => reflect::ask(&netns, vec![asked]).remove(0),
        };
        let faults = match answer {
            Ok(answer) => faults(request, &answer),
            Err(error) => vec![error],
        };
        wrong.extend(
            faults
                .into_iter()
                .map(|fault| format!("{}: {fault}", request.ask)),
        );
    }
    wrong
}

/// How many requests each pod has answered, of as many as the shares total.
pub(super) fn count(world: &World, split: &Split) -> Result<BTreeMap<String, usize>, String> {
    let total = split.shares.values().sum();
    let netns = world.netns(None);
    let asked = asked(world, &split.ask, None, HeaderMap::new());
    let answers = match split.ask.starts_with("grpc://") {
        true => reflect::calls(&netns, asked, total, AT_A_TIME)?,
        false => reflect::repeat(&netns, asked, total)?,
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for answer in &answers {
        let pod = answer.seen["pod"].as_str();
        let pod = pod.ok_or_else(|| format!("not the application's answer: {answer:?}"))?;
        let name = split
            .shares
            .keys()
            .find(|name| pod.starts_with(name.as_str()));
        *counts
            .entry(name.map_or(pod, |n| n).to_owned())
            .or_default() += 1;
    }
    Ok(counts)
}

fn asked(world: &World, ask: &str, connect: Option<&str>, headers: HeaderMap) -> Asked {
    let uri = uri(ask);
    let named = format!("{}:{}", uri.host().unwrap(), uri.port_u16().unwrap_or(80));
    Asked {
        to: world.address(connect.unwrap_or(&named)),
        host: uri.authority().unwrap().to_string(),
        path: uri.path_and_query().unwrap().to_string(),
        headers,
    }
}

fn faults(wanted: &Request, is: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut differ = |what: &str, wanted: Option<&str>, is: Option<&str>| {
        if wanted != is {
            wrong.push(format!("{what}: wanted {wanted:?}, is {is:?}"));
        }
    };
    let good = if wanted.is_grpc() { 1000 } else { 200 };
    let (status, was) = (wanted.status.unwrap_or(good), is.status);
    differ("status", Some(&status.to_string()), Some(&was.to_string()));
    let text = |value: Option<&http::HeaderValue>| value?.to_str().ok().map(str::to_owned);
    let location = text(is.headers.get("location"));
    differ("location", wanted.location.as_deref(), location.as_deref());
    for (name, value) in &wanted.answers {
        let answered = text(is.headers.get(name));
        differ(name, value.as_deref(), answered.as_deref());
    }
    if status != good {
        return wrong;
    }
    let uri = wanted.uri();
    let path = wanted.path.as_deref();
    let path = path.unwrap_or_else(|| uri.path_and_query().unwrap().as_str());
    differ("path", Some(path), is.seen["path"].as_str());
    let host = wanted.host.as_deref();
    let host = host.unwrap_or_else(|| uri.authority().unwrap().as_str());
    differ("host", Some(host), is.seen["host"].as_str());
    for (name, value) in &wanted.sees {
        differ(name, value.as_deref(), is.seen["headers"][name].as_str());
    }
    let pod = is.seen["pod"].as_str().unwrap_or_default();
    if let Some(wanted) = wanted.pod.as_deref().filter(|name| !pod.starts_with(name)) {
        wrong.push(format!("pod: wanted {wanted}, is {pod}"));
    }
    wrong
}
