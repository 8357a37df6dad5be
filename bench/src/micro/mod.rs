//! What the codecs cost, counted in instructions.
//!
//! Instructions do not depend on what else the machine does, so that a change of one in a hundred shows. They
//! are counted by callgrind, for which the program runs itself: a case N times and then 2 N times, with what it
//! needs prepared for 2 N in both. The difference is what N times take, without the start of the program.
//! Callgrind counts each instruction as one, whatever it does, and knows no AVX-512.

mod access;
mod arrival;
mod callgrind;
mod driver;
mod mail;

use crate::error::BenchError;
use callgrind::instructions;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;

/// The sizes of messages.
const SIZES: [usize; 3] = [4 * 1024, 64 * 1024, 10 * 1024 * 1024];
/// Bytes that a case is given in all, about; the number of its turns follows.
const BYTES: usize = 8 * 1024 * 1024;
/// Turns of a case at most, and at least.
const TURNS: (usize, usize) = (500, 2);

/// Counts the instructions that the codecs take; needs valgrind.
#[derive(Args, Clone, Debug)]
pub(crate) struct Micro {
    /// Only cases with one of these in their names (`data`, `imap`); all, when none is given.
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Write the counts to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Run the one case of this name, without counting.
    #[arg(long, hide = true, requires_all = ["size", "turns"])]
    only: Option<String>,
    /// Bytes of its message.
    #[arg(long, hide = true)]
    size: Option<usize>,
    /// Turns it is prepared for, and turns it takes.
    #[arg(long, hide = true, num_args = 2)]
    turns: Vec<usize>,
}

/// Something that is repeated.
type Turn = Box<dyn FnMut()>;

/// Something whose cost is counted.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// What it costs depends on the size of a message.
    sized: bool,
    /// Prepares so many turns, for a message of this size.
    prepare: fn(size: usize, turns: usize) -> Turn,
}

/// What a case costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Count {
    case: String,
    /// Bytes of the message; none where it does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    instructions: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions_per_byte: Option<f64>,
}

fn cases() -> impl Iterator<Item = Case> {
    mail::CASES.into_iter().chain(access::CASES)
}

impl Micro {
    /// Runs it and prints the table.
    pub(crate) fn run(self) -> Result<(), BenchError> {
        if let Some(name) = &self.only {
            return self.only(name);
        }
        let wanted = |case: &Case| {
            self.cases.is_empty() || self.cases.iter().any(|wanted| case.name.contains(wanted.as_str()))
        };
        let runs: Vec<(Case, usize)> = cases()
            .filter(wanted)
            .flat_map(|case| {
                let sizes = if case.sized { &SIZES[..] } else { SIZES.get(..1).unwrap_or_default() };
                sizes.iter().map(move |size| (case, *size))
            })
            .collect();
        let bar = ProgressBar::new(runs.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)") {
            bar.set_style(style);
        }
        let mut counts = Vec::new();
        for (case, size) in runs {
            bar.set_message(case.name);
            counts.push(count(&case, size)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        print(&counts)?;
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(&counts)?)?;
        }
        Ok(())
    }

    fn only(&self, name: &str) -> Result<(), BenchError> {
        let unknown = || BenchError::Unknown { what: "case", name: name.to_owned() };
        let case = cases().find(|case| case.name == name).ok_or_else(unknown)?;
        let (Some(size), [prepared, taken]) = (self.size, self.turns.as_slice()) else {
            return Err(unknown());
        };
        let mut turn = (case.prepare)(size, *prepared);
        for _ in 0..*taken {
            turn();
        }
        // What was prepared and not taken would cost its release in one of both runs only.
        std::process::exit(0)
    }
}

/// What one turn of a case costs.
fn count(case: &Case, size: usize) -> Result<Count, BenchError> {
    let turns = (BYTES / size).clamp(TURNS.1, TURNS.0);
    let once = instructions(case.name, size, 2 * turns, turns)?;
    let twice = instructions(case.name, size, 2 * turns, 2 * turns)?;
    let instructions = twice.saturating_sub(once) as f64 / turns as f64;
    Ok(Count {
        case: case.name.to_owned(),
        bytes: case.sized.then_some(size),
        instructions,
        instructions_per_byte: case.sized.then_some(instructions / size as f64),
    })
}

fn print(counts: &[Count]) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<34} {:>10} {:>14} {:>10}", "case", "bytes", "instructions", "per byte")?;
    for count in counts {
        let bytes = count.bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
        let each = count.instructions_per_byte.map_or("-".to_owned(), |each| format!("{each:.3}"));
        writeln!(out, "{:<34} {bytes:>10} {:>14.0} {each:>10}", count.case, count.instructions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_runs() {
        let mut names = Vec::new();
        for case in cases() {
            assert!(!names.contains(&case.name), "{}", case.name);
            names.push(case.name);
            let mut turn = (case.prepare)(4096, 2);
            turn();
            turn();
        }
    }
}
