//! A case's figures as a picture: an SVG of small bar charts, one for each measure, drawn here so that
//! it needs nothing. Bars are medians; the thin line on each is the spread of the rounds.

use std::fmt::Write as _;

use crate::figure::{Better, Measure};
use crate::machine::Description;
use crate::peers::Peer;
use crate::report::CaseReport;
use crate::statistics::Spread;
use crate::table;

const INK: &str = "#1f2933";
const FAINT: &str = "#d8dee4";
const PAPER: &str = "#ffffff";

const COLUMNS: usize = 3;
const PANEL: (f64, f64) = (320.0, 250.0);
/// Above the panels, for the title and the legend.
const HEAD: f64 = 70.0;
/// Left, top, right, bottom of the plot in its panel.
const MARGIN: (f64, f64, f64, f64) = (58.0, 34.0, 12.0, 50.0);
/// Below this, numbers on neighbouring bars would touch.
const LEGIBLE: f64 = 22.0;

fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Direct => "#cbd2d9",
        Peer::Relay => "#9aa5b1",
        Peer::Heddle => "#0f766e",
        Peer::Envoy => "#c2708a",
        Peer::Haproxy => "#6d8fc7",
        Peer::Nginx => "#c9a227",
    }
}

/// One small chart.
struct Panel {
    title: String,
    axis: String,
    /// Names, and a bar for each peer.
    groups: Vec<(String, Vec<Option<Spread>>)>,
    digits: usize,
}

/// Draws it; none when there is nothing to draw.
pub(crate) fn svg(case: &CaseReport, machine: &Description) -> Option<String> {
    // What no sidecar costs is nobody's figure: it is in the tables.
    let peers: Vec<Peer> = case
        .peers()
        .into_iter()
        .filter(|peer| *peer != Peer::Direct)
        .collect();
    let panels = panels(case, &peers);
    if panels.is_empty() || peers.is_empty() {
        return None;
    }
    let rows = panels.len().div_ceil(COLUMNS) as f64;
    let columns = panels.len().min(COLUMNS) as f64;
    let (width, height) = ((PANEL.0 * columns).max(640.0), HEAD + PANEL.1 * rows);
    let title = &case.title;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"600\">{title}</text>\n"
    );
    legend(&mut svg, case, &peers, machine);
    for (index, panel) in panels.iter().enumerate() {
        let left = PANEL.0 * (index % COLUMNS) as f64;
        let top = HEAD + PANEL.1 * (index / COLUMNS) as f64;
        let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">");
        draw(&mut svg, panel, &peers);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// One for each name, its loads and sizes side by side.
fn panels(case: &CaseReport, peers: &[Peer]) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for measure in case.measures.iter().filter(|measure| measure.charted) {
        let title = title(measure);
        let bars = peers.iter().map(|peer| case.spread(measure, *peer));
        let group = (measure.at.clone(), bars.collect());
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.groups.push(group),
            None => panels.push(Panel {
                title,
                axis: measure.unit.clone(),
                groups: vec![group],
                digits: measure.digits,
            }),
        }
    }
    panels
}

fn title(measure: &Measure) -> String {
    let better = match measure.better {
        Better::More => "more is better",
        Better::Less => "less is better",
    };
    format!(
        "{} <tspan font-weight=\"400\" font-size=\"11\" fill=\"#616e7c\">({better})</tspan>",
        table::capital(&measure.what)
    )
}

fn legend(svg: &mut String, case: &CaseReport, peers: &[Peer], machine: &Description) {
    let mut x = 16.0;
    for peer in peers {
        let name = match machine.version(*peer) {
            Some(version) => format!("{} {version}", peer.name()),
            None => peer.name().to_owned(),
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"52\">{name}</text>",
            colour(*peer),
            x + 18.0
        );
        x += 40.0 + 7.0 * name.len() as f64;
    }
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"66\" font-size=\"10\" fill=\"#616e7c\">median of {} rounds; the line on a bar is \
         their spread; one worker each, {} cores</text>",
        case.rounds, machine.cores
    );
}

fn draw(svg: &mut String, panel: &Panel, peers: &[Peer]) {
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
    let bar = (slot * 0.8 / peers.len().max(1) as f64).min(44.0);
    // Above all bars.
    let mut numbers = String::new();
    for (index, (name, spreads)) in panel.groups.iter().enumerate() {
        let centre = left + slot * (index as f64 + 0.5);
        for (line, text) in name.split(' ').enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{centre:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\">{text}</text>",
                top + height + 17.0 + 13.0 * line as f64
            );
        }
        let begin = centre - bar * spreads.len() as f64 / 2.0;
        for (side, (spread, peer)) in spreads.iter().zip(peers).enumerate() {
            let Some(spread) = spread else { continue };
            let x = begin + side as f64 * bar;
            let (at, middle) = (y(spread.median), x + bar / 2.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{at:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
                 <line x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{INK}\" \
                 stroke-width=\"1.5\"/>",
                x + 1.0,
                bar - 2.0,
                top + height - at,
                colour(*peer),
                y(spread.min),
                y(spread.max),
            );
            if bar >= LEGIBLE || *peer == Peer::Heddle {
                let _ = writeln!(
                    numbers,
                    "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\" \
                     stroke=\"{PAPER}\" stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
                    y(spread.max) - 4.0,
                    thousands(spread.median, panel.digits)
                );
            }
        }
    }
    svg.push_str(&numbers);
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
    use crate::report::tests::sample;

    #[test]
    fn a_chart_has_a_bar_for_each_peer_and_load() {
        let svg = svg(&sample(), &Description::default()).unwrap_or_default();
        // A legend's and two loads' of Heddle; Envoy has one of them.
        assert_eq!(svg.matches(colour(Peer::Heddle)).count(), 3);
        assert_eq!(svg.matches(colour(Peer::Envoy)).count(), 2);
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }

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
