//! The figures as a picture: an SVG of small bar charts, one for each metric, drawn here so that it
//! needs nothing. Bars are medians; the thin line on each is the spread of the rounds.

use std::fmt::Write as _;

use crate::peers::Peer;
use crate::report::{MEMORY, METRICS, Report};
use crate::statistics::Spread;

const PEERS: [(Peer, &str); 2] = [(Peer::Heddle, "#0f766e"), (Peer::Envoy, "#c2708a")];
const INK: &str = "#1f2933";
const FAINT: &str = "#d8dee4";
const PAPER: &str = "#ffffff";

const COLUMNS: usize = 3;
const PANEL: (f64, f64) = (320.0, 250.0);
/// Above the panels, for the title and the legend.
const HEAD: f64 = 70.0;
/// Left, top, right, bottom of the plot in its panel.
const MARGIN: (f64, f64, f64, f64) = (58.0, 34.0, 12.0, 50.0);

/// One small chart.
struct Panel {
    title: String,
    axis: &'static str,
    /// Below the groups' names.
    caption: &'static str,
    /// Names, of two lines at most.
    groups: Vec<(String, [Option<Spread>; 2])>,
    digits: usize,
}

/// Draws it.
pub(crate) fn svg(report: &Report) -> String {
    let panels = panels(report);
    let rows = panels.len().div_ceil(COLUMNS) as f64;
    let (width, height) = (PANEL.0 * COLUMNS as f64, HEAD + PANEL.1 * rows);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <title>Heddle and Envoy as a pair of sidecars</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"600\">A pair of sidecars, mutual TLS, one \
         worker each: HTTP/1.1, 1 KiB answers</text>\n"
    );
    legend(&mut svg, report);
    for (index, panel) in panels.iter().enumerate() {
        let left = PANEL.0 * (index % COLUMNS) as f64;
        let top = HEAD + PANEL.1 * (index / COLUMNS) as f64;
        let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">");
        draw(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn panels(report: &Report) -> Vec<Panel> {
    // Those of one sidecar alone are in the table.
    let loads = METRICS
        .iter()
        .filter(|metric| !metric.name.starts_with('–'))
        .map(|metric| Panel {
            title: format!(
                "{} ({})",
                capital(metric.name),
                if metric.more_is_better {
                    "more is better"
                } else {
                    "less is better"
                }
            ),
            axis: metric.unit,
            caption: "connections",
            groups: report
                .connections
                .iter()
                .map(|&n| {
                    (
                        n.to_string(),
                        PEERS.map(|(peer, _)| report.spread(metric, peer, n)),
                    )
                })
                .collect(),
            digits: metric.digits.min(usize::from(metric.digits > 0)),
        });
    let memory = Panel {
        title: "Memory, RSS (less is better)".to_owned(),
        axis: "MiB",
        caption: "",
        groups: [
            "client's\nidle",
            "client's\nafter load",
            "server's\nidle",
            "server's\nafter load",
        ]
        .into_iter()
        .zip(MEMORY)
        .map(|(name, metric)| {
            (
                name.to_owned(),
                PEERS.map(|(peer, _)| report.memory(metric, peer)),
            )
        })
        .collect(),
        digits: 0,
    };
    loads.chain([memory]).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn legend(svg: &mut String, report: &Report) {
    let mut x = 16.0;
    let names = [
        format!("Heddle {}", report.machine.heddle),
        format!("Envoy {}", report.machine.envoy),
    ];
    for ((_, colour), name) in PEERS.iter().zip(&names) {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"52\">{name}</text>",
            x + 18.0
        );
        x += 40.0 + 7.0 * name.len() as f64;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"52\" fill=\"#616e7c\">median of {} rounds of {} s; the line on a bar is \
         their spread; {} cores</text>",
        report.rounds, report.seconds, report.machine.cores
    );
}

fn draw(svg: &mut String, panel: &Panel) {
    let (left, top, right, bottom) = MARGIN;
    let (width, height) = (PANEL.0 - left - right, PANEL.1 - top - bottom);
    let spreads = panel
        .groups
        .iter()
        .flat_map(|(_, spreads)| spreads.iter().flatten());
    let most = spreads.map(|spread| spread.max).fold(0.0, f64::max);
    let step = step(most * 1.1);
    let ceiling = step * (most * 1.1 / step).ceil().max(1.0);
    let y = |value: f64| top + height * (1.0 - value / ceiling);

    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"18\" font-weight=\"600\" font-size=\"13\">{}</text>",
        panel.title
    );
    let middle = top + height / 2.0;
    let _ = writeln!(
        svg,
        "<text transform=\"translate(12 {middle}) rotate(-90)\" text-anchor=\"middle\" font-size=\"11\" \
         fill=\"#616e7c\">{}</text>",
        panel.axis
    );
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#616e7c\">{}</text>",
        left + width / 2.0,
        top + height + 34.0,
        panel.caption
    );
    let mut tick = 0.0;
    while tick <= ceiling * 1.001 {
        let at = y(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{FAINT}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"10\" fill=\"#616e7c\">{}</text>",
            left + width,
            left - 6.0,
            at + 3.5,
            thousands(tick, 0)
        );
        tick += step;
    }
    let slot = width / panel.groups.len().max(1) as f64;
    let bar = (slot * 0.36).min(44.0);
    for (index, (name, spreads)) in panel.groups.iter().enumerate() {
        let centre = left + slot * (index as f64 + 0.5);
        for (line, text) in name.lines().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{centre:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\">{text}</text>",
                top + height + 17.0 + 14.0 * line as f64
            );
        }
        for (side, (spread, (_, colour))) in spreads.iter().zip(&PEERS).enumerate() {
            let Some(spread) = spread else { continue };
            let x = centre + (side as f64 - 1.0) * (bar + 2.0) + 1.0;
            let (at, middle) = (y(spread.median), x + bar / 2.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{at:.1}\" width=\"{bar:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
                 <line x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{INK}\" \
                 stroke-width=\"1.5\"/>\
                 <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\">{}</text>",
                top + height - at,
                y(spread.min),
                y(spread.max),
                y(spread.max) - 4.0,
                thousands(spread.median, panel.digits)
            );
        }
    }
}

/// The distance between lines, for at most five: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps
        .into_iter()
        .find(|step| most / step <= 5.0)
        .unwrap_or(10.0 * power)
}

/// 12,345
fn thousands(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((&*text, ""), |(w, r)| (w, r));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !rest.is_empty() {
        grouped.push('.');
        grouped.push_str(rest);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines_are_round() {
        assert_eq!(thousands(1_234_567.0, 0), "1,234,567");
        assert_eq!(thousands(999.96, 1), "1,000.0");
        assert_eq!(thousands(0.0, 0), "0");
        for (most, expected) in [
            (4.9, 1.0),
            (10.0, 2.0),
            (23.0, 5.0),
            (50.0, 10.0),
            (0.0, 1.0),
        ] {
            assert_eq!(step(most), expected, "{most}");
        }
    }
}
