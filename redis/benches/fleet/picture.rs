//! The picture: how far the last answer of a burst is behind the upstream's, by each contender.
//! Every axis is linear and begins at zero.

use crate::{bursts::Row, report::percentile, rivals::Contender};
use std::fmt::Write;

/// Where the first panel's zero is.
const LEFT: f64 = 150.0;
/// From one panel's zero to the next one's.
const PITCH: f64 = 225.0;
/// How long the longest bar is, with its line. Its number takes what is left of the pitch.
const PLOT: f64 = 110.0;
const TOP: f64 = 130.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;

const TITLE: &str = "One key on 16 processes, upstream 50 ms: the last answer";
const LEGEND: [&str; 2] = [
    "Milliseconds behind the upstream's first answer, and how often it was called. Less is better.",
    "Bar: the median of the rounds; thin line: their 10th to 90th percentile.",
];

/// The colours are attributes, for whatever ignores styles, and for light backgrounds; a dark one
/// has its own.
const STYLE: &str = "@media(prefers-color-scheme:dark){\
    .ground{fill:#0d1117;stroke:#30363d}.ink{fill:#e6edf3}.line{stroke:#e6edf3}\
    .ours{fill:#4493f8}.peer{fill:#6e7681}}";
const ROOT: &str = "xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
    aria-labelledby=\"title desc\" font-family=\"Helvetica,Arial,sans-serif\" font-size=\"12\"";
const GROUND: &str = r##"class="ground" fill="#fff" stroke="#d0d7de""##;
const INK: &str = r##"class="ink" fill="#1f2328""##;
const LINE: &str = r##"class="line" stroke="#1f2328""##;
const OUR_BAR: &str = r##"class="ours" fill="#0072b2""##;
const PEER_BAR: &str = r##"class="peer" fill="#b4bac1""##;

/// Draws a panel for each number of requests a process.
pub(crate) fn draw(rows: &[Row], setting: &str) -> String {
    let panels: Vec<_> = rows.chunk_by(|row, next| row.each == next.each).collect();
    let (width, height) = (LEFT + PITCH * panels.len() as f64, TOP + ROW * 5.0 + 40.0);
    let mut svg =
        format!(r#"<svg {ROOT} viewBox="0 0 {width} {height}" width="{width}" height="{height}">"#);
    let _ = write!(
        svg,
        r#"
<title id="title">{TITLE}</title>
<desc id="desc">{}</desc>
<style>{STYLE}</style>
<rect {GROUND} x=".5" y=".5" width="{}" height="{}" rx="8"/>
<g {INK}>
"#,
        describe(&panels),
        width - 1.0,
        height - 1.0
    );
    text(&mut svg, 16.0, 32.0, r#"font-size="17" font-weight="bold""#, TITLE);
    text(&mut svg, 16.0, 54.0, "", LEGEND[0]);
    text(&mut svg, 16.0, 71.0, "", LEGEND[1]);
    for (nth, row) in panels.first().into_iter().copied().flatten().enumerate() {
        let style = format!(
            r#"text-anchor="end" font-weight="{}""#,
            if is_ours(row) { "bold" } else { "normal" }
        );
        text(
            &mut svg,
            LEFT - 8.0,
            middle(nth) + 4.0,
            &style,
            &row.contender.name().replace('`', ""),
        );
    }
    for (nth, panel) in panels.iter().enumerate() {
        let _ = writeln!(svg, r#"<g transform="translate({} 0)">"#, LEFT + PITCH * nth as f64);
        draw_panel(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    text(&mut svg, 16.0, height - 14.0, r#"font-size="11""#, setting);
    svg + "</g></svg>\n"
}

fn draw_panel(svg: &mut String, rows: &[Row]) {
    let title = match rows[0].each {
        1 => "1 request a process".to_owned(),
        each => format!("{each} requests a process"),
    };
    text(svg, 0.0, TOP - 14.0, r#"font-size="14" font-weight="bold""#, &title);
    let top = rows.iter().map(|row| lag(row, 90)).fold(0.0, f64::max);
    for (nth, row) in rows.iter().enumerate() {
        let [low, median, high] = [10, 50, 90].map(|percent| lag(row, percent) / top * PLOT);
        let (middle, fill) = (middle(nth), if is_ours(row) { OUR_BAR } else { PEER_BAR });
        let y = middle - BAR / 2.0;
        let _ = writeln!(svg, r#"<rect {fill} y="{y}" width="{median:.1}" height="{BAR}"/>"#);
        let _ = writeln!(
            svg,
            r#"<line {LINE} x1="{low:.1}" x2="{high:.1}" y1="{middle}" y2="{middle}"/>"#
        );
        text(
            svg,
            high.max(median) + 5.0,
            middle + 4.0,
            "",
            &format!("{:.1}, {}", lag(row, 50), calls(row)),
        );
    }
}

/// For who cannot see it: all that it shows.
fn describe(panels: &[&[Row]]) -> String {
    let mut text = LEGEND.join(" ");
    for row in panels.iter().copied().flatten() {
        let [low, median, high] = [10, 50, 90].map(|percent| lag(row, percent));
        let (each, name) = (row.each, row.contender.name().replace('`', ""));
        let _ = write!(
            text,
            " {each} a process, {name}: {median:.1} ({low:.1} to {high:.1}), {}.",
            calls(row)
        );
    }
    text
}

fn calls(row: &Row) -> String {
    match row.upstream_calls().as_str() {
        "1" => "1 call".to_owned(),
        calls => format!("{calls} calls"),
    }
}

/// In milliseconds.
fn lag(row: &Row, percent: usize) -> f64 {
    percentile(&row.last, percent).as_secs_f64() * 1e3
}

fn is_ours(row: &Row) -> bool {
    row.contender == Contender::Fleet
}

/// Where a row's middle is.
fn middle(row: usize) -> f64 {
    TOP + ROW * (row as f64 + 0.5)
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y}" {style}>{text}</text>"#);
}
