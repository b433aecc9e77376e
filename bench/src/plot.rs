//! Plots as inline SVG: curves with axes, and a row's ratio on a line with its bar and its aim. Pure: text from figures.
//!
//! Colours come from the page's style, so that a plot follows light and dark. Every point says its figures when pointed
//! at, without a script.

use std::fmt::Write as _;

use crate::{
    report::{Row, Series},
    table::figure,
};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Colours that the page defines.
pub const COLORS: usize = 6;

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One axis: from figures to places.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.log10() } else { v };
        let (low, high) = (scale(self.low), scale(self.high));
        let share = if high > low { (scale(value) - low) / (high - low) } else { 0.5 };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
            return (first..=last).map(|power| 10f64.powi(power)).collect();
        }
        let step = nice((self.high - self.low) / 5.0);
        let first = (self.low / step).ceil() as i64;
        (first..).map(|i| i as f64 * step).take_while(|&tick| tick <= self.high + step * 1e-6).collect()
    }
}

/// The round number at or above `step`: 1, 2, 2.5 or 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-12).log10().floor());
    let lead = step / power;
    let round = [1.0, 2.0, 2.5, 5.0].into_iter().find(|&round| lead <= round * (1.0 + 1e-9)).unwrap_or(10.0);
    round * power
}

/// A tick's label: 100,000 is 100k on an axis.
fn label(value: f64) -> String {
    let short = |value: f64, unit: &str| format!("{}{unit}", trimmed(value));
    match value.abs() {
        v if v >= 1e6 => short(value / 1e6, "M"),
        v if v >= 1e4 => short(value / 1e3, "k"),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The curves of one plot, with a legend. All share the axes of the first.
pub fn curves(series: &[&Series]) -> String {
    let points = || series.iter().flat_map(|one| &one.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let Some(first) = series.first() else { return String::new() };
    let (low, high) = points().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.0), h.max(p.0)));
    if low > high {
        return String::new();
    }
    let top = points().fold(0.0, |top: f64, p| top.max(p.1));
    let log = first.log_x && low > 0.0;
    let pad = if log { 0.0 } else { (high - low) * 0.03 };
    let x = Axis { low: low - pad, high: high + pad, log, from: LEFT + 8.0, to: WIDTH - RIGHT };
    let step = nice(top.max(1e-9) / 5.0);
    let y = Axis { low: 0.0, high: (top / step).ceil() * step, log: false, from: HEIGHT - BOTTOM, to: TOP };
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" class=\"plot\">\n",
        escape(&first.plot)
    );
    axes(&mut out, &x, &y, first);
    for (i, one) in series.iter().enumerate() {
        curve(&mut out, &x, &y, one, i % COLORS);
    }
    out.push_str("</svg>\n<ul class=\"legend\">");
    for (i, one) in series.iter().enumerate() {
        let _ = write!(out, "<li><span class=\"swatch f{}\"></span>{}</li>", i % COLORS, escape(&one.name));
    }
    out.push_str("</ul>\n");
    out
}

fn axes(out: &mut String, x: &Axis, y: &Axis, series: &Series) {
    let (left, right, base) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in y.ticks() {
        let at = y.at(tick);
        let class = if tick == 0.0 { "axis" } else { "grid" };
        let _ = writeln!(out, "<line class=\"{class}\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 7.0,
            at + 4.0,
            label(tick)
        );
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ =
            writeln!(out, "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{base}\" y2=\"{}\"/>", base + 4.0);
        let _ =
            writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", base + 18.0, label(tick));
    }
    let middle = (left + right) / 2.0;
    let _ = writeln!(
        out,
        "<text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        HEIGHT - 8.0,
        escape(&series.x)
    );
    let middle = (TOP + base) / 2.0;
    let _ = writeln!(
        out,
        "<text class=\"name\" transform=\"translate(13 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        escape(&series.y)
    );
}

