//! Charts as SVG that stands inside a page: axes, and series of points with or without a line; [`labels`] finds room for what
//! stands beside points. Pure.

use super::escape;

mod labels;

use labels::{Area, Dot, Label, placed};

/// A chart.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    /// What no value of the y axis can be above, if there is such.
    pub(super) y_most: Option<f64>,
    pub(super) series: Vec<Series>,
}

/// Points that belong together.
pub(super) struct Series {
    pub(super) label: String,
    pub(super) points: Vec<Point>,
    /// Joined by a line, in their order.
    pub(super) line: bool,
    /// Drawn hollow and grey.
    pub(super) faint: bool,
}

/// A point; its label stands beside it.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) label: String,
}

/// Pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 46.0;
/// Told apart by people who see colours differently (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const FAINT: &str = "#888";

impl Chart<'_> {
    /// The chart as an SVG element.
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::over(points().map(|point| point.x), None);
        let y = Axis::over(points().map(|point| point.y), self.y_most);
        let place = |point: &Point| {
            let across = LEFT + x.share(point.x) * (WIDTH - LEFT - RIGHT);
            let down = HEIGHT - BOTTOM - y.share(point.y) * (HEIGHT - TOP - BOTTOM);
            (across, down)
        };
        let colours = COLOURS.iter().cycle();
        let drawn = |(series, colour): (&Series, &&str)| {
            series.drawn(if series.faint { FAINT } else { colour }, place)
        };
        let lines: String = self.series.iter().zip(colours.clone()).map(drawn).collect();
        let entry = |((row, series), colour): ((u32, &Series), &&str)| {
            series.legend(row, if series.faint { FAINT } else { colour })
        };
        let legend: String = (0..).zip(&self.series).zip(colours).map(entry).collect();
        let dots: Vec<Dot<'_>> = points()
            .map(|point| {
                let (across, down) = place(point);
                Dot { across, down, label: &point.label }
            })
            .collect();
        let plot = Area { left: LEFT, top: TOP, right: WIDTH - RIGHT, bottom: HEIGHT - BOTTOM };
        let labels: String = placed(&dots, plot).iter().map(label).collect();
        let axes = self.axes(&x, &y);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"{}\">{axes}{lines}{labels}{legend}</svg>\n",
            escape(self.title)
        )
    }

    fn axes(&self, x: &Axis, y: &Axis) -> String {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let labels = format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escape(self.x_label),
            f64::midpoint(TOP, bottom),
            escape(self.y_label)
        );
        let upright = |tick: f64| {
            let across = LEFT + x.share(tick) * (right - LEFT);
            let (down, text) = (bottom + 16.0, x.written(tick));
            format!(
                "<line x1=\"{across:.1}\" y1=\"{TOP}\" x2=\"{across:.1}\" y2=\"{bottom}\"/>\
                 <text x=\"{across:.1}\" y=\"{down:.1}\" text-anchor=\"middle\">{text}</text>"
            )
        };
        let level = |tick: f64| {
            let down = bottom - y.share(tick) * (bottom - TOP);
            let (across, below, text) = (LEFT - 6.0, down + 4.0, y.written(tick));
            format!(
                "<line x1=\"{LEFT}\" y1=\"{down:.1}\" x2=\"{right}\" y2=\"{down:.1}\"/>\
                 <text x=\"{across:.1}\" y=\"{below:.1}\" text-anchor=\"end\">{text}</text>"
            )
        };
        let (uprights, levels): (String, String) =
            (x.ticks().map(upright).collect(), y.ticks().map(level).collect());
        format!("{labels}{uprights}{levels}")
    }
}

impl Series {
    fn fill<'a>(&self, colour: &'a str) -> &'a str {
        if self.faint { "#fff" } else { colour }
    }

    fn drawn(&self, colour: &str, place: impl Fn(&Point) -> (f64, f64)) -> String {
        let places: Vec<String> = self.points.iter().map(|point| pair(place(point))).collect();
        let places = places.join(" ");
        let line =
            format!("<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{places}\"/>");
        let fill = self.fill(colour);
        let dot = |point: &Point| {
            let (across, down) = place(point);
            format!(
                "<circle cx=\"{across:.1}\" cy=\"{down:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\"/>"
            )
        };
        let dots: String = self.points.iter().map(dot).collect();
        if self.line { line + &dots } else { dots }
    }

    fn legend(&self, row: u32, colour: &str) -> String {
        let (across, down) = (WIDTH - RIGHT + 14.0, TOP + 10.0 + 18.0 * f64::from(row));
        let (middle, beside, label) = (down - 4.0, across + 9.0, escape(&self.label));
        let fill = self.fill(colour);
        format!(
            "<circle cx=\"{across:.1}\" cy=\"{middle:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\"/>\
             <text x=\"{beside:.1}\" y=\"{down:.1}\">{label}</text>"
        )
    }
}

