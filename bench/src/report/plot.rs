//! Plots as inline SVG.

use super::html::escape;
use super::text::number;
use super::{Figures, Measurement, Row, Spread, Wanted, distinct, spread};
use std::fmt::{Result, Write};

/// The room of a ratio in its cell.
const RATIO_WIDTH: f64 = 160.0;
/// The scale of ratios: powers of ten from the first to the second.
const RATIO_DECADES: (f64, f64) = (-1.0, 3.0);

/// The room of the bars beside their names, and the height of each.
const BARS_LEFT: f64 = 150.0;
const BARS_WIDTH: f64 = 420.0;
const BAR_HEIGHT: f64 = 18.0;

const COLOURS: [&str; 6] = ["#2f6fb2", "#6aa5dd", "#c9822b", "#e3b778", "#7a4fa3", "#9a9a9a"];

/// Where a ratio stands on the scale, within its room.
fn place(ratio: f64) -> f64 {
    let (low, high) = RATIO_DECADES;
    ((ratio.max(1e-9).log10() - low) / (high - low)).clamp(0.0, 1.0) * RATIO_WIDTH
}

/// The ratio of a row: a bar from 1 to the median, its range, and the goal.
pub(super) fn ratio(out: &mut String, row: &Row) -> Result {
    let Some(times) = row.times else { return Ok(()) };
    let (one, median) = (place(1.0), place(times.median));
    write!(
        out,
        "<svg width=\"{RATIO_WIDTH}\" height=\"18\" role=\"img\" aria-label=\"{}\">\
         <rect x=\"{:.1}\" y=\"4\" width=\"{:.1}\" height=\"10\" fill=\"{}\"/>\
         <path d=\"M{one:.1} 0v18\" stroke=\"#999\"/>\
         <path d=\"M{:.1} 9H{:.1}\" stroke=\"#123\" stroke-width=\"2\"/>",
        number(times.median),
        one.min(median),
        (median - one).abs().max(1.0),
        if times.median >= 1.0 { COLOURS[0] } else { COLOURS[2] },
        place(times.low),
        place(times.high)
    )?;
    if let Wanted::Times(wanted) = row.wanted {
        write!(out, "<path d=\"M{:.1} 0v18\" stroke=\"#d00\" stroke-width=\"2\"/>", place(wanted))?;
    }
    out.push_str("</svg>");
    Ok(())
}

/// For each load, bars of the rate (or memory) and of the CPU of every server.
pub(super) fn loads(out: &mut String, measurements: &[Measurement]) -> Result {
    let servers = distinct(measurements, |one| &one.server);
    out.push_str("<table>");
    for load in distinct(measurements, |one| &one.load) {
        let of = |figure: fn(&Figures) -> Option<f64>| -> Vec<(&str, Spread, usize)> {
            let each = servers.iter().enumerate();
            each.filter_map(|(at, server)| Some((*server, spread(measurements, server, load, figure)?, at)))
                .collect()
        };
        write!(out, "<tr><th>{}<td>", escape(load))?;
        bars(out, "a second", &of(|figures| figures.per_second))?;
        bars(out, "KiB for a session", &of(|figures| figures.session_kib))?;
        out.push_str("<td>");
        bars(out, "ms of CPU each", &of(|figures| figures.cpu_ms_each))?;
        out.push_str("</tr>");
    }
    out.push_str("</table>");
    Ok(())
}

fn bars(out: &mut String, unit: &str, figures: &[(&str, Spread, usize)]) -> Result {
    let most = figures.iter().map(|(_, spread, _)| spread.high).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(());
    }
    let height = BAR_HEIGHT * (figures.len() as f64 + 1.0);
    write!(
        out,
        "<svg width=\"{:.0}\" height=\"{height}\" role=\"img\"><text x=\"{BARS_LEFT}\" y=\"12\">{unit}</text>",
        BARS_LEFT + BARS_WIDTH
    )?;
    for (line, (server, spread, colour)) in figures.iter().enumerate() {
        let top = BAR_HEIGHT * (line as f64 + 1.0);
        // Room for the number behind the bar.
        let at = |value: f64| BARS_LEFT + value.max(0.0) / most * (BARS_WIDTH - 80.0);
        write!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{BARS_LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"12\" fill=\"{}\"/>\
             <path d=\"M{:.1} {:.0}H{:.1}\" stroke=\"#123\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            BARS_LEFT - 6.0,
            top + 12.0,
            escape(server),
            top + 2.0,
            at(spread.median) - BARS_LEFT,
            COLOURS.get(colour % COLOURS.len()).copied().unwrap_or("#2f6fb2"),
            at(spread.low),
            top + 8.0,
            at(spread.high),
            at(spread.high) + 6.0,
            top + 12.0,
            number(spread.median)
        )?;
    }
    out.push_str("</svg>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stand_on_a_logarithmic_scale_within_their_room() {
        assert!((place(1.0) - RATIO_WIDTH / 4.0).abs() < 1e-9);
        assert!((place(10.0) - RATIO_WIDTH / 2.0).abs() < 1e-9);
        assert_eq!((place(0.0), place(1e9)), (0.0, RATIO_WIDTH));
    }
}
