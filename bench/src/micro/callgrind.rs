//! Runs this program under callgrind and reads what it counted.

use crate::error::BenchError;
use std::process::Command;

/// How many instructions a process takes that prepares a case for so many turns and takes so many of them.
pub(super) fn instructions(
    case: &str,
    size: usize,
    prepared: usize,
    taken: usize,
) -> Result<u64, BenchError> {
    let tool = "valgrind";
    let output = Command::new(tool)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["micro", "--only", case, "--size", &size.to_string()])
        .args(["--turns", &prepared.to_string(), &taken.to_string()])
        .output()
        .map_err(|error| BenchError::Tool { tool, why: error.to_string() })?;
    let said = String::from_utf8_lossy(&output.stderr);
    match collected(&said) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(BenchError::Tool { tool, why: said.into_owned() }),
    }
}

/// The count in what callgrind says at its end: `==1234== Collected : 567`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?.1;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let said = "==7== Callgrind, a call-graph\n==7== \n==7== Events    : Ir\n==7== Collected : 1234567\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("valgrind: not found"), None);
    }
}
