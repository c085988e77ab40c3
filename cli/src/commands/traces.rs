//! `heddle traces`: the list, or one drawn as a waterfall.

use std::time::{Duration, Instant, SystemTime};

use crate::api::Client;
use crate::args::{Format, Traces};
use crate::commands::output;
use crate::failure::Outcome;
use crate::terminal::{self, Paint, Style, Table, plain, say};
use crate::traces::{Canvas, Filter, Trace, TraceSummary, draw};

/// Longer than sidecars keep spans before they send them.
const FIRST: Duration = Duration::from_secs(4);

/// How far back whole traces are listed.
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn run(client: &Client, args: Traces) -> Outcome {
    if args.last || args.trace_id.is_some() {
        let trace = match &args.trace_id {
            Some(id) => client.trace(id).await?,
            None => newest(client).await?,
        };
        let canvas = Canvas {
            columns: terminal::columns(),
            unicode: terminal::unicode(),
            style: Style::stdout(),
        };
        return output::print(args.output.format, &trace, || draw(&trace, canvas));
    }
    if args.spans {
        let format = match args.output.format {
            Format::Table => Format::Json,
            other => other,
        };
        let since = SystemTime::now() - HOUR;
        let since = since.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.map_or(0, |since| since.as_nanos());
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        let whole = client.whole_traces(since).await?;
        return output::print(format, &whole, String::new);
    }
    let narrowed = args.service.is_some() || args.status.is_some() || args.min_duration.is_some();
    let filter = Filter {
        limit: args.limit,
        service: args.service,
        status: args.status,
        min_duration_nanos: args
            .min_duration
            .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
    };
    let traces = client.traces(&filter).await?;
    if traces.is_empty() && narrowed && args.output.format == Format::Table {
        say!("no trace in memory is like that: heddle traces  lists all of them");
        return Ok(());
    }
    if traces.is_empty() && args.output.format == Format::Table {
        say!(
            "no traces; requests through the mesh leave them: heddle exec POD -- curl http://SERVICE:PORT/"
        );
        return Ok(());
    }
    output::print(args.output.format, &traces, || {
        render(&traces, Style::stdout())
    })
}

/// The newest trace. Spans take a moment from the sidecars: the first of a mesh is waited for.
async fn newest(client: &Client) -> Outcome<Trace> {
    let any = Filter {
        limit: 1,
        ..Filter::default()
    };
    let until = Instant::now() + FIRST;
    while client.traces(&any).await?.is_empty() && Instant::now() < until {
        tokio::time::sleep(FIRST / 20).await;
    }
    Ok(client.trace("").await?)
}

fn render(traces: &[TraceSummary], style: Style) -> String {
    let mut table = Table::new(
        style,
        &[
            "TRACE", "START", "ROOT", "STATUS", "DURATION", "SPANS", "SERVICES",
        ],
    );
    for trace in traces {
        let status = format!("{} {}", trace.status, trace.flags.join(" "));
        let paint: Paint = if trace.error { Style::red } else { plain };
        table.painted([
            (trace.trace_id.clone(), plain as Paint),
            (terminal::clock(trace.start_unix_nanos), Style::dim),
            (trace.root.clone(), plain),
            (status.trim().to_owned(), paint),
            (
                terminal::pad_left(&terminal::duration(trace.duration_nanos), 8),
                plain,
            ),
            (trace.spans.to_string(), plain),
            (trace.services.join(" "), plain),
        ]);
    }
    table.render()
}
