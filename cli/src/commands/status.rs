//! `heddle status`: pods and who they are, the parts of the mesh, and prominently what was refused.

use crate::api::{Client, Part, Pod, Status};
use crate::args::Output;
use crate::commands::output::{print, problems, seconds_until, span};
use crate::failure::Outcome;
use crate::terminal::{Paint, Style, Table, plain};

pub(crate) async fn run(client: &Client, output: Output) -> Outcome {
    let status = client.status().await?;
    print(output.format, &status, || render(&status, Style::stdout()))
}

/// The status for people.
pub(crate) fn render(status: &Status, style: Style) -> String {
    let state = if status.ready {
        style.green("ready")
    } else {
        style.yellow("not ready")
    };
    let ready = status.pods.iter().filter(|pod| pod.ready).count();
    let mut out = format!(
        "{}  {state}  {} of {} pods ready  trust domain {}\n\n",
        style.bold(&format!("mesh {}", status.mesh)),
        ready,
        status.pods.len(),
        status.trust_domain
    );
    if !status.pods.is_empty() {
        out.push_str(&pods(&status.pods, style));
        out.push('\n');
    }
    out.push_str(&parts(status, style));
    out.push_str(&troubles(status, style));
    out
}

/// The table of pods, with a line under each that is not ready.
pub(crate) fn pods(pods: &[Pod], style: Style) -> String {
    let mut table = Table::new(
        style,
        &[
            "NAMESPACE",
            "POD",
            "READY",
            "IP",
            "IDENTITY",
            "CERTIFICATE",
            "CONFIG",
            "RESTARTS",
        ],
    );
    for pod in pods {
        let (ready, paint): (&str, Paint) = match (pod.phase.as_str(), pod.ready) {
            (_, true) => ("yes", Style::green),
            ("Succeeded", _) => ("done", Style::dim),
            ("Failed", _) => ("failed", Style::red),
            ("Terminating", _) => ("stopping", Style::dim),
            _ => ("no", Style::yellow),
        };
        let config: (&str, Paint) = match (pod.config_synced, pod.nacks.is_empty()) {
            (_, false) => ("refused", Style::red),
            (Some(true), _) => ("in sync", plain),
            (Some(false), _) => ("pending", Style::yellow),
            (None, _) => ("-", Style::dim),
        };
        let expiry = pod
            .certificate_expiry
            .as_deref()
            .and_then(seconds_until)
            .map(span);
        table.painted([
            (pod.namespace.clone(), plain as Paint),
            (pod.name.clone(), plain),
            (ready.to_owned(), paint),
            (pod.ip.map_or("-".to_owned(), |ip| ip.to_string()), plain),
            (identity(pod), plain),
            (expiry.unwrap_or_else(|| "-".to_owned()), plain),
            (config.0.to_owned(), config.1),
            (
                pod.restarts.to_string(),
                if pod.restarts > 0 {
                    Style::yellow
                } else {
                    plain
                },
            ),
        ]);
    }
    let mut out = table.render();
    for pod in pods
        .iter()
        .filter(|pod| !pod.ready && pod.phase != "Succeeded")
    {
        if let Some(reason) = &pod.reason {
            out.push_str(&format!(
                "  {} {}\n",
                style.yellow(&format!("{}:", pod.name)),
                reason
            ));
        }
    }
    out
}

/// `ns/default/sa/reviews`, or why there is none.
pub(crate) fn identity(pod: &Pod) -> String {
    match (&pod.identity, &pod.not_injected_because) {
        (Some(id), _) => id.splitn(4, '/').nth(3).unwrap_or(id).to_owned(),
        (None, Some(reason)) => format!("- ({reason})"),
        (None, None) => "-".to_owned(),
    }
}

fn parts(status: &Status, style: Style) -> String {
    let mut table = Table::new(style, &["PART", "ADDRESS", "STATE", "PID"]);
    for (name, part) in [
        ("control plane", &status.control_plane),
        ("identity", &status.identity),
        ("injector", &status.injector),
    ] {
        let (state, paint) = state(part);
        let pid = part.pid.map(|pid| pid.to_string()).unwrap_or_default();
        table.painted([
            (name.to_owned(), plain as Paint),
            (part.address.clone(), plain),
            (state, paint),
            (pid, Style::dim),
        ]);
    }
    let usage = &status.traces.usage;
    let traces = match status.traces.ready {
        true => format!("{} traces, {} spans", usage.traces, usage.spans),
        false => "waits for its certificate".to_owned(),
    };
    table.row(["traces", &status.traces.address, &traces, ""]);
    table.row([
        "dns",
        &status.dns.address,
        &format!("{} names", status.dns.names),
        "",
    ]);
    table.render()
}

fn state(part: &Part) -> (String, Paint) {
    match (part.ready, &part.reason) {
        (true, _) if part.restarts > 0 => {
            (format!("ready, {} restarts", part.restarts), Style::yellow)
        }
        (true, _) => ("ready".to_owned(), Style::green),
        (false, Some(reason)) => (reason.clone(), Style::red),
        (false, None) => ("not ready".to_owned(), Style::red),
    }
}

/// What was refused, by whom, and what is worth knowing.
pub(crate) fn troubles(status: &Status, style: Style) -> String {
    let mut out = String::new();
    if !status.refused.is_empty() {
        out.push_str(&format!(
            "\n{}\n",
            style.red(&format!("REFUSED ({})", status.refused.len()))
        ));
        out.push_str(&problems(&status.refused, style));
    }
    let nacks: Vec<_> = status
        .pods
        .iter()
        .flat_map(|pod| pod.nacks.iter().map(move |nack| (pod, nack)))
        .collect();
    if !nacks.is_empty() {
        out.push_str(&format!(
            "\n{}\n",
            style.red(&format!("REFUSED BY A SIDECAR ({})", nacks.len()))
        ));
        for (pod, nack) in nacks {
            out.push_str(&format!(
                "  {}  {} {}\n    {}\n",
                style.bold(&pod.name),
                nack.resource,
                nack.name,
                nack.reason
            ));
        }
        out.push_str("  the last good version stays in force\n");
    }
    if !status.warnings.is_empty() {
        out.push_str(&format!(
            "\n{}\n",
            style.yellow(&format!(
                "IN FORCE, BUT PROBABLY NOT AS MEANT ({})",
                status.warnings.len()
            ))
        ));
        out.push_str(&problems(&status.warnings, style));
    }
    if !status.notes.is_empty() {
        out.push_str(&format!("\n{}\n", style.yellow("NOTES")));
        for note in &status.notes {
            out.push_str(&format!("  {note}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
