//! The table of a comparison: medians, their spread, and ratios to Estafette.

use crate::error::BenchError;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// What one load measured on one server in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The round, from 0.
    pub round: usize,
    /// The server.
    pub server: String,
    /// The load.
    pub load: String,
    /// The figures.
    pub measured: Measured,
}

/// Figures of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measured {
    /// Of operations.
    Work {
        /// Operations a second.
        per_second: f64,
        /// CPU time of the server for one operation, in ms.
        cpu_ms_each: f64,
        /// Written to the disk for one operation, in KiB.
        written_kib_each: f64,
        /// Half of the operations took less, in ms.
        p50_ms: f64,
        /// 99 of 100 took less, in ms.
        p99_ms: f64,
    },
    /// Of idle sessions.
    Memory {
        /// Memory for one session, in KiB.
        session_kib: f64,
    },
}

/// The middle of the figures, and how far the outermost lie from each other relative to it.
fn median(mut figures: Vec<f64>) -> Option<(f64, f64)> {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.get(figures.len().saturating_sub(1) / 2)?, figures.get(figures.len() / 2)?);
    let middle = f64::midpoint(*low, *high);
    let spread = figures.last()? - figures.first()?;
    Some((middle, if middle > 0.0 { spread / middle } else { 0.0 }))
}

/// Prints the table.
pub(crate) fn print(measurements: &[Measurement]) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    let mut loads: Vec<&str> = Vec::new();
    let mut servers: Vec<&str> = Vec::new();
    for one in measurements {
        if !loads.contains(&one.load.as_str()) {
            loads.push(&one.load);
        }
        if !servers.contains(&one.server.as_str()) {
            servers.push(&one.server);
        }
    }
    writeln!(
        out,
        "{:<26} {:<16} {:>10} {:>7} {:>10} {:>12} {:>9} {:>9}  Estafette is",
        "load", "server", "per s", "spread", "CPU ms", "written KiB", "p50 ms", "p99 ms"
    )?;
    for load in loads {
        let of = |server: &str, figure: &dyn Fn(&Measured) -> Option<f64>| {
            let figures = measurements.iter().filter(|one| one.load == load && one.server == server);
            median(figures.filter_map(|one| figure(&one.measured)).collect())
        };
        let ours = (of("estafette", &per_second), of("estafette", &cpu), of("estafette", &session));
        for server in &servers {
            let other = *server != "estafette";
            if let (Some((rate, spread)), Some((cpu_ms, _))) = (of(server, &per_second), of(server, &cpu)) {
                let ratio = match ours {
                    (Some((our_rate, _)), Some((our_cpu, _)), _) if other => {
                        format!(
                            "{:.1} times as fast, {:.1} times less CPU",
                            our_rate / rate,
                            cpu_ms / our_cpu.max(1e-6)
                        )
                    }
                    _ => String::new(),
                };
                let middle =
                    |figure: &dyn Fn(&Measured) -> Option<f64>| of(server, figure).map_or(0.0, |m| m.0);
                writeln!(
                    out,
                    "{load:<26} {server:<16} {rate:>10.0} {:>6.0}% {cpu_ms:>10.3} {:>12.1} {:>9.2} {:>9.2}  {ratio}",
                    spread * 100.0,
                    middle(&written),
                    middle(&p50),
                    middle(&p99)
                )?;
            } else if let Some((kib, spread)) = of(server, &session) {
                let ratio = match ours.2 {
                    Some((our_kib, _)) if other => format!("{:.1} times smaller", kib / our_kib.max(1e-6)),
                    _ => String::new(),
                };
                writeln!(out, "{load:<26} {server:<16} {kib:>6.1} KiB {:>6.0}% {ratio:>60}", spread * 100.0)?;
            }
        }
    }
    Ok(())
}

fn per_second(measured: &Measured) -> Option<f64> {
    if let Measured::Work { per_second, .. } = measured { Some(*per_second) } else { None }
}
fn cpu(measured: &Measured) -> Option<f64> {
    if let Measured::Work { cpu_ms_each, .. } = measured { Some(*cpu_ms_each) } else { None }
}
fn written(measured: &Measured) -> Option<f64> {
    if let Measured::Work { written_kib_each, .. } = measured { Some(*written_kib_each) } else { None }
}
fn p50(measured: &Measured) -> Option<f64> {
    if let Measured::Work { p50_ms, .. } = measured { Some(*p50_ms) } else { None }
}
fn p99(measured: &Measured) -> Option<f64> {
    if let Measured::Work { p99_ms, .. } = measured { Some(*p99_ms) } else { None }
}
fn session(measured: &Measured) -> Option<f64> {
    if let Measured::Memory { session_kib } = measured { Some(*session_kib) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_relative() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some((2.0, 1.0)));
        assert_eq!(median(vec![1.0, 3.0]).map(|found| found.0), Some(2.0));
        assert_eq!(median(vec![]), None);
    }
}
