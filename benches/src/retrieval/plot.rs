//! Recall against queries a second, as SVG.

use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

/// A plot: recall to the right, queries a second upwards; up and right is better.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) series: Vec<Series>,
}

/// One way to search: recall and queries a second of each setting.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// Where the axes cross, and where the legend begins.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 392.0;
const RIGHT: f64 = 540.0;
const TOP: f64 = 40.0;
/// What the axis of recall shows: its distance from 1 in powers of ten.
const RECALLS: [f64; 7] = [0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];
/// Told apart by most eyes (Okabe and Ito), dashed when they come again.
const COLOURS: [&str; 7] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

impl Plot {
    /// Writes `DIR/NAME.svg`.
    pub(super) fn write(&self, dir: &Path, name: &str) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join(format!("{name}.svg")), self.svg())
    }

    fn svg(&self) -> String {
        let rates = self.series.iter().flat_map(|series| &series.points).map(|&(_, rate)| rate);
        let rates: Vec<f64> = rates.filter(|rate| rate.is_finite() && *rate > 0.0).collect();
        let least = rates.iter().copied().fold(1e6, f64::min).log10().floor();
        let most = rates.iter().copied().fold(1.0, f64::max).log10().ceil().max(least + 1.0);
        let y = |rate: f64| BOTTOM - (rate.log10() - least) / (most - least) * (BOTTOM - TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
            escape(&self.title)
        );
        for recall in RECALLS {
            let x = x(recall);
            line(&mut svg, (x, TOP), (x, BOTTOM), "#ddd");
            text(&mut svg, (x, BOTTOM + 16.0), "middle", &format!("{recall}"));
        }
        for power in least as i32..=most as i32 {
            for digit in [1.0, 2.0, 5.0] {
                let rate = digit * 10f64.powi(power);
                if y(rate) >= TOP - 0.5 {
                    line(&mut svg, (LEFT, y(rate)), (RIGHT, y(rate)), "#ddd");
                    text(&mut svg, (LEFT - 6.0, y(rate) + 4.0), "end", &format!("{rate}"));
                }
            }
        }
        text(&mut svg, (LEFT.midpoint(RIGHT), HEIGHT - 8.0), "middle", "recall@100");
        text(&mut svg, (LEFT - 50.0, TOP - 8.0), "start", "queries/s");
        for (i, series) in self.series.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let dashes = if i < COLOURS.len() { "" } else { " stroke-dasharray=\"4 3\"" };
            let mut points: Vec<_> =
                frontier(&series.points).into_iter().filter(|&(recall, _)| recall >= 0.79).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let places: Vec<_> = points.iter().map(|&(recall, rate)| (x(recall), y(rate))).collect();
            let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dashes}/>",
                path.join(" ")
            )
            .ok();
            for (x, y) in places {
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\" fill=\"{colour}\"/>").ok();
            }
            let at = TOP + 10.0 + 20.0 * i as f64;
            writeln!(
                svg,
                "<line x1=\"{}\" y1=\"{at}\" x2=\"{}\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
                RIGHT + 14.0,
                RIGHT + 36.0
            )
            .ok();
            text(&mut svg, (RIGHT + 42.0, at + 4.0), "start", &series.name);
        }
        svg + "</svg>\n"
    }
}

/// By the logarithm of what is missed, from .8 to .9995.
fn x(recall: f64) -> f64 {
    let missed = |recall: f64| -(1.0 - recall).clamp(5e-4, 0.21).log10();
    LEFT + (missed(recall) - missed(0.79)) / (missed(1.0) - missed(0.79)) * (RIGHT - LEFT)
}

/// The points than which none is better in both.
fn frontier(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let beaten = |a: &(f64, f64)| points.iter().any(|b| b.0 >= a.0 && b.1 > a.1 || b.0 > a.0 && b.1 >= a.1);
    points.iter().filter(|point| !beaten(point)).copied().collect()
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>")
        .ok();
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text)).ok();
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_holds_what_nothing_beats() {
        let points = [(0.9, 100.0), (0.95, 80.0), (0.94, 70.0), (0.99, 10.0), (0.99, 12.0)];
        assert_eq!(frontier(&points), [(0.9, 100.0), (0.95, 80.0), (0.99, 12.0)]);
    }

    #[test]
    fn a_plot_has_a_line_and_a_name_for_each_series_within_its_frame() {
        let series =
            |name: &str, points: &[(f64, f64)]| Series { name: name.into(), points: points.to_vec() };
        let plot = Plot {
            title: "a < b".into(),
            series: vec![series("ours", &[(1.0, 5_000.0)]), series("peer", &[(0.5, 9e4), (0.9, 300.0)])],
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 2, "a recall of .5 is left of the frame");
        assert!(svg.contains("a &lt; b") && svg.contains(">peer<"));
        assert!((LEFT..RIGHT).contains(&x(0.8)) && (x(1.0) - RIGHT).abs() < 1e-9);
    }
}
