//! The figures as bars on a logarithmic scale: one SVG for each figure that several systems have.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::figures::{Figures, Unit};

const WIDTH: u32 = 760;
const BAR: u32 = 30;
const MARGIN: u32 = 110;

/// Draws everything into a folder.
pub(crate) fn draw_all(figures: &Figures, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for workload in figures.workloads() {
        for (what, of) in figures.of_workload(workload) {
            let bars: Vec<(&str, f64)> = of
                .iter()
                .filter_map(|(system, figure)| Some((system.as_str(), figure.median()?)))
                .filter(|(_, value)| *value > 0.0)
                .collect();
            if bars.len() > 1 && Unit::of(what) != Unit::Percent {
                let name = format!("{workload} {what}").to_lowercase();
                let name: String =
                    name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
                draw(
                    &folder.join(format!("{name}.svg")),
                    &format!("{workload}: {what}"),
                    Unit::of(what),
                    bars,
                )?;
            }
        }
    }
    Ok(())
}

fn draw(path: &Path, title: &str, unit: Unit, mut bars: Vec<(&str, f64)>) -> Result<()> {
    bars.sort_unstable_by(|one, other| one.1.total_cmp(&other.1));
    if unit.less_is_better() {
        // The best one at the top, which is the end of the axis.
        bars.reverse();
    }
    let least = bars.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let (from, to) = (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().floor() + 1.0));
    let root = SVGBackend::new(path, (WIDTH, BAR * bars.len() as u32 + MARGIN)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(120)
        .build_cartesian_2d((from..to).log_scale(), 0.0..bars.len() as f64)?;
    let name_of = |at: &f64| {
        let is_middle = (at.fract() - 0.5).abs() < 0.01;
        let bar = bars.get(at.floor() as usize).filter(|_| is_middle);
        bar.map_or(String::new(), |(name, _)| (*name).to_owned())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(bars.len() * 2 + 1)
        .y_label_formatter(&name_of)
        .x_label_formatter(&|value| format!("{value}"))
        .draw()?;
    for (row, (name, value)) in bars.iter().enumerate() {
        let color = if *name == "headwater" { RGBColor(24, 94, 165) } else { RGBColor(170, 170, 170) };
        let corners = [(from, row as f64 + 0.15), (*value, row as f64 + 0.85)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
    }
    root.present()?;
    Ok(())
}