fn label(Label { text, area, line }: &Label<'_>) -> String {
    let line = line.map_or_else(String::new, |[from, to]| {
        let points = format!("{} {}", pair(from), pair(to));
        format!("<polyline fill=\"none\" stroke=\"{FAINT}\" stroke-width=\"0.7\" points=\"{points}\"/>")
    });
    // Letters stand on a line a little above the bottom.
    let (left, down, text) = (area.left, area.bottom - 3.0, escape(text));
    format!("{line}<text x=\"{left:.1}\" y=\"{down:.1}\">{text}</text>")
}

fn pair((across, down): (f64, f64)) -> String {
    format!("{across:.1},{down:.1}")
}

/// The values that an axis shows: from a round number to a round number, in round steps.
struct Axis {
    first: f64,
    last: f64,
    step: f64,
}

impl Axis {
    /// The axis of `values`, which are `most` at most if it is given. Where none is below 0, the axis does not go there either.
    fn over(values: impl Iterator<Item = f64>, most: Option<f64>) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if lowest > highest {
            return Self { first: 0.0, last: 1.0, step: 0.25 };
        }
        // A single value stands in the middle.
        let spread = (highest - lowest).max(highest.abs() * 0.02).max(1e-3);
        let step = round_step(spread / 4.0);
        let first = ((lowest - spread * 0.05) / step).floor() * step;
        let last = ((highest + spread * 0.05) / step).ceil() * step;
        let first = if lowest >= 0.0 { first.max(0.0) } else { first };
        Self { first, last: most.map_or(last, |most| last.min(most)), step }
    }

    /// How far along the axis a value is, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        (value - self.first) / (self.last - self.first)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = ((self.last - self.first) / self.step).round() as u32;
        (0..=count.min(20)).map(|tick| self.first + f64::from(tick) * self.step)
    }

    /// A tick with as many digits as the steps need.
    fn written(&self, tick: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{tick:.digits$}")
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let found =
        [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|&round| round >= step * 0.999_999);
    found.unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_go_from_round_number_to_round_number() {
        let axis = Axis::over([103.0, 489.0].into_iter(), None);
        assert_eq!((axis.first, axis.last, axis.step), (0.0, 600.0, 100.0));
        let ticks: Vec<String> = axis.ticks().map(|tick| axis.written(tick)).collect();
        assert_eq!(ticks, ["0", "100", "200", "300", "400", "500", "600"]);
        let fine = Axis::over([0.901, 0.915].into_iter(), None);
        assert!(fine.first <= 0.901 && fine.last >= 0.915 && fine.written(0.905) == "0.905", "{}", fine.step);
    }

    #[test]
    fn a_single_value_and_none_have_axes_too() {
        for values in [vec![], vec![0.0], vec![7.0], vec![f64::NAN]] {
            let axis = Axis::over(values.into_iter(), None);
            assert!(axis.last > axis.first && axis.ticks().count() > 1);
        }
    }

    #[test]
    fn axes_show_nothing_that_cannot_be() {
        let sizes = Axis::over([0.2, 30.0].into_iter(), None);
        assert!(sizes.first.abs() < 1e-12 && sizes.last >= 30.0, "{} {}", sizes.first, sizes.last);
        let accuracies = Axis::over([0.71, 0.998].into_iter(), Some(1.0));
        assert!((accuracies.last - 1.0).abs() < 1e-12, "{}", accuracies.last);
        let single = Axis::over([1.0].into_iter(), Some(1.0));
        assert!(single.last > single.first && single.ticks().count() > 1);
        assert!(Axis::over([-3.0, 5.0].into_iter(), None).first <= -3.0);
    }
}
