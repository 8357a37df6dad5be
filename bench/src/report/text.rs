//! The tables of a comparison as text.

use super::{Figures, Report, Row, Spread, distinct, spread};
use crate::error::BenchError;
use std::io::Write;

/// A column: its name, and the figure it shows.
type Column = (&'static str, fn(&Figures) -> Option<f64>);

const COLUMNS: [Column; 8] = [
    ("per s", |figures| figures.per_second),
    ("CPU ms", |figures| figures.cpu_ms_each),
    ("file KiB", |figures| figures.written_kib_each),
    ("disk KiB", |figures| figures.disk_kib_each),
    ("flushes", |figures| figures.flushes_each),
    ("p50 ms", |figures| figures.p50_ms),
    ("p99 ms", |figures| figures.p99_ms),
    ("mem KiB", |figures| figures.session_kib),
];

/// Prints all of it.
pub(crate) fn print(report: &Report) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    let head = &report.head;
    writeln!(out, "{}, commit {}; {}", head.date, head.commit, head.programs.join(", "))?;
    writeln!(out, "{}\n", head.machine)?;
    loads(&mut out, report)?;
    writeln!(out)?;
    goals(&mut out, &report.rows)?;
    for failure in &report.failures {
        writeln!(out, "round {}, {}, {}: {}", failure.round, failure.server, failure.load, failure.why)?;
    }
    Ok(())
}

/// Every load on every server: medians.
fn loads(out: &mut impl Write, report: &Report) -> Result<(), BenchError> {
    write!(out, "{:<26} {:<17}", "load", "server")?;
    for (name, _) in COLUMNS {
        write!(out, " {name:>9}")?;
    }
    writeln!(out, "   spread")?;
    let servers = distinct(&report.measurements, |one| &one.server);
    for load in distinct(&report.measurements, |one| &one.load) {
        for server in &servers {
            let of = |figure: fn(&Figures) -> Option<f64>| spread(&report.measurements, server, load, figure);
            let Some(first) = of(|figures| figures.per_second.or(figures.session_kib)) else { continue };
            write!(out, "{load:<26} {server:<17}")?;
            for (_, figure) in COLUMNS {
                write!(out, " {:>9}", of(figure).map_or(String::new(), |spread| number(spread.median)))?;
            }
            write!(out, " {:>7.0}%", first.relative() * 100.0)?;
            match of(|figures| figures.resumed_share) {
                Some(share) => writeln!(out, "  {:.0} % resumed", share.median * 100.0)?,
                None => writeln!(out)?,
            }
        }
    }
    Ok(())
}

/// The goals and what was reached.
fn goals(out: &mut impl Write, rows: &[Row]) -> Result<(), BenchError> {
    writeln!(
        out,
        "{:<26} {:<26} {:>9} {:<15} {:<17} {:>9} {:>22} {:>12} verdict",
        "measure", "load", "ours", "", "beside", "theirs", "times better (range)", "wanted"
    )?;
    for row in rows.iter().filter(|row| row.is_shown()) {
        let middle = |spread: &Option<Spread>| spread.map_or("-".to_owned(), |spread| number(spread.median));
        writeln!(
            out,
            "{:<26} {:<26} {:>9} {:<15} {:<17} {:>9} {:>22} {:>12} {}",
            row.measure,
            row.load,
            middle(&row.ours),
            row.figure.unit(),
            row.peer,
            middle(&row.theirs),
            times(row.times),
            row.wanted.to_string(),
            row.verdict.word()
        )?;
    }
    Ok(())
}

/// A ratio with the outermost of its rounds.
pub(super) fn times(times: Option<Spread>) -> String {
    times.map_or("-".to_owned(), |times| {
        format!("{} ({} to {})", number(times.median), number(times.low), number(times.high))
    })
}

/// A number with as many digits as say something.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        grouped(value.round())
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        let shown = [1_234_567.8, 999.6, 100.0, 12.34, 1.234, 0.01234, -1500.0, 0.0].map(number);
        assert_eq!(shown, ["1,234,568", "1,000", "100", "12.3", "1.23", "0.012", "-1,500", "0.000"]);
    }

    #[test]
    fn a_ratio_shows_its_range() {
        let spread = Spread { median: 8.0, low: 7.5, high: 12.0 };
        assert_eq!(times(Some(spread)), "8.00 (7.50 to 12.0)");
        assert_eq!(times(None), "-");
    }
}
