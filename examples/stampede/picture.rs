//! The picture: when the answers came, and what they cost.

use crate::{BoxError, args::Args, report::Report, table::whole};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::fs;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WITHOUT: RGBColor = RGBColor(213, 94, 0);
const WITH: RGBColor = RGBColor(0, 114, 178);
const FAINT: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "sans-serif";

pub(crate) fn draw(args: &Args, without: &Report, with: &Report) -> Result<(), BoxError> {
    if let Some(folder) = args.svg.parent() {
        fs::create_dir_all(folder)?;
    }
    let root = SVGBackend::new(&args.svg, (960, 780)).into_drawing_area();
    root.fill(&WHITE)?;
    let (heading, rest) = root.split_vertically(100);
    let (curves, bars) = rest.split_vertically(430);
    head(&heading, args)?;
    answered(&curves, without, with)?;

    let mebibytes = |report: &Report| report.memory.map(|kib| kib as f64 / 1024.0);
    let cpu = |report: &Report| report.cpu.map(|cpu| cpu.as_secs_f64());
    let [hits_area, cpu_area, memory_area] =
        <[_; 3]>::try_from(bars.split_evenly((1, 3))).map_err(|_| "three areas")?;
    pair(&hits_area, "upstream hits", Some(without.hits as f64), Some(with.hits as f64), whole)?;
    pair(&cpu_area, "CPU time, all parts together", cpu(without), cpu(with), |value| {
        format!("{value:.2} s")
    })?;
    pair(&memory_area, "extra memory", mebibytes(without), mebibytes(with), |value| {
        format!("{value:.0} MiB")
    })?;
    root.present()?;
    Ok(())
}

fn head(area: &Area<'_>, args: &Args) -> Result<(), BoxError> {
    area.draw_text("A stampede, without and with the layer", &centred(30), (480, 14))?;
    let style = centred(16);
    for (nth, line) in args.summary().lines().enumerate() {
        area.draw_text(line, &style, (480, 56 + 22 * nth as i32))?;
    }
    Ok(())
}

fn centred(size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font()).pos(Pos::new(HPos::Center, VPos::Top))
}

/// The share of the requests that have their answer, over time.
fn answered(area: &Area<'_>, without: &Report, with: &Report) -> Result<(), BoxError> {
    let end = without.wall.max(with.wall).as_secs_f64() * 1.02;
    let mut chart = ChartBuilder::on(area)
        .margin(20)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..103.0)?;
    chart
        .configure_mesh()
        .x_desc("time since the burst was released, in seconds")
        .y_desc("requests answered, in %")
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .draw()?;
    for (name, report, color) in
        [("without the layer", without, WITHOUT), ("with the layer", with, WITH)]
    {
        chart
            .draw_series(LineSeries::new(curve(report, end), color.stroke_width(3)))?
            .label(legend(name, report))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .legend_area_size(34)
        .margin(14)
        .label_font((FONT, 16))
        .background_style(WHITE)
        .border_style(FAINT)
        .draw()?;
    Ok(())
}

fn legend(name: &str, report: &Report) -> String {
    match report.percentile(50).zip(report.percentile(99)) {
        Some((p50, p99)) => {
            format!("{name}: p50 {:.2} s, p99 {:.2} s", p50.as_secs_f64(), p99.as_secs_f64())
        }
        None => format!("{name}: no answers"),
    }
}

/// As many points as the picture can show.
fn curve(report: &Report, end: f64) -> Vec<(f64, f64)> {
    let all = report.latencies.len();
    let asked = all as u64 + report.errors + report.wrong_bodies;
    let share = |count: usize| 100.0 * count as f64 / asked as f64;
    let step = all.div_ceil(1000).max(1);
    let mut points = vec![(0.0, 0.0)];
    points.extend(
        (0..all)
            .step_by(step)
            .chain(all.checked_sub(1))
            .map(|nth| (report.latencies[nth].as_secs_f64(), share(nth + 1))),
    );
    points.push((end, share(all)));
    points
}

/// Two bars, each with its number.
fn pair(
    area: &Area<'_>,
    title: &str,
    without: Option<f64>,
    with: Option<f64>,
    show: fn(f64) -> String,
) -> Result<(), BoxError> {
    let bars = [("without", without, WITHOUT), ("with", with, WITH)];
    let top = bars.iter().filter_map(|bar| bar.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 17))
        .margin(20)
        .x_label_area_size(24)
        .build_cartesian_2d(0.0..2.0, 0.0..top * 1.3)?;
    chart.configure_mesh().disable_mesh().disable_axes().draw()?;
    for (nth, (name, value, color)) in bars.into_iter().enumerate() {
        let middle = nth as f64 + 0.5;
        let height = value.unwrap_or(0.0);
        let corners = [(middle - 0.3, 0.0), (middle + 0.3, height)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
        let number = value.map_or("n/a".into(), show);
        chart.draw_series([
            EmptyElement::at((middle, height)) + Text::new(number, (0, -20), centred(16)),
            EmptyElement::at((middle, 0.0)) + Text::new(name.to_owned(), (0, 6), centred(16)),
        ])?;
    }
    chart.draw_series([PathElement::new([(0.0, 0.0), (2.0, 0.0)], BLACK)])?;
    Ok(())
}