fn curve(out: &mut String, x: &Axis, y: &Axis, series: &Series, color: usize) {
    let points: Vec<_> = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let path: Vec<String> = points.iter().map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(*py))).collect();
    let _ = writeln!(out, "<polyline class=\"s{color}\" points=\"{}\"/>", path.join(" "));
    for (px, py) in points {
        let _ = writeln!(
            out,
            "<circle class=\"f{color}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}: {} at {}</title></circle>",
            x.at(*px),
            y.at(*py),
            escape(&series.name),
            figure(*py),
            label(*px)
        );
    }
}

/// A row's ratio on a line from 0: the rounds as a band, the median as a dot, the bar as a stroke, the aim as a stroke
/// that is broken; where nothing was asked, the reference as a thin stroke at 1.
pub fn bullet(row: &Row, class: &str) -> String {
    let (width, height, middle) = (220.0, 26.0, 13.0);
    let ratios: Vec<f64> = row.rounds.iter().map(|(tandem, reference)| tandem / reference).collect();
    let (low, high) = ratios.iter().fold((row.ratio, row.ratio), |(l, h), &r| (l.min(r), h.max(r)));
    // Where nothing was asked, the reference itself is what the eye compares with.
    let one = (row.bar.is_none() && !row.against.is_empty()).then_some(1.0);
    let most = [row.aim, row.bar, one, Some(high)].into_iter().flatten().fold(0.0, f64::max) * 1.08;
    if !most.is_finite() || most <= 0.0 {
        return String::new();
    }
    let axis = Axis { low: 0.0, high: most, log: false, from: 4.0, to: width - 4.0 };
    let mut out = format!("<svg viewBox=\"0 0 {width} {height}\" class=\"bullet\" role=\"img\">");
    let _ = write!(out, "<title>{}: {} over {} rounds</title>", escape(&row.name), figure(row.ratio), ratios.len());
    let _ = write!(out, "<line class=\"track\" x1=\"4\" x2=\"{}\" y1=\"{middle}\" y2=\"{middle}\"/>", width - 4.0);
    let (from, to) = (axis.at(low), axis.at(high));
    let _ =
        write!(out, "<line class=\"band {class}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>");
    for (bound, kind) in [(row.bar, "bar"), (row.aim, "aim"), (one, "one")] {
        let Some(bound) = bound else { continue };
        let at = axis.at(bound);
        let _ = write!(
            out,
            "<line class=\"{kind}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"3\" y2=\"23\"><title>{} {}</title></line>",
            if kind == "one" { "the reference" } else { kind },
            figure(bound)
        );
    }
    let _ =
        write!(out, "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{middle}\" r=\"5\"/></svg>", axis.at(row.ratio));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let axis = |low, high, log| Axis { low, high, log, from: 0.0, to: 100.0 };
        assert_eq!(axis(0.0, 45.0, false).ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(axis(1e3, 1e6, true).ticks(), [1e3, 1e4, 1e5, 1e6]);
        assert_eq!(axis(1e3, 1e5, true).at(1e4), 50.0);
        assert_eq!([label(1e3), label(1e5), label(2.5e6), label(0.25)], ["1000", "100k", "2.5M", "0.25"]);
        assert_eq!([nice(0.13), nice(2.1), nice(7.0)].map(trimmed), ["0.2", "2.5", "10"]);
    }

    #[test]
    fn figures_that_are_none_are_left_out() {
        let series =
            |points| Series { plot: "a<b".into(), x: "x".into(), y: "y".into(), log_x: true, name: "s".into(), points };
        assert_eq!(curves(&[&series(vec![])]), "");
        let drawn = curves(&[&series(vec![(1.0, 2.0), (10.0, f64::NAN), (100.0, 4.0)])]);
        assert!(!drawn.contains("NaN") && drawn.contains("a&lt;b"));
        assert_eq!(drawn.matches("<circle").count(), 2);
    }
}
