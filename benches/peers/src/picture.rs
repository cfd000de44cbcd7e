//! The picture: the contenders' bars in a few scenarios, beside each other, as an SVG.
//!
//! Every axis is linear and begins at zero: where a log axis begins decides how long its bars are,
//! and a contender that takes twice as long should look like it.

use crate::{
    contender::{BARE, OURS},
    spread::{Spread, digits},
};
use std::fmt::{Arguments, Write};

/// What one scenario adds to the picture.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// What is measured.
    pub(crate) about: &'static str,
    /// What the axis counts.
    pub(crate) axis: String,
    /// What stands behind each number.
    pub(crate) unit: &'static str,
    /// What [`BARE`] is here: a line across the bars.
    pub(crate) floor: &'static str,
    pub(crate) bars: Bars,
}

/// A column of a scenario's table: every contender's, that of [`BARE`] among them.
pub(crate) type Bars = Vec<(&'static str, Spread)>;

/// Where the first panel's zero is.
const LEFT: f64 = 190.0;
/// From one panel's zero to the next one's.
const PITCH: f64 = 228.0;
/// How long the longest bar is, whisker and all. Its number takes what is left of the pitch.
const PLOT: f64 = 165.0;
/// One panel alone is not as wide as the legend.
const NARROWEST: f64 = 760.0;
const TOP: f64 = 130.0;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;

const TITLE: &str = "tower-singleflight beside others that coalesce";
const LEGEND: &str = "Smaller is better. Blue: this crate. Bar: the median; thin line: 10th to \
    90th percentile of the rounds; dashed line: the floor.";

/// The colours are attributes, for whatever ignores styles, and for light backgrounds; a dark one
/// has its own.
const STYLE: &str = "@media(prefers-color-scheme:dark){\
    .ground{fill:#0d1117;stroke:#30363d}.ink{fill:#e6edf3}.line{stroke:#e6edf3}.grid{stroke:#30363d}\
    .ours{fill:#4493f8}.peer{fill:#6e7681}}";
const ROOT: &str = "xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"title \
    desc\" font-family=\"Helvetica,Arial,sans-serif\" font-size=\"12\"";
const GROUND: &str = r##"class="ground" fill="#fff" stroke="#d0d7de""##;
const INK: &str = r##"class="ink" fill="#1f2328""##;
const LINE: &str = r##"class="line" stroke="#1f2328""##;
const GRID: &str = r##"class="grid" stroke="#e4e7ea""##;
const OUR_BAR: &str = r##"class="ours" fill="#0072b2""##;
const PEER_BAR: &str = r##"class="peer" fill="#b4bac1""##;

/// # Panics
///
/// Without panels, or if they have not the same contenders.
pub(crate) fn draw(panels: &[Panel], setting: &str) -> String {
    let names: Vec<_> = panels[0].contenders().map(|(name, _)| name).collect();
    let bottom = TOP + ROW * names.len() as f64;
    let (width, height) = ((LEFT + PITCH * panels.len() as f64).max(NARROWEST), bottom + 74.0);

    let mut svg = Svg(String::new());
    svg.put(format_args!(
        r#"<svg {ROOT} viewBox="0 0 {width} {height}" width="{width}" height="{height}">"#
    ));
    svg.put(format_args!(r#"<title id="title">{TITLE}</title>"#));
    svg.put(format_args!(r#"<desc id="desc">{}</desc>"#, plain(&describe(panels))));
    svg.put(format_args!("<style>{STYLE}</style>"));
    let (inner_width, inner_height) = (width - 1.0, height - 1.0);
    svg.put(format_args!(
        r#"<rect {GROUND} x=".5" y=".5" width="{inner_width}" height="{inner_height}" rx="8"/>"#
    ));
    svg.put(format_args!("<g {INK}>"));
    svg.text(16.0, 32.0, r#"font-size="17" font-weight="bold""#, TITLE);
    svg.text(16.0, 54.0, "", LEGEND);
    label_rows(&mut svg, &names);
    for (nth, panel) in panels.iter().enumerate() {
        assert!(
            panel.contenders().map(|(name, _)| name).eq(names.iter().copied()),
            "a row is one contender's"
        );
        svg.put(format_args!(r#"<g transform="translate({} 0)">"#, LEFT + PITCH * nth as f64));
        panel.draw(&mut svg, bottom);
        svg.put(format_args!("</g>"));
    }
    svg.text(16.0, bottom + 60.0, r#"font-size="11""#, setting);
    svg.put(format_args!("</g></svg>"));
    svg.0
}

fn label_rows(svg: &mut Svg, names: &[&str]) {
    for (row, name) in names.iter().enumerate() {
        let weight = if OURS.contains(name) { "bold" } else { "normal" };
        let style = format!(r#"text-anchor="end" font-weight="{weight}""#);
        svg.text(LEFT - 8.0, middle(row) + 4.0, &style, &name.replace('`', ""));
    }
}

/// For who cannot see it: all that it shows.
fn describe(panels: &[Panel]) -> String {
    let mut text = LEGEND.to_string();
    for panel in panels {
        let bars: Vec<_> =
            panel.contenders().map(|(name, spread)| format!("{name} {spread}")).collect();
        let _ =
            write!(text, " {}, {}; {}: {}.", panel.title, panel.about, panel.axis, bars.join(", "));
        let _ = write!(text, " The floor, {}: {}.", panel.floor, panel.number(panel.floor()));
    }
    text.replace('`', "")
}

impl Panel {
    fn contenders(&self) -> impl Iterator<Item = (&'static str, Spread)> {
        self.bars.iter().copied().filter(|(name, _)| *name != BARE)
    }

    fn floor(&self) -> Spread {
        self.bars
            .iter()
            .find(|(name, _)| *name == BARE)
            .expect("the floor is among the contenders")
            .1
    }

    /// A median as the picture writes it.
    fn number(&self, spread: Spread) -> String {
        digits(spread.median) + self.unit
    }

    /// At the origin, with its rows down to `bottom`.
    fn draw(&self, svg: &mut Svg, bottom: f64) {
        let top = self.bars.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max);
        let scale = |value: f64| value / top * PLOT;

        svg.text(0.0, 88.0, r#"font-size="14" font-weight="bold""#, &self.title);
        svg.text(0.0, 105.0, "", self.about);
        for tick in ticks(top) {
            let x = scale(tick);
            svg.put(format_args!(r#"<path {GRID} d="M{x:.1} {TOP}V{bottom}"/>"#));
            svg.text(x, bottom + 14.0, r#"font-size="11" text-anchor="middle""#, &tick.to_string());
        }
        svg.text(0.0, bottom + 30.0, r#"font-size="11""#, &format!("{}; linear", self.axis));

        for (row, (name, spread)) in self.contenders().enumerate() {
            let (fill, middle) =
                (if OURS.contains(&name) { OUR_BAR } else { PEER_BAR }, middle(row));
            let Spread { low, median, high } = spread;
            let (y, width) = (middle - BAR / 2.0, scale(median));
            svg.put(format_args!(r#"<rect {fill} y="{y}" width="{width:.1}" height="{BAR}"/>"#));
            let (low, high) = (scale(low), scale(high));
            svg.put(format_args!(
                r#"<line {LINE} x1="{low:.1}" x2="{high:.1}" y1="{middle}" y2="{middle}"/>"#
            ));
            svg.text(high.max(width) + 5.0, middle + 4.0, "", &self.number(spread));
        }

        let floor = self.floor();
        let x = scale(floor.median);
        svg.put(format_args!(
            r#"<path {LINE} stroke-dasharray="4 3" d="M{x:.1} {}V{bottom}"/>"#,
            TOP - 4.0
        ));
        svg.text(
            x,
            TOP - 8.0,
            r#"font-size="11""#,
            &format!("{}: {}", self.floor, self.number(floor)),
        );
    }
}

/// Where a row's middle is.
fn middle(row: usize) -> f64 {
    TOP + ROW * (row as f64 + 0.5)
}

/// Round numbers from zero to `top`, six at most.
fn ticks(top: f64) -> impl Iterator<Item = f64> {
    let decade = 10_f64.powf((top / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * decade)
        .into_iter()
        .find(|step| top / step <= 5.0);
    let step = step.unwrap_or(top);
    (0..=5).map(move |nth| f64::from(nth) * step).take_while(move |tick| *tick <= top)
}

struct Svg(String);

impl Svg {
    fn put(&mut self, line: Arguments<'_>) {
        let _ = writeln!(self.0, "{line}");
    }

    fn text(&mut self, x: f64, y: f64, style: &str, text: &str) {
        self.put(format_args!(r#"<text x="{x:.1}" y="{y}" {style}>{}</text>"#, plain(text)));
    }
}

/// Text that is no markup.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests;
