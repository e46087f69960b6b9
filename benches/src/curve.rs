//! Cost curves: what something costs as there is more of it, on two logarithmic axes. There a cost that grows in step with what it
//! is for is a straight line, and a cliff is a bend upwards.

use std::path::Path;

use plotters::prelude::*;

use crate::{OrExit, is_measuring};

const SIZE: (u32, u32) = (760, 420);
const COLORS: [RGBColor; 5] = [
    RGBColor(24, 94, 165),
    RGBColor(196, 78, 36),
    RGBColor(58, 132, 74),
    RGBColor(128, 80, 160),
    RGBColor(120, 120, 120),
];

/// One plot, drawn when it is dropped.
///
/// It goes to the folder of the repository that `HEADWATER_BENCH_FIGURES` names, or `target/figures`.
///
/// ```
/// use headwater_benches::curve::Curves;
/// let mut curves = Curves::new("inserts", "inserting into a list", "elements");
/// for (elements, microseconds) in [(10, 2.0), (100, 2.4), (1_000, 3.1)] {
///     curves.point("one more, µs", elements, microseconds);
/// }
/// // Nothing is drawn unless this is a benchmark that measures.
/// ```
#[derive(Debug)]
pub struct Curves {
    name: &'static str,
    title: String,
    of: &'static str,
    /// What costs, in the order in which it came first, with its unit; and how much at each size.
    lines: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Curves {
    /// A plot in the file `name`.svg, over the number `of` something.
    pub fn new(name: &'static str, title: impl Into<String>, of: &'static str) -> Curves {
        Curves { name, title: title.into(), of, lines: Vec::new() }
    }

    /// What `line` costs when there are so many.
    pub fn point(&mut self, line: &'static str, many: usize, cost: f64) {
        let point = (many as f64, cost);
        match self.lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, points)) => points.push(point),
            None => self.lines.push((line, vec![point])),
        }
    }

    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        // What cost nothing that could be measured has no place on a logarithmic axis.
        let points = || {
            self.lines.iter().flat_map(|(_, points)| points).filter(|(many, cost)| *many > 0.0 && *cost > 0.0)
        };
        let (widths, heights) =
            (range(points().map(|(many, _)| *many)), range(points().map(|(_, cost)| *cost)));
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(widths.log_scale(), heights.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.of)
            .light_line_style(WHITE)
            .x_label_formatter(&ToString::to_string)
            .y_label_formatter(&ToString::to_string)
            .draw()?;
        for ((line, points), color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let points = points.iter().filter(|(many, cost)| *many > 0.0 && *cost > 0.0).copied();
            chart.draw_series(points.clone().map(|point| Circle::new(point, 3, color.filled())))?;
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(*line)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

impl Drop for Curves {
    fn drop(&mut self) {
        if is_measuring() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let folder =
                std::env::var_os("HEADWATER_BENCH_FIGURES").unwrap_or_else(|| "target/figures".into());
            let path = root.join(folder).join(format!("{}.svg", self.name));
            path.parent().map_or(Ok(()), std::fs::create_dir_all).or_exit("making the folder for figures");
            self.draw(&path).or_exit("drawing");
            println!("   drawn: {}", path.display());
        }
    }
}

/// From the power of ten below all to the one above, or at least one of them.
fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    let from = least.log10().floor();
    10_f64.powf(from)..10_f64.powf(most.log10().ceil().max(from + 1.0))
}
